-- +goose Up
-- The hash of the cookie that carries a session. Sessions from before have none.
ALTER TABLE sessions ADD COLUMN cookie_hash TEXT NOT NULL DEFAULT '';

-- +goose Down
SELECT 'a binary that does not know cookies must not run on this store';
