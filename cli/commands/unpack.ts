import type { Command } from "commander";
import { contextOf } from "../context.ts";
import { Progress, withProgress } from "../progress.ts";
import { parseSchemaOption, summary } from "../dataset-text.ts";

interface UnpackOptions {
  readonly schema: string;
  readonly description?: string;
}

export function registerUnpack(dataset: Command): void {
  dataset
    .command("unpack")
    .description(
      "Unpack a dataset of published archives, as the public registry says, into a dataset of its own",
    )
    .argument("<archives>", "a dataset that equals an entry of the registry")
    .argument("<name>", "of the dataset to create")
    .requiredOption("--schema <json>", "what the unpacked items are, as JSON or @file")
    .option("--description <text>")
    .action(async (archives: string, name: string, options: UnpackOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const { description } = options;
      const request = {
        name,
        schema: await parseSchemaOption(options.schema),
        ...(description !== undefined && { description }),
      };
      const progress = new Progress(output, "Unpacking");
      const created = await withProgress(progress, () =>
        client.datasets.unpack(archives, request, {
          onProgress: (job) => progress.update(job.done, job.total),
        }),
      );
      output.result(created, () =>
        summary(`Created dataset: ${created.name} (version ${created.version})`, created),
      );
    });
}
