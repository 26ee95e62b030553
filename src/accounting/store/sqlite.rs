//! The ledger in one file, the default.
//!
//! One connection writes, in WAL mode with `synchronous=NORMAL`: a power cut can lose the last
//! batches, never damage the file. Statistics read through connections of their own, which WAL
//! keeps out of the writer's way.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use layers::policy::Fingerprint;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use super::rows::{self, SqliteSink, Table};
use super::{
    FOUND, Grant, INSERT_GRANT, KEEP_NOTE, ORIGIN, OURS, PlainKeys, RawHour, SELECT_GRANTS, SELECT_HOURS,
    SELECT_NOTE, SET_NOTE, STEP, SUM_ATTEMPTS, SUM_CONFLICT, SUM_REQUESTS, Scratch,
};
use crate::accounting::hours::Hours;
use crate::values::Closed;

/// How long a statement waits for another program that has the file locked.
const BUSY: Duration = Duration::from_secs(5);

/// Connections for statistics.
const READERS: u32 = 2;

const CREATE: &str = include_str!("../migrations/sqlite.sql");
const SELECT_COLUMNS: &str = "SELECT name FROM pragma_table_info(?)";

static SUM_REQUESTS_HERE: LazyLock<String> = LazyLock::new(|| summing(SUM_REQUESTS));
static SUM_ATTEMPTS_HERE: LazyLock<String> = LazyLock::new(|| summing(SUM_ATTEMPTS));

fn summing(select: &str) -> String {
    let hour = "CAST(strftime('%s', timestamp) AS INTEGER) / 3600 * 3600";
    select.replace("{hour}", hour) + SUM_CONFLICT
}

/// A ledger in a file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Device and inode of the file at the time it was opened.
    file: Option<(u64, u64)>,
    writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) ours: bool,
}

impl Sqlite {
    /// Opens or creates the file, its folder and its tables.
    pub async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY)
            .statement_cache_capacity(64)
            // A statement of a whole batch is no use in a log.
            .disable_statement_logging();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(BUSY)
            .connect_with(options.clone())
            .await?;
        let ours = match migrate(&writer).await {
            Ok(ours) => ours,
            Err(error) => {
                writer.close().await;
                return Err(error);
            }
        };
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY)
            .connect_lazy_with(options.create_if_missing(false).read_only(true));
        Ok(Self { path: path.to_owned(), file: identity(path), writer, readers, ours })
    }

    pub(super) fn is_in_place(&self) -> bool {
        self.file.is_some() && self.file == identity(&self.path)
    }

    pub(super) async fn write(
        &self,
        records: &[Arc<Closed>],
        hours: &Hours,
        plain: Option<&PlainKeys>,
        scratch: &mut Scratch,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let statements = &*rows::SQLITE;
        let Scratch { texts, clock } = scratch;

        let mut left = records;
        while !left.is_empty() {
            let (size, sql) = statements.requests.next(left.len());
            let (now, later) = left.split_at(size);
            let mut sink = SqliteSink { values: values(size, &rows::REQUESTS), clock };
            for closed in now {
                rows::bind_request(&mut sink, closed, plain, texts);
            }
            transaction.execute(sqlx::query_with(sql, sink.values)).await?;
            left = later;
        }

        let mut count = records.iter().map(|closed| closed.entry.attempts.len()).sum::<usize>();
        let mut attempts =
            records.iter().flat_map(|closed| (0..closed.entry.attempts.len()).map(move |n| (closed, n)));
        while count > 0 {
            let (size, sql) = statements.attempts.next(count);
            let mut sink = SqliteSink { values: values(size, &rows::ATTEMPTS), clock };
            for (closed, index) in attempts.by_ref().take(size) {
                rows::bind_attempt(&mut sink, closed, index, plain, texts);
            }
            transaction.execute(sqlx::query_with(sql, sink.values)).await?;
            count -= size;
        }

        let groups = hours.sorted();
        let mut left = &groups[..];
        while !left.is_empty() {
            let (size, sql) = statements.hours.next(left.len());
            let (now, later) = left.split_at(size);
            let mut sink = SqliteSink { values: values(size, &rows::HOURS), clock };
            for (group, sums) in now {
                rows::bind_hour(&mut sink, group, sums, texts);
            }
            transaction.execute(sqlx::query_with(sql, sink.values)).await?;
            left = later;
        }
        transaction.commit().await
    }

    pub(super) async fn backfill(&self, fingerprint: fn(&str) -> Fingerprint) -> Result<bool, sqlx::Error> {
        let mut done = true;
        for (table, sum) in [(&rows::REQUESTS, &SUM_REQUESTS_HERE), (&rows::ATTEMPTS, &SUM_ATTEMPTS_HERE)] {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let note = format!("backfill {}", table.name);
            let left: Option<(String,)> =
                sqlx::query_as(SELECT_NOTE).bind(&*note).fetch_optional(&mut *transaction).await?;
            // Written when the database was first opened: the ids that are still to be done.
            let Some((from, to)) = left.as_ref().and_then(|(left,)| super::range(left)) else { continue };
            let last = to.min(from.saturating_add(STEP - 1));
            let name = table.name;
            let keys: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(format!(
                "SELECT DISTINCT api_key FROM {name} WHERE id BETWEEN $1 AND $2 AND key_id IS NULL AND api_key IS NOT NULL"
            )))
            .bind(from)
            .bind(last)
            .fetch_all(&mut *transaction)
            .await?;
            for (key,) in keys {
                sqlx::query(AssertSqlSafe(format!(
                    "UPDATE {name} SET key_id = $1 WHERE id BETWEEN $2 AND $3 AND key_id IS NULL AND api_key = $4"
                )))
                .bind(fingerprint(&key).as_str())
                .bind(from)
                .bind(last)
                .bind(key)
                .execute(&mut *transaction)
                .await?;
            }
            sqlx::query(sum.as_str()).bind(from).bind(last).execute(&mut *transaction).await?;
            let left = super::left_of(last, to);
            sqlx::query(SET_NOTE).bind(&*note).bind(left).execute(&mut *transaction).await?;
            transaction.commit().await?;
            done &= last >= to;
        }
        Ok(done)
    }

    pub(super) async fn prune(&self, before: i64) -> Result<u64, sqlx::Error> {
        const REQUESTS: &str = "DELETE FROM request_stats WHERE id IN \
            (SELECT id FROM request_stats WHERE timestamp < $1 ORDER BY timestamp LIMIT $2)";
        const ATTEMPTS: &str = "DELETE FROM channel_stats WHERE id IN \
            (SELECT id FROM channel_stats WHERE timestamp < $1 ORDER BY timestamp LIMIT $2)";
        let before = rows::sqlite_time(before);
        let mut gone = 0;
        for sql in [REQUESTS, ATTEMPTS] {
            gone += sqlx::query(sql).bind(&*before).bind(STEP).execute(&self.writer).await?.rows_affected();
        }
        Ok(gone)
    }

    pub(super) async fn hours(&self, since: i64) -> Result<Vec<RawHour>, sqlx::Error> {
        sqlx::query_as(SELECT_HOURS).bind(since - since.rem_euclid(3600)).fetch_all(&self.readers).await
    }

    pub(super) async fn grant(&self, grant: &Grant) -> Result<(), sqlx::Error> {
        sqlx::query(INSERT_GRANT)
            .bind(grant.key.as_str())
            .bind(grant.amount)
            .bind(grant.granted_at)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(super) async fn grants(&self) -> Result<Vec<(String, i64, i64)>, sqlx::Error> {
        sqlx::query_as(SELECT_GRANTS).fetch_all(&self.readers).await
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// For tests that look at what was stored.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.writer
    }
}

