//! The ledger on a PostgreSQL server, for several replicas.
//!
//! Every replica may create and complete the tables; an advisory lock lets one of them do it at a
//! time. Sums are added to in place and always in the same order of rows, so replicas that write
//! the same hour wait for each other but never in a circle.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, Transaction};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::flow::{self, Backend, Session, Value};
use super::rows::{self, Statements, Table};

/// How long opening and each wait for a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection writes, the others read statistics.
const CONNECTIONS: u32 = 3;

/// Held while tables are created or old rows completed; an arbitrary number that is ours.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7093442190312)";

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
        // A pool only ever says that it timed out. One connection outside it says why there is none.
        let first = timeout(PATIENCE, options.connect()).await.map_err(|_elapsed| silent())??;
        first.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await?;
        match flow::migrate(&pool).instrument(flow::migration("postgresql")).await {
            Ok(ours) => Ok(Self { pool, ours }),
            Err(error) => {
                pool.close().await;
                Err(error)
            }
        }
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

/// A server that takes connections and says nothing.
fn silent() -> sqlx::Error {
    let said = format!("the server says nothing for {} s", PATIENCE.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, said))
}

impl Backend for PgPool {
    type Session = PostgresSession;

    async fn session(&self) -> Result<PostgresSession, sqlx::Error> {
        self.begin().await.map(PostgresSession)
    }

    async fn lone_session(&self) -> Result<PostgresSession, sqlx::Error> {
        let mut session = self.session().await?;
        session.0.execute(LOCK).await?;
        Ok(session)
    }
}

/// A transaction on a server.
pub(super) struct PostgresSession(Transaction<'static, sqlx::Postgres>);

impl Session for PostgresSession {
    const CREATE: &str = include_str!("../migrations/postgres.sql");
    const FIND: &str = "SELECT 'request_stats' WHERE to_regclass('request_stats') IS NOT NULL";
    const HOUR: &str = "CAST(FLOOR(EXTRACT(EPOCH FROM timestamp) / 3600) AS BIGINT) * 3600";
    const TIME: &str = "to_timestamp($1)";

    type Values = PgArguments;

    fn statements() -> &'static Statements {
        &rows::POSTGRES
    }

    fn values(rows: usize, table: &Table) -> Self::Values {
        let mut values = PgArguments::default();
        let count = rows * table.columns.len();
        sqlx::Arguments::reserve(&mut values, count, count * 16);
        values
    }

    async fn insert(&mut self, sql: &'static str, values: Self::Values) -> Result<(), sqlx::Error> {
        self.0.execute(sqlx::query_with(sql, values)).await?;
        Ok(())
    }

    async fn run(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        let query = values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match *value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text.to_owned()),
        });
        Ok(query.execute(&mut *self.0).await?.rows_affected())
    }

    async fn texts(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<String>, sqlx::Error> {
        let query = values.iter().fold(sqlx::query_scalar(AssertSqlSafe(sql)), |query, value| match *value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text.to_owned()),
        });
        query.fetch_all(&mut *self.0).await
    }

    async fn pair(&mut self, sql: &str) -> Result<(Option<i64>, Option<i64>), sqlx::Error> {
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *self.0).await
    }

    async fn complete(&mut self, table: &Table) -> Result<(), sqlx::Error> {
        for (column, _, kind) in table.columns {
            let sql = format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {column} {kind}", table.name);
            self.run(&sql, &[]).await?;
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}
