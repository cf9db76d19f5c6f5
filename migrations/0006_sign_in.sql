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

-- People who sign in at a page have an e-mail address and a password; programs need neither. An address is verified
-- when its user, signed in, brought the secret that was mailed there, or when an administrator vouches for it.
ALTER TABLE users
  ADD COLUMN email text UNIQUE CHECK (email = lower(email) AND email LIKE '%_@_%' AND length(email) <= 254),
  ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
  ADD COLUMN verification_mailed_at timestamptz,
  ADD CHECK (email IS NOT NULL OR NOT email_verified);

-- What was shared with an address becomes its user's. Nobody holds a share that they passed on themselves.
CREATE FUNCTION verified_users_take_their_shares() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(NEW.email, 0)); -- against a share that is being made, see put_share
  UPDATE dataset_shares SET shared_with_user_id = NEW.id
    WHERE shared_with_email = NEW.email AND shared_with_user_id IS NULL AND NEW.id <> ALL (granters);
  RETURN NULL;
END $$;
CREATE TRIGGER verified_users_take_their_shares AFTER INSERT OR UPDATE OF email, email_verified ON users
  FOR EACH ROW WHEN (NEW.email_verified) EXECUTE FUNCTION verified_users_take_their_shares();

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
DROP TRIGGER verified_users_take_their_shares ON users;
DROP FUNCTION verified_users_take_their_shares;
ALTER TABLE users DROP COLUMN email, DROP COLUMN email_verified, DROP COLUMN verification_mailed_at;

DROP TABLE idempotent_requests;
