-- Up Migration

-- Training nodes -------------------------------------------------------------
-- A node proves itself with an Ed25519 key (DPoP) or with a client certificate (mTLS). A revoked node's name is free again.
ALTER TABLE training_nodes ALTER COLUMN public_key DROP NOT NULL;
ALTER TABLE training_nodes ADD COLUMN certificate_sha256 bytea CHECK (length(certificate_sha256) = 32);
ALTER TABLE training_nodes ADD CONSTRAINT training_nodes_one_proof CHECK (num_nonnulls(public_key, certificate_sha256) = 1);
ALTER TABLE training_nodes DROP CONSTRAINT training_nodes_owner_id_name_key;
CREATE UNIQUE INDEX training_nodes_name ON training_nodes (owner_id, name) WHERE revoked_at IS NULL;

-- Shares ---------------------------------------------------------------------
-- A share hangs on the one that it passes on (null: on the dataset, given by the owner) and ends with it. It never
-- holds more than that one: put_share sees to it when it is made, and later a share only grows or goes.
ALTER TABLE dataset_shares ADD COLUMN parent_id uuid REFERENCES dataset_shares ON DELETE CASCADE;
ALTER TABLE dataset_shares ADD COLUMN granters uuid[]; -- who passed it on: the owner first, who gave it last
UPDATE dataset_shares s SET granters = ARRAY[d.owner_id] FROM datasets d WHERE d.id = s.dataset_id;
ALTER TABLE dataset_shares ALTER COLUMN granters SET NOT NULL;
ALTER TABLE dataset_shares ADD CONSTRAINT dataset_shares_granters CHECK (
  cardinality(granters) BETWEEN 1 AND 8 AND shared_with_user_id <> ALL (granters)
  AND (cardinality(granters) = 1) = (parent_id IS NULL));
-- A share may be addressed to an e-mail address. Its holder is then the first user who verified that address; until
-- there is one it opens nothing. Who gave it sees the address alone.
ALTER TABLE dataset_shares ALTER COLUMN shared_with_user_id DROP NOT NULL;
ALTER TABLE dataset_shares ADD COLUMN shared_with_email text CHECK (shared_with_email = lower(shared_with_email)
  AND shared_with_email LIKE '%_@_%' AND length(shared_with_email) <= 254);
ALTER TABLE dataset_shares ADD CONSTRAINT dataset_shares_for_someone CHECK (num_nonnulls(shared_with_user_id, shared_with_email) > 0);
ALTER TABLE dataset_shares DROP CONSTRAINT dataset_shares_dataset_id_shared_with_user_id_key;
CREATE UNIQUE INDEX dataset_shares_granted ON dataset_shares
  (dataset_id, (COALESCE(shared_with_email, shared_with_user_id::text)), (granters[cardinality(granters)]));
CREATE INDEX ON dataset_shares (parent_id);
CREATE INDEX dataset_shares_pending ON dataset_shares (shared_with_email) WHERE shared_with_user_id IS NULL;

-- Tokens ---------------------------------------------------------------------
ALTER TABLE data_access_tokens ADD COLUMN node_id uuid REFERENCES training_nodes ON DELETE CASCADE;
-- What the issuer could pass on: a share, or for null the dataset as its owner or as a public one.
ALTER TABLE data_access_tokens ADD COLUMN share_id uuid REFERENCES dataset_shares ON DELETE SET NULL;
UPDATE data_access_tokens t SET share_id = s.id FROM dataset_shares s, datasets d
  WHERE s.dataset_id = t.dataset_id AND s.shared_with_user_id = t.issued_by AND d.id = t.dataset_id AND d.owner_id <> t.issued_by;
CREATE INDEX ON data_access_tokens (node_id);
CREATE INDEX ON data_access_tokens (share_id);
CREATE INDEX ON data_access_tokens (issued_by);

-- Before the row goes: afterwards the tokens would not name it any more.
CREATE FUNCTION shares_take_their_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE data_access_tokens SET revoked_at = now() WHERE share_id = OLD.id AND revoked_at IS NULL;
  RETURN OLD;
END $$;
CREATE TRIGGER shares_take_their_tokens BEFORE DELETE ON dataset_shares
  FOR EACH ROW EXECUTE FUNCTION shares_take_their_tokens();

-- What unexpired shares of a dataset version, or its being a public copy, let a user do; empty without any.
CREATE FUNCTION shared_permissions(dataset uuid, who uuid) RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT COALESCE(array_agg(DISTINCT permission), '{}') FROM (
    SELECT unnest(s.permissions) FROM dataset_shares s
    WHERE s.dataset_id = dataset AND s.shared_with_user_id = who AND (s.expires_at IS NULL OR s.expires_at > now())
    UNION SELECT unnest(ARRAY['read', 'stream']) WHERE is_public_copy(dataset)
  ) AS held (permission)
$$;

