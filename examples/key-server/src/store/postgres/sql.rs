//! The statements, as `docs/embedding.md` prints them: a test compares. What is before each says what goes into it.

// Queries.

/// Name.
pub(super) const ACCOUNT: &str = "SELECT record FROM accounts WHERE name = $1";
/// Counter.
pub(super) const ATTEMPTS: &str = "SELECT window_ends, count, unseen FROM attempts WHERE counter = $1";
/// User ID.
pub(super) const STANDING: &str = "SELECT credential, epoch FROM accounts WHERE user_id = $1";
/// User ID, key IDs.
pub(super) const SECRETS: &str = "SELECT key_id, record FROM secrets WHERE user_id = $1 AND key_id = ANY($2)";
/// User ID, after (no bytes if there is none), limit.
pub(super) const SECRETS_PAGE: &str =
    "SELECT key_id, record FROM secrets WHERE user_id = $1 AND key_id > $2 ORDER BY key_id LIMIT $3";
/// User ID, first, limit.
pub(super) const HEADS: &str = "SELECT head FROM heads WHERE user_id = $1 AND epoch >= $2 ORDER BY epoch LIMIT $3";
/// User ID, time and key of `after`, from, until, about secrets (null for all), key IDs (null for any), limit.
pub(super) const AUDIT_PAGE: &str = "SELECT entry FROM audit WHERE user_id = $1 AND (at, key) > ($2, $3) AND at >= $4 AND at < $5
    AND ($6::boolean IS NULL OR about_secrets = $6) AND ($7::bytea[] IS NULL OR key_ids && $7) ORDER BY at, key LIMIT $8";
/// Session ID.
pub(super) const SESSION: &str = "SELECT version, sealed, resolution FROM sessions WHERE session_id = $1";

// Step 0.

/// Session ID, sealed, resolution, expires.
pub(super) const OPEN_SESSION: &str = "INSERT INTO sessions (session_id, version, sealed, resolution, expires)
VALUES ($1, 1, $2, $3, $4) ON CONFLICT (session_id) DO NOTHING";
/// Session ID, from, sealed, resolution, expires.
pub(super) const ADVANCE_SESSION: &str =
    "UPDATE sessions SET version = version + 1, sealed = $3, resolution = $4, expires = $5
WHERE session_id = $1 AND version = $2";
/// Session ID, resolution.
pub(super) const RESOLVE_SESSION: &str = "UPDATE sessions SET resolution = $2 WHERE session_id = $1";

// Steps 1 and 2.

/// Key, user ID, at, about secrets, key IDs, entry.
pub(super) const LOG: &str = "INSERT INTO audit (key, user_id, at, about_secrets, key_ids, entry)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key) DO NOTHING";
/// User ID, credential.
pub(super) const GUARD_CREDENTIAL: &str = "SELECT 1 FROM accounts WHERE user_id = $1 AND credential = $2 FOR UPDATE";
/// User ID, epoch.
pub(super) const GUARD_HEAD: &str = "SELECT 1 FROM accounts WHERE user_id = $1 AND epoch = $2 FOR UPDATE";
/// Name, user ID, credential, record.
pub(super) const CREATE_ACCOUNT: &str = "INSERT INTO accounts (name, user_id, credential, epoch, record)
SELECT $1, $2, $3, 0, $4 WHERE NOT EXISTS (SELECT 1 FROM gone WHERE user_id = $2) ON CONFLICT DO NOTHING";
/// User ID, head.
pub(super) const FIRST_HEAD: &str = "INSERT INTO heads (user_id, epoch, head) VALUES ($1, 0, $2)";
/// Name.
pub(super) const NAME_TAKEN: &str = "SELECT 1 FROM accounts WHERE name = $1";
/// Counter, window ends, limit.
pub(super) const CHARGE: &str =
    "INSERT INTO attempts AS old (counter, window_ends, count, unseen) VALUES ($1, $2, 1, 1)
ON CONFLICT (counter) DO UPDATE SET
    count = CASE WHEN old.window_ends < excluded.window_ends THEN 1 ELSE old.count + 1 END,
    unseen = old.unseen + 1,
    window_ends = greatest(old.window_ends, excluded.window_ends)
