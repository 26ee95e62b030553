//! The ledger on a PostgreSQL server, for several replicas.
//!
//! Every replica may create and complete the tables; an advisory lock lets one of them do it at a
//! time. Sums are added to in place and always in the same order of rows, so replicas that write
//! the same hour wait for each other but never in a circle.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use layers::policy::Fingerprint;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use super::rows::{self, Table};
use super::{
    FOUND, Grant, INSERT_GRANT, KEEP_NOTE, ORIGIN, OURS, PlainKeys, RawHour, SELECT_GRANTS, SELECT_HOURS,
    SELECT_NOTE, SET_NOTE, STEP, SUM_ATTEMPTS, SUM_CONFLICT, SUM_REQUESTS, Scratch,
};
use crate::accounting::hours::Hours;
use crate::values::Closed;

/// How long opening and each wait for a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection writes, the others read statistics.
const CONNECTIONS: u32 = 3;

const CREATE: &str = include_str!("../migrations/postgres.sql");

/// Held while tables are created or old rows completed; an arbitrary number that is ours.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7093442190312)";

static SUM_REQUESTS_HERE: LazyLock<String> = LazyLock::new(|| summing(SUM_REQUESTS));
static SUM_ATTEMPTS_HERE: LazyLock<String> = LazyLock::new(|| summing(SUM_ATTEMPTS));

fn summing(select: &str) -> String {
    let hour = "CAST(FLOOR(EXTRACT(EPOCH FROM timestamp) / 3600) AS BIGINT) * 3600";
    select.replace("{hour}", hour) + SUM_CONFLICT
}

/// A ledger on a server.
#[derive(Debug)]
pub struct Postgres {
    pub(super) pool: PgPool,
    pub(super) ours: bool,
}

impl Postgres {
    /// Connects and creates or completes the tables.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let options = options
            .clone()
            .application_name("uni-api")
            .statement_cache_capacity(64)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await?;
        match migrate(&pool).await {
            Ok(ours) => Ok(Self { pool, ours }),
            Err(error) => {
                pool.close().await;
                Err(error)
            }
        }
    }

    pub(super) async fn write(
        &self,
        records: &[Arc<Closed>],
        hours: &Hours,
        plain: Option<&PlainKeys>,
        scratch: &mut Scratch,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let statements = &*rows::POSTGRES;
        let texts = &mut scratch.texts;

        let mut left = records;
        while !left.is_empty() {
            let (size, sql) = statements.requests.next(left.len());
            let (now, later) = left.split_at(size);
            let mut sink = values(size, &rows::REQUESTS);
            for closed in now {
                rows::bind_request(&mut sink, closed, plain, texts);
            }
            transaction.execute(sqlx::query_with(sql, sink)).await?;
            left = later;
        }

        let mut count = records.iter().map(|closed| closed.entry.attempts.len()).sum::<usize>();
        let mut attempts =
            records.iter().flat_map(|closed| (0..closed.entry.attempts.len()).map(move |n| (closed, n)));
        while count > 0 {
            let (size, sql) = statements.attempts.next(count);
            let mut sink = values(size, &rows::ATTEMPTS);
            for (closed, index) in attempts.by_ref().take(size) {
                rows::bind_attempt(&mut sink, closed, index, plain, texts);
            }
            transaction.execute(sqlx::query_with(sql, sink)).await?;
            count -= size;
        }

        let groups = hours.sorted();
        let mut left = &groups[..];
        while !left.is_empty() {
            let (size, sql) = statements.hours.next(left.len());
            let (now, later) = left.split_at(size);
            let mut sink = values(size, &rows::HOURS);
            for (group, sums) in now {
                rows::bind_hour(&mut sink, group, sums, texts);
            }
            transaction.execute(sqlx::query_with(sql, sink)).await?;
            left = later;
        }
        transaction.commit().await
    }

    pub(super) async fn backfill(&self, fingerprint: fn(&str) -> Fingerprint) -> Result<bool, sqlx::Error> {
        let mut done = true;
        for (table, sum) in [(&rows::REQUESTS, &SUM_REQUESTS_HERE), (&rows::ATTEMPTS, &SUM_ATTEMPTS_HERE)] {
            let mut transaction = self.pool.begin().await?;
            transaction.execute(LOCK).await?;
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
            (SELECT id FROM request_stats WHERE timestamp < to_timestamp($1) ORDER BY timestamp LIMIT $2)";
        const ATTEMPTS: &str = "DELETE FROM channel_stats WHERE id IN \
            (SELECT id FROM channel_stats WHERE timestamp < to_timestamp($1) ORDER BY timestamp LIMIT $2)";
        let mut gone = 0;
        for sql in [REQUESTS, ATTEMPTS] {
            gone +=
                sqlx::query(sql).bind(before as f64).bind(STEP).execute(&self.pool).await?.rows_affected();
        }
        Ok(gone)
    }

    pub(super) async fn hours(&self, since: i64) -> Result<Vec<RawHour>, sqlx::Error> {
        sqlx::query_as(SELECT_HOURS).bind(since - since.rem_euclid(3600)).fetch_all(&self.pool).await
    }

    pub(super) async fn grant(&self, grant: &Grant) -> Result<(), sqlx::Error> {
        sqlx::query(INSERT_GRANT)
            .bind(grant.key.as_str())
            .bind(grant.amount)
            .bind(grant.granted_at)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(super) async fn grants(&self) -> Result<Vec<(String, i64, i64)>, sqlx::Error> {
        sqlx::query_as(SELECT_GRANTS).fetch_all(&self.pool).await
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// For tests that look at what was stored.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }
}

fn values(rows: usize, table: &Table) -> PgArguments {
    let mut values = PgArguments::default();
    let count = rows * table.columns.len();
    sqlx::Arguments::reserve(&mut values, count, count * 16);
    values
}

/// Creates what is missing; tells whether this program created the tables, now or earlier.
async fn migrate(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    transaction.execute(LOCK).await?;
    let (old,): (bool,) = sqlx::query_as("SELECT to_regclass('request_stats') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await?;
    let statements = || CREATE.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    // An index needs its column, which an older table may get only below.
    for statement in statements().filter(|statement| !statement.starts_with("CREATE INDEX")) {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
        for (column, _, kind) in table.columns {
            let sql = format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {column} {kind}", table.name);
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        }
    }
    for statement in statements().filter(|statement| statement.starts_with("CREATE INDEX")) {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    let origin = if old { FOUND } else { OURS };
    let first =
        sqlx::query(KEEP_NOTE).bind(ORIGIN).bind(origin).execute(&mut *transaction).await?.rows_affected()
            > 0;
    if first && old {
        for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
            // Ids are 32 or 64 bits wide, depending on who created the table.
            let range =
                format!("SELECT CAST(MIN(id) AS BIGINT), CAST(MAX(id) AS BIGINT) FROM {}", table.name);
            let (from, to): (Option<i64>, Option<i64>) =
                sqlx::query_as(AssertSqlSafe(range)).fetch_one(&mut *transaction).await?;
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
