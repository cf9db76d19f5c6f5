/** Further users of a test gateway, beside its owner. */
import { createHash, randomBytes } from "node:crypto";
import { createApiKey, createUser, type Role } from "../../catalog/users.ts";
import type { Owner, TestGateway } from "../support/gateway.ts";

export async function addUser(gateway: TestGateway, name: string, role: Role = "owner"): Promise<Owner> {
  const { sql } = gateway.database;
  const apiKey = `cyx_${randomBytes(32).toString("base64url")}`;
  const { id: userId } = await createUser(sql, { name, role });
  const keyHash = new Uint8Array(createHash("sha256").update(apiKey).digest());
  await createApiKey(sql, { userId, name: "test", keyHash });
  return { userId, apiKey };
}