fn values(rows: usize, table: &Table) -> SqliteArguments {
    let mut values = SqliteArguments::default();
    sqlx::Arguments::reserve(&mut values, rows * table.columns.len(), 0);
    values
}

/// Which file stands at a path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Creates what is missing; tells whether this program created the tables, now or earlier.
async fn migrate(pool: &SqlitePool) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let old: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'request_stats'")
            .fetch_optional(&mut *transaction)
            .await?;
    let statements = || CREATE.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    // An index needs its column, which an older table may get only below.
    for statement in statements().filter(|statement| !statement.starts_with("CREATE INDEX")) {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
        let present: Vec<(String,)> =
            sqlx::query_as(SELECT_COLUMNS).bind(table.name).fetch_all(&mut *transaction).await?;
        for (column, kind, _) in table.columns {
            if !present.iter().any(|(name,)| name == column) {
                let sql = format!("ALTER TABLE {} ADD COLUMN {column} {kind}", table.name);
                sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
            }
        }
    }
    for statement in statements().filter(|statement| statement.starts_with("CREATE INDEX")) {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    let origin = if old.is_some() { FOUND } else { OURS };
    let first =
        sqlx::query(KEEP_NOTE).bind(ORIGIN).bind(origin).execute(&mut *transaction).await?.rows_affected()
            > 0;
    if first && old.is_some() {
        for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
            let range = AssertSqlSafe(format!("SELECT MIN(id), MAX(id) FROM {}", table.name));
            let (from, to): (Option<i64>, Option<i64>) =
                sqlx::query_as(range).fetch_one(&mut *transaction).await?;
            let (Some(from), Some(to)) = (from, to) else { continue };
            sqlx::query(KEEP_NOTE)
                .bind(format!("backfill {}", table.name))
                .bind(format!("{from} {to}"))
                .execute(&mut *transaction)
                .await?;
        }
    }
    let (origin,): (String,) = sqlx::query_as(SELECT_NOTE).bind(ORIGIN).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(origin == OURS)
}
