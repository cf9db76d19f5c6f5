/**
 * A trainer as a process of its own: `node trainer.worker.ts SOCKET REQUEST MODE`. Says `opened PATH` and `batch N` as
 * they come. "hold" keeps every batch; "stream" reads to the end and prints the sum of what it read.
 */
import { HandoffClient } from "../service/handoff-client.ts";

const [socket, request, mode] = process.argv.slice(2) as [string, string, string];
const client = await HandoffClient.connect(socket);
const { ring } = await client.open(JSON.parse(request) as Parameters<HandoffClient["open"]>[0]);
console.log(`opened ${ring?.path}`);
let sum = 0;
for (;;) {
  const message = await client.next();
  if (message?.type === "end") break;
  if (message?.type !== "batch") {
    console.log(message?.type === "error" ? `error ${message.code}` : "gone");
    process.exit(1);
  }
  for (const byte of client.read(message, "data")) sum += byte;
  console.log(`batch ${message.index}`);
  if (mode === "stream") client.release(message, { acknowledge: true });
}
console.log(`sum ${sum}`);
process.exit(0);
