-- Up Migration

-- Ends a transaction whose precondition does not hold; the error carries the rule as its constraint.
CREATE FUNCTION require_that(holds boolean, rule text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF holds IS NOT TRUE THEN
    RAISE EXCEPTION 'precondition failed: %', rule USING ERRCODE = 'check_violation', CONSTRAINT = rule;
  END IF;
END $$;

-- People ---------------------------------------------------------------------
CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
  role text NOT NULL CHECK (role IN ('admin', 'owner')),
  created_at timestamptz NOT NULL DEFAULT now()
);

-- A key is shown once; only its SHA-256 is stored.
CREATE TABLE api_keys (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  key_hash bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);
CREATE INDEX ON api_keys (user_id);

-- Ed25519 public keys that a user (or, where user_id is null, the deployment) accepts as known.
CREATE TABLE known_keys (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid REFERENCES users ON DELETE CASCADE,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  public_key bytea NOT NULL CHECK (length(public_key) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (user_id, public_key)
);

CREATE TABLE training_nodes (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  owner_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  public_key bytea NOT NULL CHECK (length(public_key) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  UNIQUE (owner_id, name)
);

-- Storage --------------------------------------------------------------------
CREATE TABLE storage_nodes (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL UNIQUE,
  kind text NOT NULL CHECK (kind IN ('r2', 'http')),
  address text NOT NULL UNIQUE, -- r2: name of the binding; http: base URL
  state text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'draining')),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE buckets (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  owner_id uuid NOT NULL REFERENCES users,
  name text NOT NULL CHECK (name ~ '^[a-z0-9.][a-z0-9.-]{1,61}[a-z0-9]$'),
  chunk_bytes integer NOT NULL CHECK (chunk_bytes BETWEEN 4096 AND 16777216 AND chunk_bytes & (chunk_bytes - 1) = 0), -- a power of two: a chunk is a subtree of its object's BLAKE3 tree
  data_shards smallint NOT NULL CHECK (data_shards BETWEEN 1 AND 32),
  parity_shards smallint NOT NULL CHECK (parity_shards BETWEEN 1 AND 4),
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (owner_id, name)
);

CREATE TABLE upload_sessions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  bucket_id uuid NOT NULL REFERENCES buckets,
  kind text NOT NULL CHECK (kind IN ('object', 'tar')),
  key text COLLATE "C" NOT NULL, -- object: its key; tar: the prefix of every entry
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'completed', 'aborted')),
  part_bytes integer NOT NULL CHECK (part_bytes BETWEEN 1024 AND 67108864 AND part_bytes & (part_bytes - 1) = 0),
  expected_sha256 bytea CHECK (length(expected_sha256) = 32),
  lease_expires_at timestamptz NOT NULL,
  revision integer NOT NULL DEFAULT 0 CHECK (revision >= 0), -- counts accepted parts, so that complete commits what it looked at
  result jsonb, -- what complete answered, for an idempotent retry
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((state = 'completed') = (result IS NOT NULL))
);
CREATE INDEX ON upload_sessions (state, lease_expires_at);

-- One accepted part. A retry of a part number replaces the row; what the loser wrote is garbage.
CREATE TABLE upload_parts (
  upload_id uuid NOT NULL REFERENCES upload_sessions ON DELETE CASCADE,
  part_number integer NOT NULL CHECK (part_number BETWEEN 1 AND 100000),
  attempt uuid NOT NULL, -- tells the rows of one attempt from those of another
  size integer NOT NULL CHECK (size BETWEEN 0 AND 67108864), -- of the body
  content_hash bytea NOT NULL CHECK (length(content_hash) = 32), -- BLAKE3 of the body
  chaining_value bytea CHECK (length(chaining_value) = 32), -- object: of the part as a subtree of the object; null for a tar
  file_count integer NOT NULL CHECK (file_count >= 0),
  file_bytes bigint NOT NULL CHECK (file_bytes >= 0), -- without the tar's headers
  chunk_count integer NOT NULL CHECK (chunk_count >= 0),
  degraded_count integer NOT NULL CHECK (degraded_count BETWEEN 0 AND chunk_count),
  PRIMARY KEY (upload_id, part_number)
);

