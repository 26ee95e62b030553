//! The ledger in one file, the default.
//!
//! One connection writes, in WAL mode with `synchronous=NORMAL`: a power cut can lose the last
//! batches, never damage the file. Statistics read through connections of their own, which WAL
//! keeps out of the writer's way.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Transaction};
use tracing::Instrument as _;

use super::flow::{self, Backend, Session, Value};
use super::rows::{self, SqliteSink, Statements, Table};

/// How long a statement waits for another program that has the file locked.
const BUSY: Duration = Duration::from_secs(5);

/// Connections for statistics.
const READERS: u32 = 2;

/// A ledger in a file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Device and inode of the file at the time it was opened.
    file: Option<(u64, u64)>,
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) ours: bool,
}

impl Sqlite {
    /// Opens or creates the file, its folder and its tables.
    pub async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        keep_private(path);
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
        let ours = match flow::migrate(&writer).instrument(flow::migration("sqlite")).await {
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

/// Lets nobody else read the file, which may hold client keys, nor what SQLite puts beside it.
///
/// SQLite gives the files beside it the mode of the file itself, so that is made first. One that is there and belongs
/// to somebody else stays as it is, and whatever is wrong with it is told when it is opened.
fn keep_private(path: &Path) {
    /// Read and written by its owner.
    const PRIVATE: u32 = 0o600;
    let _ = std::fs::OpenOptions::new().append(true).create(true).mode(PRIVATE).open(path);
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let Ok(facts) = std::fs::metadata(&name) else { continue };
        if facts.is_file()
            && facts.mode() & 0o077 != 0
            && std::fs::set_permissions(&name, Permissions::from_mode(PRIVATE)).is_ok()
        {
            let (file, before) = (Path::new(&name).display(), format!("{:o}", facts.mode() & 0o777));
            tracing::info!(%file, before, "Statistics may hold keys; the file is now its owner's alone (0600).");
        }
    }
}

/// Which file stands at a path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl Backend for SqlitePool {
    type Session = SqliteSession;

    async fn session(&self) -> Result<SqliteSession, sqlx::Error> {
        self.begin_with("BEGIN IMMEDIATE").await.map(SqliteSession)
    }

    /// Whoever writes to a file is alone.
    async fn lone_session(&self) -> Result<SqliteSession, sqlx::Error> {
        self.session().await
    }
}

/// A transaction on the file.
pub(super) struct SqliteSession(Transaction<'static, sqlx::Sqlite>);

impl Session for SqliteSession {
    const CREATE: &str = include_str!("../migrations/sqlite.sql");
    const FIND: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'request_stats'";
    const HOUR: &str = "CAST(strftime('%s', timestamp) AS INTEGER) / 3600 * 3600";
    const TIME: &str = "datetime($1, 'unixepoch')";

    type Values = SqliteSink;

    fn statements() -> &'static Statements {
        &rows::SQLITE
    }

    fn values(rows: usize, table: &Table) -> Self::Values {
        let mut values = SqliteArguments::default();
        sqlx::Arguments::reserve(&mut values, rows * table.columns.len(), 0);
        SqliteSink::new(values)
    }

    async fn insert(&mut self, sql: &'static str, values: Self::Values) -> Result<(), sqlx::Error> {
        self.0.execute(sqlx::query_with(sql, values.values)).await?;
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
        let present =
            self.texts("SELECT name FROM pragma_table_info($1)", &[Value::Text(table.name)]).await?;
        for (column, kind, _) in table.columns {
            if !present.iter().any(|name| name == column) {
                self.run(&format!("ALTER TABLE {} ADD COLUMN {column} {kind}", table.name), &[]).await?;
            }
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}
