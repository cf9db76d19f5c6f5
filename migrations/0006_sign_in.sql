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

-- People who sign in at a page have an e-mail address and a password; programs need neither.
ALTER TABLE users ADD COLUMN email text UNIQUE CHECK (email = lower(email) AND email LIKE '%_@_%' AND length(email) <= 254);

CREATE TABLE accounts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  provider text NOT NULL CHECK (provider = 'credential'),
  account_id text NOT NULL, -- of a credential: the user's id
  password text NOT NULL CHECK (password LIKE 'scrypt$%'),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (provider, account_id)
);
CREATE INDEX ON accounts (user_id);

-- The token of a session is in its cookie alone; only its SHA-256 is stored.
CREATE TABLE sessions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON sessions (user_id);
CREATE INDEX ON sessions (expires_at);

-- Down Migration

DROP TABLE sessions, accounts;
ALTER TABLE users DROP COLUMN email;

DROP TABLE idempotent_requests;