-- writing: intent, shards may exist · live: readable · condemned: unreferenced, waits out the grace · deleted: shards are gone
CREATE TABLE chunks (
  id uuid PRIMARY KEY,
  state text NOT NULL CHECK (state IN ('writing', 'live', 'condemned', 'deleted')),
  data_shards smallint NOT NULL CHECK (data_shards BETWEEN 1 AND 32),
  parity_shards smallint NOT NULL CHECK (parity_shards BETWEEN 1 AND 4),
  length integer CHECK (length BETWEEN 1 AND 16777216),
  shard_length integer CHECK (shard_length > 0),
  content_hash bytea CHECK (length(content_hash) = 32),
  lease_expires_at timestamptz, -- of the intent
  condemned_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (state = 'writing' OR lease_expires_at IS NULL),
  CHECK ((state IN ('condemned', 'deleted')) = (condemned_at IS NOT NULL)),
  CHECK (state <> 'live' OR (length IS NOT NULL AND shard_length IS NOT NULL AND content_hash IS NOT NULL)),
  CHECK (length IS NULL OR shard_length::bigint * data_shards >= length)
);
CREATE INDEX ON chunks (state, lease_expires_at) WHERE state = 'writing';
CREATE INDEX ON chunks (condemned_at) WHERE state = 'condemned';

-- The R2 key of a shard is CHUNK/INDEX.GENERATION; a repair writes a new generation.
-- Every shard of a chunk has a row from the intent on, so that garbage collection knows each key.
CREATE TABLE shards (
  chunk_id uuid NOT NULL REFERENCES chunks ON DELETE CASCADE,
  shard_index smallint NOT NULL CHECK (shard_index BETWEEN 0 AND 35),
  generation integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
  node_id uuid NOT NULL REFERENCES storage_nodes,
  hash bytea CHECK (length(hash) = 32), -- null while writing
  stored boolean NOT NULL DEFAULT false, -- false: known to be missing or lying, awaits repair
  PRIMARY KEY (chunk_id, shard_index),
  CHECK (NOT stored OR hash IS NOT NULL)
);
CREATE INDEX ON shards (node_id);

-- staged: part of an upload that is not complete · live: what a key names · dropped: replaced or deleted, kept while a dataset uses it
CREATE TABLE objects (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  bucket_id uuid NOT NULL REFERENCES buckets,
  key text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 1024),
  state text NOT NULL CHECK (state IN ('staged', 'live', 'dropped')),
  size bigint NOT NULL CHECK (size >= 0),
  content_hash bytea CHECK (length(content_hash) = 32), -- BLAKE3; null only while staged
  sha256 bytea CHECK (length(sha256) = 32), -- null until computed, see docs/formats/storage.md
  upload_id uuid REFERENCES upload_sessions,
  part_number integer, -- of a tar: the part that holds it
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (state = 'staged' OR content_hash IS NOT NULL),
  CHECK ((state = 'staged') = (upload_id IS NOT NULL)),
  CHECK (part_number IS NULL OR state = 'staged')
);
CREATE UNIQUE INDEX objects_live_key ON objects (bucket_id, key) WHERE state = 'live';
CREATE UNIQUE INDEX objects_staged_key ON objects (upload_id, key) WHERE upload_id IS NOT NULL;
CREATE INDEX ON objects (state) WHERE state = 'dropped';

-- The layout of an object: immutable once it is live.
CREATE TABLE extents (
  object_id uuid NOT NULL REFERENCES objects ON DELETE CASCADE,
  object_offset bigint NOT NULL CHECK (object_offset >= 0),
  chunk_id uuid NOT NULL REFERENCES chunks,
  chunk_offset integer NOT NULL CHECK (chunk_offset >= 0),
  length integer NOT NULL CHECK (length > 0),
  PRIMARY KEY (object_id, object_offset)
);
CREATE INDEX ON extents (chunk_id);

