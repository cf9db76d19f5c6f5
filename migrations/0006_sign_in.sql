-- Up Migration

-- A POST with an idempotency key. Nothing here is readable without the caller's credential: the id is keyed with it,
-- and the answer, which may show a token this once, is sealed with it.
CREATE TABLE idempotent_requests (
  id bytea PRIMARY KEY CHECK (length(id) = 32),
  request_hash bytea NOT NULL CHECK (length(request_hash) = 32), -- SHA-256 of method, path and body
  attempt uuid NOT NULL, -- tells who runs it now from who was taken for dead
  status smallint CHECK (status BETWEEN 200 AND 499), -- null while it runs
  sealed_answer bytea,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((status IS NULL) = (sealed_answer IS NULL))
);
CREATE INDEX ON idempotent_requests (created_at);

-- Down Migration

DROP TABLE idempotent_requests;