WHERE old.window_ends < excluded.window_ends OR old.count < $3";
/// Counter, window ends, seen.
pub(super) const REFUND: &str = "UPDATE attempts SET
    unseen = greatest(unseen - $3, 0),
    count = CASE WHEN window_ends = $2 THEN greatest(count - 1, 0) ELSE count END
WHERE counter = $1";
/// User ID, key ID, record.
pub(super) const STORE_SECRET: &str =
    "INSERT INTO secrets (user_id, key_id, record) VALUES ($1, $2, $3) ON CONFLICT (user_id, key_id) DO NOTHING";
/// User ID, key ID, record.
pub(super) const SAME_SECRET: &str = "SELECT 1 FROM secrets WHERE user_id = $1 AND key_id = $2 AND record = $3";
/// User ID, key ID, live, tombstone.
pub(super) const DELETE_SECRET: &str =
    "UPDATE secrets SET record = $4 WHERE user_id = $1 AND key_id = $2 AND record IN ($3, $4)";
/// Name, user ID, credential, record.
pub(super) const REPLACE_CREDENTIAL: &str =
    "UPDATE accounts SET credential = $3, record = $4 WHERE name = $1 AND user_id = $2";
/// User ID, key ID.
pub(super) const PURGE_SECRET: &str = "DELETE FROM secrets WHERE user_id = $1 AND key_id = $2";
/// Name, user ID.
pub(super) const DELETE_ACCOUNT: &str = "DELETE FROM accounts WHERE name = $1 AND user_id = $2";
/// User ID, for each.
pub(super) const DELETE_REST: [&str; 4] = [
    "INSERT INTO gone (user_id) VALUES ($1) ON CONFLICT DO NOTHING",
    "DELETE FROM secrets WHERE user_id = $1",
    "DELETE FROM heads WHERE user_id = $1",
    "DELETE FROM audit WHERE user_id = $1",
];
/// User ID, epoch. Not `epoch = $2 - 1`: there the engine takes the parameter for a 32-bit number.
pub(super) const ADVANCE_EPOCH: &str = "UPDATE accounts SET epoch = $2 WHERE user_id = $1 AND epoch + 1 = $2";
/// User ID, epoch, head.
pub(super) const APPEND_HEAD: &str = "INSERT INTO heads (user_id, epoch, head) VALUES ($1, $2, $3)";

// The purge.

/// An hour ago.
pub(super) const PURGE_ATTEMPTS: &str = "DELETE FROM attempts WHERE window_ends < $1";
/// Now.
pub(super) const PURGE_SESSIONS: &str = "DELETE FROM sessions WHERE expires <= $1";

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(sql: &str) -> String {
        sql.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What the page says is what runs.
    #[test]
    fn statements_are_those_of_the_documentation() {
        let page = plain(include_str!("../../../../../docs/embedding.md"));
        let statements = [
            ACCOUNT,
            ATTEMPTS,
            STANDING,
            SECRETS,
            SECRETS_PAGE,
            HEADS,
            AUDIT_PAGE,
            SESSION,
            OPEN_SESSION,
            ADVANCE_SESSION,
            RESOLVE_SESSION,
            LOG,
            GUARD_CREDENTIAL,
            GUARD_HEAD,
            CREATE_ACCOUNT,
            FIRST_HEAD,
            NAME_TAKEN,
            CHARGE,
            REFUND,
            STORE_SECRET,
            SAME_SECRET,
            DELETE_SECRET,
            REPLACE_CREDENTIAL,
            PURGE_SECRET,
            DELETE_ACCOUNT,
            ADVANCE_EPOCH,
            APPEND_HEAD,
            PURGE_ATTEMPTS,
            PURGE_SESSIONS,
        ];
        for statement in statements.into_iter().chain(DELETE_REST) {
            assert!(page.contains(&plain(statement)), "not in docs/embedding.md: {statement}");
        }
        for table in include_str!("../schema.sql").split_inclusive(';') {
            let table = table.find("CREATE").and_then(|start| table.get(start..)).unwrap_or_default();
            assert!(page.contains(&plain(table)), "not in docs/embedding.md: {table}");
        }
    }
}
