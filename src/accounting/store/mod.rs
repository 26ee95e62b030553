//! Keeps the ledger in SQLite or PostgreSQL.
//!
//! Tables are created when the database is opened, columns that an older one lacks are added, and
//! nothing is ever renamed or dropped, because front ends read the file while it is in use. A
//! [`Store`] is opened and written by the writer task alone; readers (statistics, balances) share
//! it and have connections of their own.

mod flow;
mod past;
mod postgres;
mod rows;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use layers::policy::{ChannelName, Fingerprint};
use sqlx::postgres::PgConnectOptions;

pub(crate) use past::BLAMELESS;
pub use past::{Cost, Fingerprinter, PastAttempt, PastHour, PastRequest, Tries};
pub use postgres::Postgres;
pub use rows::PlainKeys;
pub use sqlite::Sqlite;

use super::hours::{Group, Hours, Sums};
use crate::config::environment;
use crate::values::Closed;

/// The place where the ledger is.
#[derive(Clone)]
pub enum Database {
    /// A file. It and its folder are created when they are not there.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PgConnectOptions>),
}

/// `DATABASE_URL` cannot be read. Its text is not repeated, since it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("DATABASE_URL is not of the form postgres://user:password@host:port/name")]
pub struct UnreadableUrl;

impl Database {
    /// The database that the environment names; none when there is to be none.
    pub fn of(wish: &environment::Database) -> Result<Option<Self>, UnreadableUrl> {
        let postgres = match wish {
            environment::Database::Off => return Ok(None),
            environment::Database::Sqlite(path) => return Ok(Some(Self::Sqlite(path.clone()))),
            environment::Database::Postgres(postgres) => postgres,
        };
        let options = match &postgres.url {
            // Written for another driver, such as postgresql+asyncpg://.
            Some(url) => match url.expose().split_once("://") {
                Some((scheme, rest))
                    if scheme.split('+').next().is_some_and(|s| s.starts_with("postgres")) =>
                {
                    format!("postgres://{rest}").parse().map_err(|_| UnreadableUrl)?
                }
                _ => return Err(UnreadableUrl),
            },
            None => PgConnectOptions::new_without_pgpass()
                .host(&postgres.host)
                .port(postgres.port)
                .username(&postgres.user)
                .password(postgres.password.expose())
                .database(&postgres.name),
        };
        Ok(Some(Self::Postgres(Box::new(options))))
    }

    /// What the database may be called in a log.
    pub fn label(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(options) => format!("PostgreSQL at {}:{}", options.get_host(), options.get_port()),
        }
    }

    /// What a person can do when it cannot be written.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "let DB_PATH name a place that can be written, or set DISABLE_DATABASE=true",
            Self::Postgres(_) => {
                "check DATABASE_URL, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME, or set \
                 DISABLE_DATABASE=true"
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.label())
    }
}

/// An open ledger.
#[derive(Debug)]
pub enum Store {
    /// In a file.
    Sqlite(Sqlite),
    /// On a server.
    Postgres(Postgres),
}

/// Memory that the writer keeps from batch to batch.
#[derive(Default)]
pub struct Scratch {
    texts: rows::Texts,
}

/// The sums of one hour.
pub type HourRow = (Group, Sums);

/// A stored grant of credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The client key.
    pub key: Fingerprint,
    /// Picodollars.
    pub amount: i64,
    /// When, in Unix seconds.
    pub granted_at: i64,
}

/// The columns of a row of sums, as both databases give them.
type RawHour = (i64, String, String, String, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);

/// How many old rows one step of the backfill or of the retention takes: a few milliseconds of work.
const STEP: i64 = 2000;

/// The name of the note that says whose database this is.
const ORIGIN: &str = "origin";
/// Its value for a database that this program created.
const OURS: &str = "ours";
/// Its value for a database that was there before.
const FOUND: &str = "found";

impl Store {
    /// Opens or creates the database, its folder and its tables.
    pub async fn open(database: &Database) -> Result<Self, sqlx::Error> {
        match database {
            Database::Sqlite(path) => Sqlite::open(path).await.map(Self::Sqlite),
            Database::Postgres(options) => Postgres::open(options).await.map(Self::Postgres),
        }
    }

    /// Whether what was opened is still what stands at its place: a SQLite file that was deleted
    /// or replaced takes writes forever, and they are gone.
    pub fn is_in_place(&self) -> bool {
        match self {
            Self::Sqlite(store) => store.is_in_place(),
            Self::Postgres(_) => true,
        }
    }

