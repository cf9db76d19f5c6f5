-- Up Migration

-- Receipts of streams whose sessions were forgotten. A stream id starts anew then, so it may have several.
CREATE TABLE stream_receipts (
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  dataset_id uuid NOT NULL, -- references nothing: a receipt outlives the dataset version
  stream_id text NOT NULL CHECK (length(stream_id) BETWEEN 1 AND 128),
  started_at timestamptz NOT NULL,
  envelope jsonb NOT NULL, -- DSSE, see docs/formats/receipt-v1.md
  kept_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, dataset_id, stream_id, started_at)
);

-- Down Migration

DROP TABLE stream_receipts;
