/** Writing: every object comes in through an upload session. The protocol is described in docs/formats/storage.md. */
export { completeUpload, type CompleteRequest } from "./complete.ts";
export type { UploadDeps } from "./deps.ts";
export { putObject, type PutObject } from "./put-object.ts";
export { putPart, type PutPart } from "./put-part.ts";
export { abortUpload, createUpload, type CreateUpload, describeUpload } from "./sessions.ts";
