/** The catalog as uploads and garbage collection see it: the functions of this folder, bound to a database. */
import type { Sql } from "../core/ports.ts";
import type { WriteCatalog } from "../core/write-catalog.ts";
import * as chunks from "./chunks.ts";
import * as garbage from "./garbage.ts";
import * as uploads from "./uploads.ts";

export function writeCatalog(sql: Sql): WriteCatalog {
  return {
    createUpload: (upload) => uploads.createUpload(sql, upload),
    findUpload: (uploadId, ownerId) => uploads.findUpload(sql, uploadId, ownerId),
    listParts: (uploadId) => uploads.listParts(sql, uploadId),
    findStagedObject: (uploadId) => uploads.findStagedObject(sql, uploadId),
    completeUpload: (completion) => uploads.completeUpload(sql, completion),
    abortUpload: (uploadId, ownerId) => uploads.abortUpload(sql, uploadId, ownerId),
    insertIntents: (intents, leaseExpiresAt) => chunks.insertIntents(sql, intents, leaseExpiresAt),
    commitPart: (commit) => chunks.commitPart(sql, commit),
    settlePart: (commit, now) => chunks.settlePart(sql, commit, now),
    abortExpiredUploads: (before, limit) => garbage.abortExpiredUploads(sql, before, limit),
    deleteStagedObjects: (limit) => garbage.deleteStagedObjects(sql, limit),
    deleteDroppedObjects: (limit) => garbage.deleteDroppedObjects(sql, limit),
    condemnLapsedIntents: (before, now, limit) => garbage.condemnLapsedIntents(sql, before, now, limit),
    condemnLooseChunks: (now, limit) => garbage.condemnLooseChunks(sql, now, limit),
    findCondemnedChunks: (before, limit) => garbage.findCondemnedChunks(sql, before, limit),
    markDeleted: (chunkIds) => garbage.markDeleted(sql, chunkIds),
    prune: (before, limit) => garbage.prune(sql, before, limit),
    findRetiredShards: (before, limit) => garbage.findRetiredShards(sql, before, limit),
    forgetRetiredShards: (shards) => garbage.forgetRetiredShards(sql, shards),
  };
}
