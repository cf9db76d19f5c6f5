/** Which backends this machine has, and which one a consumer gets. */
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { libc } from "../memory/libc.ts";
import type { BackendName, ConsumerDevice, DeviceBackend } from "./backend.ts";
import { CudaIpcBackend, LIBCUDA, reasonOf } from "./cuda/backend.ts";
import { hostBackend } from "./host.ts";
import { sharedBackend } from "./shared.ts";

export interface ProbedBackend {
  readonly name: BackendName;
  readonly available: boolean;
  /** For people, also where it is available. */
  readonly reason: string;
}

/** What is read from the environment: `CYXCLOUD_LIBCUDA`, `CYXCLOUD_SHM_FOLDER`. */
export type BackendEnvironment = Readonly<Record<string, string | undefined>>;

export interface ChosenBackend {
  readonly backend: DeviceBackend;
  /** For the log: why this one, and why none before it. */
  readonly reason: string;
}

/** The backends of a process, opened once. */
export class Backends {
  /** What this machine can do, best first, each with the reason where it cannot. */
  readonly probed: readonly ProbedBackend[];
  readonly #cuda: CudaIpcBackend;
  readonly #byName: Readonly<Record<BackendName, DeviceBackend>>;

  private constructor(probed: readonly ProbedBackend[], cuda: CudaIpcBackend, folder: string | undefined) {
    this.probed = probed;
    this.#cuda = cuda;
    this.#byName = {
      "cuda-ipc": cuda,
      "cuda-hostreg": sharedBackend("cuda-hostreg", folder),
      shm: sharedBackend("shm", folder),
      host: hostBackend,
    };
  }

  /** @param threadFile what the driver's thread runs, where this is bundled. */
  static async open(env: BackendEnvironment, threadFile?: URL): Promise<Backends> {
    const folder = env["CYXCLOUD_SHM_FOLDER"];
    const cuda = new CudaIpcBackend(env["CYXCLOUD_LIBCUDA"] ?? LIBCUDA, { folder, threadFile });
    const shared = sharedMemory();
    const probed: ProbedBackend[] = [
      { name: "cuda-ipc", ...(shared.available ? await cudaDevices(cuda) : shared) },
      {
        name: "cuda-hostreg",
        available: shared.available,
        reason: shared.available ? "the trainer copies to its device with its own driver" : shared.reason,
      },
      { name: "shm", ...shared },
      { name: "host", available: true, reason: "memory of this process, for a consumer in it" },
    ];
    return new Backends(probed, cuda, folder);
  }

  /**
   * The backend that a consumer in another process gets. "auto" is the best one that works: cuda-ipc for a device that
   * this process can copy to, else cuda-hostreg; without a device shm.
   * @throws `failed_precondition` when the one that was asked for does not work, with the reason.
   * @throws `invalid_argument` for a device backend without a device.
   */
  async choose(wanted: "auto" | BackendName, consumer?: ConsumerDevice): Promise<ChosenBackend> {
    if (wanted !== "auto") {
      const refusal = await this.#refusal(wanted, consumer);
      if (refusal === undefined) return { backend: this.#byName[wanted], reason: `${wanted}: asked for` };
      if (wanted.startsWith("cuda") && consumer === undefined)
        throw invalidArgument("device", `is needed for ${wanted}.`);
      throw new DataStreamError("failed_precondition", `backend: ${wanted} does not work here: ${refusal}.`, {
        details: { field: "backend" },
      });
    }
    const refusals: string[] = [];
    const candidates: BackendName[] = consumer === undefined ? ["shm"] : ["cuda-ipc", "cuda-hostreg", "shm"];
    for (const name of candidates) {
      const refusal = await this.#refusal(name, consumer);
      if (refusal !== undefined) refusals.push(`${name} does not work: ${refusal}`);
      else {
        const why = consumer === undefined ? "the trainer named no device" : "the best that works";
        return { backend: this.#byName[name], reason: [`${name}: ${why}`, ...refusals].join("; ") };
      }
    }
    throw new DataStreamError("failed_precondition", `No backend works here: ${refusals.join("; ")}.`, {
      details: { field: "backend" },
    });
  }

  async close(): Promise<void> {
    await this.#cuda.close();
  }

  async #refusal(name: BackendName, consumer: ConsumerDevice | undefined): Promise<string | undefined> {
    const probed = this.probed.find((candidate) => candidate.name === name);
    if (probed?.available !== true) return probed?.reason ?? "it is unknown";
    if (!name.startsWith("cuda")) return undefined;
    if (consumer === undefined) return "the trainer named no device";
    return name === "cuda-ipc" ? await this.#cuda.refusal(consumer) : undefined;
  }
}

async function cudaDevices(cuda: CudaIpcBackend): Promise<{ available: boolean; reason: string }> {
  try {
    const devices = await cuda.devices();
    if (devices.length === 0) return { available: false, reason: "the driver knows no device" };
    return { available: true, reason: devices.map(({ name, uuid }) => `${name} (${uuid})`).join(", ") };
  } catch (error) {
    return { available: false, reason: reasonOf(error) };
  }
}

function sharedMemory(): { available: boolean; reason: string } {
  if (process.platform !== "linux") return { available: false, reason: "files in memory need Linux" };
  try {
    libc();
    return { available: true, reason: "files in memory that both processes map" };
  } catch (error) {
    return { available: false, reason: `the C library cannot be called: ${(error as Error).message}` };
  }
}
