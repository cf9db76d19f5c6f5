import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createFileRegistry,
  type DescEnum,
  type DescField,
  type DescMessage,
  fromBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { file_datastream, DataStreamService } from "../../proto/index.ts";

/** What the wire sees of a field: number, type and name (JSON). */
function shapeOf(field: DescField): string {
  const type = field.proto.typeName || `scalar ${field.proto.type}`;
  return `${field.number} ${field.name} ${field.jsonName} ${field.proto.label} ${type}`;
}

function fieldsOf(message: DescMessage): string[] {
  return message.fields.map(shapeOf);
}

function valuesOf(description: DescEnum): string[] {
  return description.values.map(({ number, name }) => `${number} ${name}`);
}

test("everything of the first published contract holds, field for field", () => {
  const directory = mkdtempSync(join(tmpdir(), "cyxcloud-proto-"));
  try {
    copyFileSync(new URL("../contract/original.proto", import.meta.url), join(directory, "original.proto"));
    const image = execFileSync("node_modules/.bin/buf", ["build", directory, "-o", "-#format=binpb"], {
      env: { ...process.env, BUF_CACHE_DIR: join(directory, "cache") },
    });
    const original = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));

    let compared = 0;
    for (const file of original.files) {
      expect(file_datastream.proto.package).toBe(file.proto.package);
      for (const message of file.messages) {
        const ours = file_datastream.messages.find(({ typeName }) => typeName === message.typeName);
        expect(ours && fieldsOf(ours), message.typeName).toEqual(expect.arrayContaining(fieldsOf(message)));
        compared += message.fields.length;
      }
      for (const description of file.enums) {
        const ours = file_datastream.enums.find(({ typeName }) => typeName === description.typeName);
        expect(ours && valuesOf(ours), description.typeName).toEqual(valuesOf(description));
      }
      for (const service of file.services) {
        expect(DataStreamService.typeName).toBe(service.typeName);
        for (const method of service.methods) {
          const ours = DataStreamService.methods.find(({ name }) => name === method.name);
          expect([ours?.methodKind, ours?.input.typeName, ours?.output.typeName]).toEqual([
            method.methodKind,
            method.input.typeName,
            method.output.typeName,
          ]);
        }
      }
    }
    expect(compared).toBe(48);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
