-- Up Migration

-- How far the scheduled search for damaged shards got, by depth: `size` asks for lengths, `hash` reads every byte.
CREATE TABLE scrub_passes (
  depth text PRIMARY KEY CHECK (depth IN ('size', 'hash')),
  started_at timestamptz NOT NULL,
  after_chunk_id uuid, -- the last chunk that was looked at; references nothing, as it may go
  finished_at timestamptz -- null while the pass goes on
);

-- Down Migration

DROP TABLE scrub_passes;
