-- +goose Up
-- The longest lease that verifiers were ever given, in microseconds. A store of
-- the first schema has never given any.
ALTER TABLE state ADD COLUMN lease_life INTEGER NOT NULL DEFAULT 0;

-- +goose Down
SELECT 'a binary that does not know leases must not run on this store';