-- A commit that references a chunk which is not live fails; the share lock keeps GC from condemning it meanwhile.
CREATE FUNCTION extents_need_live_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE referenced integer; live integer;
BEGIN
  SELECT count(DISTINCT chunk_id) INTO referenced FROM added;
  SELECT count(*) INTO live FROM (
    SELECT 1 FROM chunks WHERE id IN (SELECT chunk_id FROM added) AND state = 'live' ORDER BY id FOR SHARE
  ) AS locked;
  IF live <> referenced THEN
    RAISE EXCEPTION 'an extent references a chunk that is not live' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'extents_need_live_chunks';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER extents_need_live_chunks AFTER INSERT ON extents
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION extents_need_live_chunks();

-- Live chunks that lost a reference: garbage collection looks whether it was the last one.
CREATE TABLE loose_chunks (
  chunk_id uuid PRIMARY KEY REFERENCES chunks ON DELETE CASCADE
);

-- The share lock makes garbage collection, which locks the chunk first, either see the loss or find the mark later.
CREATE FUNCTION extents_leave_loose_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM removed) THEN RETURN NULL; END IF;
  PERFORM FROM chunks WHERE id IN (SELECT chunk_id FROM removed) ORDER BY id FOR SHARE;
  INSERT INTO loose_chunks SELECT DISTINCT chunk_id FROM removed ORDER BY chunk_id ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER extents_leave_loose_chunks AFTER DELETE ON extents
  REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION extents_leave_loose_chunks();

-- Priority 0: degraded writes, 1: found missing or lying by a read, 2: found by a scrub.
CREATE TABLE repair_queue (
  chunk_id uuid NOT NULL,
  shard_index smallint NOT NULL,
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 2),
  reason text NOT NULL CHECK (reason IN ('degraded_write', 'missing', 'corrupt')),
  attempts integer NOT NULL DEFAULT 0,
  not_before timestamptz NOT NULL DEFAULT now(), -- back-off, and the lease of a worker on it
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (chunk_id, shard_index),
  FOREIGN KEY (chunk_id, shard_index) REFERENCES shards ON DELETE CASCADE
);
CREATE INDEX ON repair_queue (priority, created_at);

-- A shard that repair replaced: its old key is deleted by garbage collection after the grace, since a running read may hold it.
CREATE TABLE retired_shards (
  chunk_id uuid NOT NULL,
  shard_index smallint NOT NULL,
  generation integer NOT NULL,
  node_id uuid NOT NULL REFERENCES storage_nodes,
  retired_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (chunk_id, shard_index, generation)
);

-- Long work --------------------------------------------------------------------
CREATE TABLE jobs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  owner_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('create_dataset', 'verify_dataset')),
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
  input jsonb NOT NULL,
  done bigint NOT NULL DEFAULT 0 CHECK (done >= 0),
  total bigint CHECK (total >= done),
  result jsonb,
  error jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((state = 'succeeded') = (result IS NOT NULL)),
  CHECK ((state = 'failed') = (error IS NOT NULL))
);
CREATE INDEX ON jobs (owner_id, created_at);

