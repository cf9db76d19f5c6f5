-- Up Migration

-- Ed25519 public keys of users, registered with proof of possession. A key belongs to one user for good: once
-- revoked it is never registered again, so a signature by it never counts again.
CREATE TABLE signing_keys (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  public_key bytea NOT NULL UNIQUE CHECK (length(public_key) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);
CREATE UNIQUE INDEX signing_keys_name ON signing_keys (user_id, name) WHERE revoked_at IS NULL;

-- Versions of the list of attestors. The newest is in force until it expires; an expired list has nobody on it.
CREATE TABLE attestor_lists (
  version integer PRIMARY KEY CHECK (version >= 1),
  created_by uuid REFERENCES users ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  CHECK (expires_at > created_at)
);

CREATE TABLE attestors (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  public_key bytea NOT NULL CHECK (length(public_key) = 32),
  added_in integer NOT NULL REFERENCES attestor_lists,
  removed_in integer REFERENCES attestor_lists,
  CHECK (removed_in > added_in)
);
CREATE UNIQUE INDEX attestors_listed_key ON attestors (public_key) WHERE removed_in IS NULL;

-- What speaks for a dataset version. Statements were verified against the version before they came here; whether
-- one counts, and for whom, is decided anew by every read, see evidence_level.
CREATE TABLE dataset_evidence (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  dataset_id uuid NOT NULL REFERENCES datasets ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('signature', 'registry', 'attestation')),
  public_key bytea CHECK (length(public_key) = 32), -- whose statement it is
  public_dataset_id uuid REFERENCES public_datasets ON DELETE CASCADE,
  envelope jsonb, -- DSSE, see docs/formats/signatures-v1.md
  created_by uuid REFERENCES users ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  issued_at timestamptz, -- of an attestation, by the attestor's clock
  withdrawn_at timestamptz, -- what was issued up to then counts no more, and is not taken again
  UNIQUE NULLS NOT DISTINCT (dataset_id, kind, public_key, public_dataset_id),
  CHECK ((kind = 'registry') = (public_dataset_id IS NOT NULL)),
  CHECK ((kind = 'registry') = (public_key IS NULL)),
  CHECK ((kind = 'registry') = (envelope IS NULL)),
  CHECK ((kind = 'attestation') = (issued_at IS NOT NULL)),
  CHECK (expires_at > created_at)
);
CREATE INDEX ON dataset_evidence (public_dataset_id);

-- The level that one piece of evidence gives now, in the eyes of user `who`: 1 a signature by an unrevoked key that
-- `who` or the deployment lists as known; 2 the public registry; 3 an attestation by a key of the list in force that
-- is not the owner's; 4 else. Null for `who`: to everybody.
CREATE FUNCTION evidence_level(evidence dataset_evidence, who uuid) RETURNS smallint LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN evidence.expires_at <= now() OR evidence.issued_at <= evidence.withdrawn_at THEN 4
    WHEN evidence.kind = 'registry' THEN 2
    WHEN evidence.kind = 'signature' AND EXISTS (
      SELECT FROM signing_keys s JOIN known_keys k ON k.public_key = s.public_key
      WHERE s.public_key = evidence.public_key AND s.revoked_at IS NULL AND (k.user_id IS NULL OR k.user_id = who)
    ) THEN 1
    WHEN evidence.kind = 'attestation'
      AND EXISTS (SELECT FROM attestors a WHERE a.public_key = evidence.public_key AND a.removed_in IS NULL)
      AND (SELECT l.expires_at > now() FROM attestor_lists l ORDER BY l.version DESC LIMIT 1)
      AND NOT EXISTS (
        SELECT FROM signing_keys s JOIN datasets d ON d.id = evidence.dataset_id
        WHERE s.public_key = evidence.public_key AND (s.user_id = d.owner_id OR s.revoked_at IS NOT NULL))
    THEN 3
    ELSE 4
  END::smallint
$$;

-- The best level that evidence gives a dataset version now in the eyes of `who`, that it may be their own aside. Only
-- evidence makes a version verified: it is written by a verification, and goes with the registry's entry.
CREATE FUNCTION dataset_vouched(dataset uuid, who uuid) RETURNS smallint LANGUAGE sql STABLE AS $$
  SELECT LEAST(
    4::smallint,
    (SELECT min(evidence_level(e, who)) FROM dataset_evidence e WHERE e.dataset_id = dataset))
$$;

-- The level that the gate compares: 0 for the owner, else what evidence gives.
CREATE FUNCTION dataset_trust(dataset uuid, who uuid) RETURNS smallint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM datasets d WHERE d.id = dataset AND d.owner_id = who) THEN 0::smallint
    ELSE dataset_vouched(dataset, who) END
$$;

-- public_trust_level: what public evidence says, now.
CREATE VIEW dataset_summary AS
SELECT d.id, d.name, d.owner_id, u.name AS owner_name, d.description, d.schema, d.schema_hash, d.content_hash,
  d.total_size_bytes, d.file_count, d.max_item_bytes, d.version, d.parent_version_id, d.created_at,
  d.manifest_object_id, d.tree_object_id, dataset_vouched(d.id, NULL)::integer AS public_trust_level,
  p.name AS public_dataset_name, p.verified_by AS public_verified_by
FROM datasets d
JOIN users u ON u.id = d.owner_id
LEFT JOIN LATERAL (
  SELECT r.name, r.verified_by FROM dataset_evidence e JOIN public_datasets r ON r.id = e.public_dataset_id
  WHERE e.dataset_id = d.id AND e.kind = 'registry' ORDER BY r.name, r.version LIMIT 1
) p ON true
WHERE d.state = 'ready';

-- Down Migration

DROP VIEW dataset_summary;
DROP FUNCTION dataset_trust, dataset_vouched, evidence_level;
DROP TABLE dataset_evidence, attestors, attestor_lists, signing_keys;