-- Gives a user, or whoever verified the e-mail address, a share from `granter`, in place of the one that this granter
-- gave them before. If the new one takes nothing away, the old one grows, and what hangs on it stays; otherwise that
-- ends. No limit in time means: as long as the granter's own. Null when the granter does not hold what is asked, with the
-- right to pass it on. An address is given the same answer whether anybody has it, so who stands above may be among them.
CREATE FUNCTION put_share(dataset uuid, granter uuid, grantee uuid, asked text[], until timestamptz, address text DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE source record; given uuid;
BEGIN
  PERFORM FROM datasets WHERE id = dataset AND state = 'ready' FOR NO KEY UPDATE; -- one at a time
  SELECT NULL::uuid AS id, ARRAY[d.owner_id] AS granters, NULL::timestamptz AS expires_at INTO source
    FROM datasets d WHERE d.id = dataset AND d.state = 'ready' AND d.owner_id = granter AND grantee IS DISTINCT FROM granter;
  IF NOT FOUND THEN
    SELECT s.id, s.granters || granter AS granters, s.expires_at INTO source FROM dataset_shares s
      WHERE s.dataset_id = dataset AND s.shared_with_user_id = granter
        AND (s.expires_at IS NULL OR s.expires_at > now()) AND (asked || ARRAY['reshare']) <@ s.permissions
        AND (until IS NULL OR s.expires_at IS NULL OR until <= s.expires_at)
        AND cardinality(s.granters) < 8 AND (grantee IS NULL OR grantee <> ALL (s.granters || granter))
      ORDER BY s.expires_at DESC NULLS FIRST, s.id LIMIT 1 FOR SHARE;
    IF NOT FOUND THEN RETURN NULL; END IF;
  END IF;
  until := COALESCE(until, source.expires_at);
  IF address IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended(address, 0)); -- against its being verified meanwhile
    SELECT u.id INTO grantee FROM users u
      WHERE u.email = address AND u.email_verified AND u.id <> ALL (source.granters);
  END IF;
  DELETE FROM dataset_shares s WHERE s.dataset_id = dataset AND s.granters[cardinality(s.granters)] = granter
    AND COALESCE(s.shared_with_email, s.shared_with_user_id::text) = COALESCE(address, grantee::text)
    AND NOT (s.parent_id IS NOT DISTINCT FROM source.id AND s.permissions <@ asked
      AND COALESCE(s.expires_at, 'infinity') <= COALESCE(until, 'infinity')
      AND (s.shared_with_user_id IS NULL OR s.shared_with_user_id IS NOT DISTINCT FROM grantee));
  INSERT INTO dataset_shares (dataset_id, shared_with_user_id, shared_with_email, permissions, expires_at, parent_id, granters)
    VALUES (dataset, grantee, address, asked, until, source.id, source.granters)
    ON CONFLICT (dataset_id, (COALESCE(shared_with_email, shared_with_user_id::text)), (granters[cardinality(granters)]))
    DO UPDATE SET permissions = EXCLUDED.permissions, expires_at = EXCLUDED.expires_at,
      shared_with_user_id = EXCLUDED.shared_with_user_id
    RETURNING id INTO given;
  RETURN given;
END $$;

-- Whether a token opens a dataset version now. Who has the token, and what its scopes are, is for the gateway to say.
CREATE FUNCTION token_holds(token uuid, dataset uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM data_access_tokens t
    JOIN datasets d ON d.id = t.dataset_id AND d.state = 'ready'
    LEFT JOIN training_nodes n ON n.id = t.node_id
    LEFT JOIN dataset_shares s ON s.id = t.share_id
    WHERE t.id = token AND t.dataset_id = dataset AND t.revoked_at IS NULL AND t.expires_at > now()
      AND n.revoked_at IS NULL
      AND (d.owner_id = t.issued_by OR (s.id IS NOT NULL AND (s.expires_at IS NULL OR s.expires_at > now()))
        OR (t.share_id IS NULL AND is_public_copy(d.id))))
$$;

-- Down Migration

DROP FUNCTION token_holds, put_share, shared_permissions;
DROP TRIGGER shares_take_their_tokens ON dataset_shares;
DROP FUNCTION shares_take_their_tokens;
DROP INDEX data_access_tokens_issued_by_idx;
ALTER TABLE data_access_tokens DROP COLUMN share_id, DROP COLUMN node_id;
DELETE FROM dataset_shares WHERE parent_id IS NOT NULL OR shared_with_email IS NOT NULL;
DROP INDEX dataset_shares_granted, dataset_shares_pending;
ALTER TABLE dataset_shares DROP COLUMN shared_with_email;
ALTER TABLE dataset_shares ALTER COLUMN shared_with_user_id SET NOT NULL;
ALTER TABLE dataset_shares DROP CONSTRAINT dataset_shares_granters, DROP COLUMN parent_id, DROP COLUMN granters;
ALTER TABLE dataset_shares ADD UNIQUE (dataset_id, shared_with_user_id);
DELETE FROM training_nodes WHERE revoked_at IS NOT NULL OR public_key IS NULL;
DROP INDEX training_nodes_name;
ALTER TABLE training_nodes DROP CONSTRAINT training_nodes_one_proof, DROP COLUMN certificate_sha256;
ALTER TABLE training_nodes ALTER COLUMN public_key SET NOT NULL;
ALTER TABLE training_nodes ADD UNIQUE (owner_id, name);