-- Datasets -----------------------------------------------------------------------
-- building: rows of a job that has not committed, invisible everywhere · ready: immutable
CREATE TABLE datasets (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  owner_id uuid NOT NULL REFERENCES users,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,127}$'),
  state text NOT NULL DEFAULT 'building' CHECK (state IN ('building', 'ready')),
  version integer CHECK (version >= 1),
  parent_version_id uuid REFERENCES datasets ON DELETE SET NULL,
  description text NOT NULL DEFAULT '',
  schema jsonb NOT NULL,
  schema_hash bytea CHECK (length(schema_hash) = 32), -- BLAKE3 over the canonical JSON (RFC 8785)
  content_hash bytea CHECK (length(content_hash) = 32), -- BLAKE3 of the manifest
  total_size_bytes bigint CHECK (total_size_bytes >= 0),
  file_count bigint CHECK (file_count BETWEEN 1 AND 4294967296),
  max_item_bytes bigint CHECK (max_item_bytes >= 0),
  manifest_object_id uuid REFERENCES objects,
  tree_object_id uuid REFERENCES objects, -- chaining values of the manifest's pages, for page proofs
  job_id uuid REFERENCES jobs ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (owner_id, name, version),
  CHECK (state = 'building' OR (version IS NOT NULL AND schema_hash IS NOT NULL AND content_hash IS NOT NULL
    AND total_size_bytes IS NOT NULL AND file_count IS NOT NULL AND max_item_bytes IS NOT NULL
    AND manifest_object_id IS NOT NULL AND tree_object_id IS NOT NULL))
);
CREATE INDEX ON datasets (content_hash);
CREATE INDEX ON datasets (manifest_object_id);
CREATE INDEX ON datasets (tree_object_id);
CREATE INDEX ON datasets (parent_version_id);
CREATE INDEX ON datasets (id) WHERE state = 'building';

-- The last version given out under a name, so that a deleted version's number never means other content.
CREATE TABLE dataset_names (
  owner_id uuid NOT NULL REFERENCES users,
  name text NOT NULL,
  last_version integer NOT NULL CHECK (last_version >= 1),
  PRIMARY KEY (owner_id, name)
);

CREATE TABLE dataset_files (
  dataset_id uuid NOT NULL REFERENCES datasets ON DELETE CASCADE,
  file_index bigint NOT NULL CHECK (file_index >= 0),
  object_id uuid NOT NULL REFERENCES objects,
  path_in_dataset text COLLATE "C" NOT NULL CHECK (octet_length(path_in_dataset) BETWEEN 1 AND 1024),
  content_hash bytea NOT NULL CHECK (length(content_hash) = 32),
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  PRIMARY KEY (dataset_id, file_index),
  UNIQUE (dataset_id, path_in_dataset)
);
CREATE INDEX ON dataset_files (object_id);

CREATE TABLE public_datasets (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL,
  version text NOT NULL,
  official_url text NOT NULL,
  official_hash bytea NOT NULL CHECK (length(official_hash) = 32), -- BLAKE3 of the manifest
  license text,
  cached_dataset_id uuid REFERENCES datasets ON DELETE SET NULL,
  verified_by text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (name, version)
);
CREATE INDEX ON public_datasets (official_hash);
CREATE INDEX ON public_datasets (cached_dataset_id);

CREATE TABLE data_access_tokens (
  id uuid PRIMARY KEY,
  dataset_id uuid NOT NULL REFERENCES datasets ON DELETE CASCADE,
  issued_by uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32), -- SHA-256 of the whole token
  scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'stream']),
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  CHECK (expires_at > created_at AND expires_at <= created_at + interval '31 days')
);
CREATE INDEX ON data_access_tokens (dataset_id);
CREATE INDEX ON data_access_tokens (expires_at);

CREATE TABLE dataset_shares (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  dataset_id uuid NOT NULL REFERENCES datasets ON DELETE CASCADE,
  shared_with_user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  permissions text[] NOT NULL DEFAULT '{read}'
    CHECK (cardinality(permissions) > 0 AND permissions <@ ARRAY['read', 'stream', 'reshare']),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  UNIQUE (dataset_id, shared_with_user_id)
);
CREATE INDEX ON dataset_shares (shared_with_user_id);

-- Down Migration

DROP TABLE dataset_shares, data_access_tokens, public_datasets, dataset_files, dataset_names, datasets, jobs,
  retired_shards, repair_queue, loose_chunks, extents, objects, shards, chunks, upload_parts, upload_sessions, buckets, storage_nodes,
  training_nodes, known_keys, api_keys, users;
DROP FUNCTION extents_need_live_chunks, extents_leave_loose_chunks, require_that;
