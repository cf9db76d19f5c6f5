import { Command, CommanderError } from "commander";
import { registerAdmin } from "./commands/admin.ts";
import { registerAttestors } from "./commands/attestors.ts";
import { registerDataset } from "./commands/dataset.ts";
import { registerKeys } from "./commands/keys.ts";
import { registerNodes } from "./commands/nodes.ts";
import { registerObjects } from "./commands/objects.ts";
import { registerPublic } from "./commands/public.ts";
import { registerReceipt } from "./commands/receipt.ts";
import { registerStream } from "./commands/stream.ts";
import { registerUpload } from "./commands/upload.ts";
import { registerUsers } from "./commands/users.ts";
import { printError } from "./output.ts";

const USAGE_EXIT_CODE = 2;

const program = new Command("cyxcloud")
  .description("Verified training data, streamed from erasure-coded storage")
  .option("--gateway <url>", "gateway to talk to (default: CYXCLOUD_GATEWAY, or the local stack)")
  .option("--token <jwt>", "access token to use in place of the API key (default: CYXCLOUD_ACCESS_TOKEN)")
  .option(
    "--node-key <name>",
    "key of the training node that the access token is bound to: its name here, or a file (default: CYXCLOUD_NODE_KEY)",
  )
  .option(
    "--client-certificate <file>",
    "certificate that the access token is bound to, in PEM (default: CYXCLOUD_CLIENT_CERTIFICATE)",
  )
  .option("--client-key <file>", "private key of that certificate, in PEM (default: CYXCLOUD_CLIENT_KEY)")
  .option("--json", "print one JSON object for programs; of a list, its name holds the items")
  .addHelpText(
    "after",
    `
The API key is read from CYXCLOUD_API_KEY, or from the local stack that \`npm start\` runs.

Examples:
  $ cyxcloud upload ./train_images/ --bucket datasets
  $ cyxcloud dataset create my-dataset --files "datasets/train_images/**/*.png" \\
      --schema '{"type": "image", "format": "png", "labels": "path"}'
  $ cyxcloud dataset verify my-dataset
  $ cyxcloud stream my-dataset --count --shuffle full`,
  )
  .exitOverride();

for (const register of [
  registerUpload,
  registerObjects,
  registerDataset,
  registerPublic,
  registerStream,
  registerReceipt,
  registerAdmin,
  registerKeys,
  registerAttestors,
  registerUsers,
  registerNodes,
])
  register(program);
inheritGlobals(program);

// Whoever reads has had enough, as `head` has: no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
  } else {
    printError(error, process.argv.includes("--json"));
    process.exitCode = 1;
  }
}

/** Lets every subcommand take the global options too, so that `--json` may stand anywhere. */
function inheritGlobals(parent: Command): void {
  for (const command of parent.commands) {
    command.exitOverride();
    for (const option of program.options) {
      if (!command.options.some((own) => own.long === option.long)) command.addOption(option);
    }
    inheritGlobals(command);
  }
}
