/** A process that checks pins of its own and one that all processes contend for, or is killed while it holds the file. */
import { readSync } from "node:fs";
import { checkPin } from "../../client/pins.ts";
import { FilePinStore } from "../../companion/pin-file.ts";

const [file, name, count] = process.argv.slice(2) as [string, string, string];
const store = new FilePinStore(file);
const seen = { datasetId: "shared", version: 1, contentHash: name, schemaHash: "11" };

if (count === "hold") {
  await store.update(() => {
    process.stdout.write("held\n");
    readSync(0, new Uint8Array(1));
  });
}
for (let i = 0; i < Number(count); i++)
  await checkPin(store, "gateway", `${name} ${i}`, false, { ...seen, datasetId: `${name} ${i}` });
const won = await checkPin(store, "gateway", "shared", false, seen).then(
  () => true,
  () => false,
);
process.stdout.write(`${JSON.stringify({ won })}\n`);