    /// Whether the tables were created by this program, so that it may also delete from them.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Sqlite(store) => store.ours,
            Self::Postgres(store) => store.ours,
        }
    }

    /// Writes records and sums in one transaction.
    pub async fn write(
        &self,
        records: &[Arc<Closed>],
        hours: &Hours,
        plain: Option<&PlainKeys>,
        scratch: &mut Scratch,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(store) => flow::write(&store.writer, records, hours, plain, scratch).await,
            Self::Postgres(store) => flow::write(&store.pool, records, hours, plain, scratch).await,
        }
    }

    /// Gives the next `STEP` rows of a database from before fingerprints their `key_id`, and
    /// adds them to the sums. True when there are none left.
    pub async fn backfill(&self, fingerprint: fn(&str) -> Fingerprint) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(store) => flow::backfill(&store.writer, fingerprint).await,
            Self::Postgres(store) => flow::backfill(&store.pool, fingerprint).await,
        }
    }

    /// Deletes detail rows from before a time in Unix seconds, at most `STEP` per table; the
    /// sums stay. Tells how many went.
    pub async fn prune(&self, before: i64) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(store) => flow::prune(&store.writer, before).await,
            Self::Postgres(store) => flow::prune(&store.pool, before).await,
        }
    }

    /// All sums of the hours from the one that holds `since` (Unix seconds) on, oldest first.
    pub async fn hours(&self, since: i64) -> Result<Vec<HourRow>, sqlx::Error> {
        let rows: Vec<RawHour> = self.fetch(SELECT_HOURS, &[since - since.rem_euclid(3600)]).await?;
        Ok(rows.into_iter().map(hour_row).collect())
    }

    /// Stores a grant of credits to a key.
    pub async fn grant(&self, grant: &Grant) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(store) => flow::grant(&store.writer, grant).await,
            Self::Postgres(store) => flow::grant(&store.pool, grant).await,
        }
    }

    /// All grants, oldest first.
    pub async fn grants(&self) -> Result<Vec<Grant>, sqlx::Error> {
        let rows: Vec<(String, i64, i64)> = self.fetch(SELECT_GRANTS, &[]).await?;
        let grant = |(key, amount, granted_at): (String, _, _)| Grant {
            key: Fingerprint::new(&key),
            amount,
            granted_at,
        };
        Ok(rows.into_iter().map(grant).collect())
    }

    /// Closes all connections; what was written is on disk.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

const SELECT_HOURS: &str = "SELECT hour, key_id, channel, model, requests, successes, attempts, attempt_successes, \
    prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens, estimated, cost_picodollars \
    FROM usage_hours WHERE hour >= $1 ORDER BY hour, key_id, channel, model";
const INSERT_GRANT: &str =
    "INSERT INTO credit_grants (key_id, amount_picodollars, granted_at) VALUES ($1, $2, $3)";
const SELECT_GRANTS: &str = "SELECT key_id, amount_picodollars, granted_at FROM credit_grants ORDER BY id";
const SELECT_NOTE: &str = "SELECT value FROM ledger_notes WHERE name = $1";
const KEEP_NOTE: &str =
    "INSERT INTO ledger_notes (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const SET_NOTE: &str = "INSERT INTO ledger_notes (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// The sums of old request rows with ids from `$1` to `$2`; `{hour}` is the dialect's own.
const SUM_REQUESTS: &str = "INSERT INTO usage_hours (hour, key_id, channel, model, requests, successes, attempts, \
    attempt_successes, prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens, estimated, \
    cost_picodollars) \
    SELECT {hour}, COALESCE(key_id, ''), COALESCE(provider, ''), COALESCE(model, ''), COUNT(*), COUNT(provider), 0, 0, \
    COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0), COALESCE(SUM(total_tokens), 0), 0, 0, 0, \
    CAST(ROUND(COALESCE(SUM(COALESCE(prompt_tokens, 0) * COALESCE(prompt_price, 0) \
    + COALESCE(completion_tokens, 0) * COALESCE(completion_price, 0)), 0) * 1000000) AS BIGINT) \
    FROM request_stats WHERE id BETWEEN $1 AND $2 AND timestamp IS NOT NULL GROUP BY 1, 2, 3, 4 ";

/// The same for old attempt rows.
const SUM_ATTEMPTS: &str = "INSERT INTO usage_hours (hour, key_id, channel, model, requests, successes, attempts, \
    attempt_successes, prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens, estimated, \
    cost_picodollars) \
    SELECT {hour}, COALESCE(key_id, ''), COALESCE(provider, ''), COALESCE(model, ''), 0, 0, COUNT(*), \
    COUNT(CASE WHEN success THEN 1 END), 0, 0, 0, 0, 0, 0, 0 \
    FROM channel_stats WHERE id BETWEEN $1 AND $2 AND timestamp IS NOT NULL GROUP BY 1, 2, 3, 4 ";

/// The end of both: what is there already is added to.
const SUM_CONFLICT: &str = "ON CONFLICT (hour, key_id, channel, model) DO UPDATE SET \
    requests = usage_hours.requests + excluded.requests, \
    successes = usage_hours.successes + excluded.successes, \
    attempts = usage_hours.attempts + excluded.attempts, \
    attempt_successes = usage_hours.attempt_successes + excluded.attempt_successes, \
    prompt_tokens = usage_hours.prompt_tokens + excluded.prompt_tokens, \
    completion_tokens = usage_hours.completion_tokens + excluded.completion_tokens, \
    total_tokens = usage_hours.total_tokens + excluded.total_tokens, \
    cost_picodollars = usage_hours.cost_picodollars + excluded.cost_picodollars";

fn hour_row(row: RawHour) -> HourRow {
    let group = Group {
        hour: row.0,
        key: Fingerprint::new(&row.1),
        channel: ChannelName::from(row.2.as_str()),
        model: row.3.into(),
    };
    let sums = Sums {
        requests: row.4,
        successes: row.5,
        attempts: row.6,
        attempt_successes: row.7,
        prompt_tokens: row.8,
        completion_tokens: row.9,
        total_tokens: row.10,
        cached_tokens: row.11,
        reasoning_tokens: row.12,
        estimated: row.13,
        cost: i128::from(row.14),
    };
    (group, sums)
}

/// Reads the ids that a backfill still has to do; none when it is done.
fn range(note: &str) -> Option<(i64, i64)> {
    let (from, to) = note.split_once(' ')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// What is left of a backfill that has done everything up to `last`.
fn left_of(last: i64, to: i64) -> String {
    if last < to { format!("{} {to}", last + 1) } else { "done".to_owned() }
}
