-- Version 1. Names, keys and records are bytes that the engine doesn't interpret: docs/embedding.md, "Storing".
CREATE TABLE accounts (name bytea PRIMARY KEY, user_id bytea NOT NULL UNIQUE, credential bytea NOT NULL, epoch bigint NOT NULL,
                       record bytea NOT NULL);
CREATE TABLE attempts (counter bytea PRIMARY KEY, window_ends bigint NOT NULL, count bigint NOT NULL, unseen bigint NOT NULL);
CREATE TABLE secrets (user_id bytea, key_id bytea, record bytea NOT NULL, PRIMARY KEY (user_id, key_id));
CREATE TABLE gone (user_id bytea PRIMARY KEY); -- deleted accounts: a user ID is never used again
CREATE TABLE heads (user_id bytea, epoch bigint, head bytea NOT NULL, PRIMARY KEY (user_id, epoch));
CREATE TABLE audit (key bytea PRIMARY KEY, user_id bytea NOT NULL, at bigint NOT NULL, about_secrets boolean NOT NULL,
                    key_ids bytea[] NOT NULL, entry bytea NOT NULL);
CREATE INDEX audit_trail ON audit (user_id, at, key);
-- The sessions of a fleet.
CREATE TABLE sessions (session_id bytea PRIMARY KEY, version bigint NOT NULL, sealed bytea NOT NULL, resolution bytea NOT NULL,
                       expires bigint NOT NULL);
