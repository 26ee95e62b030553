//! The flow that all databases share: batches, grants, retention, the backfill, the first opening.
//!
//! What differs between them is a [`Session`]: a transaction, with the few words of SQL that each
//! database has of its own.

use std::sync::Arc;

use layers::policy::Fingerprint;

use super::rows::{self, Sink, Statements, Table};
use super::{
    FOUND, Grant, INSERT_GRANT, KEEP_NOTE, ORIGIN, OURS, PlainKeys, SELECT_NOTE, SET_NOTE, STEP,
    SUM_ATTEMPTS, SUM_CONFLICT, SUM_REQUESTS, Scratch,
};
use crate::accounting::hours::Hours;
use crate::values::Closed;

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

/// A pool of connections that sessions are begun on.
pub(super) trait Backend: Sync {
    /// Its transactions.
    type Session: Session;

    /// A session that may write.
    fn session(&self) -> impl Future<Output = Result<Self::Session, sqlx::Error>> + Send;

    /// A session beside which no other of this kind is open, in any process: for what creates
    /// tables or completes old rows.
    fn lone_session(&self) -> impl Future<Output = Result<Self::Session, sqlx::Error>> + Send;
}

/// One transaction, and the SQL of its database.
pub(super) trait Session: Send + Sized {
    /// Creates the tables and their indices.
    const CREATE: &str;
    /// Gives a row where the table of requests is there.
    const FIND: &str;
    /// The start of the hour of a row, in Unix seconds.
    const HOUR: &str;
    /// The point in time that the first value gives in Unix seconds.
    const TIME: &str;

    /// The values of an `INSERT`.
    type Values: Sink + Send;

    /// Its `INSERT` statements.
    fn statements() -> &'static Statements;

    /// Room for the values of so many rows.
    fn values(rows: usize, table: &Table) -> Self::Values;

    /// Inserts rows.
    fn insert(
        &mut self,
        sql: &'static str,
        values: Self::Values,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs a statement; tells how many rows it changed.
    fn run(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// The rows of a query for one text.
    fn texts(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send;

    /// The row of a query for two numbers.
    fn pair(
        &mut self,
        sql: &str,
    ) -> impl Future<Output = Result<(Option<i64>, Option<i64>), sqlx::Error>> + Send;

    /// Adds the columns that an older table lacks.
    fn complete(&mut self, table: &Table) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Ends it; everything is stored.
    fn commit(self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Writes records and sums in one transaction.
pub(super) async fn write<B: Backend>(
    backend: &B,
    records: &[Arc<Closed>],
    hours: &Hours,
    plain: Option<&PlainKeys>,
    Scratch { texts }: &mut Scratch,
) -> Result<(), sqlx::Error> {
    let mut session = backend.session().await?;
    let statements = B::Session::statements();

    let mut left = records;
    while !left.is_empty() {
        let (size, sql) = statements.requests.next(left.len());
        let (now, later) = left.split_at(size);
        let mut values = B::Session::values(size, &rows::REQUESTS);
        for closed in now {
            rows::bind_request(&mut values, closed, plain, texts);
        }
        session.insert(sql, values).await?;
        left = later;
    }

    let mut count = records.iter().map(|closed| closed.entry.attempts.len()).sum::<usize>();
    let mut attempts =
        records.iter().flat_map(|closed| (0..closed.entry.attempts.len()).map(move |n| (closed, n)));
    while count > 0 {
        let (size, sql) = statements.attempts.next(count);
        let mut values = B::Session::values(size, &rows::ATTEMPTS);
        for (closed, index) in attempts.by_ref().take(size) {
            rows::bind_attempt(&mut values, closed, index, plain, texts);
        }
        session.insert(sql, values).await?;
        count -= size;
    }

    let groups = hours.sorted();
    let mut left = &groups[..];
    while !left.is_empty() {
        let (size, sql) = statements.hours.next(left.len());
        let (now, later) = left.split_at(size);
        let mut values = B::Session::values(size, &rows::HOURS);
        for (group, sums) in now {
            rows::bind_hour(&mut values, group, sums, texts);
        }
        session.insert(sql, values).await?;
        left = later;
    }
    session.commit().await
}

/// Stores a grant.
pub(super) async fn grant<B: Backend>(backend: &B, grant: &Grant) -> Result<(), sqlx::Error> {
    let mut session = backend.session().await?;
    let values =
        [Value::Text(grant.key.as_str()), Value::Number(grant.amount), Value::Number(grant.granted_at)];
    session.run(INSERT_GRANT, &values).await?;
    session.commit().await
}

/// Deletes up to [`STEP`] detail rows of each table from before this time; tells how many went.
pub(super) async fn prune<B: Backend>(backend: &B, before: i64) -> Result<u64, sqlx::Error> {
    let mut gone = 0;
    for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
        let (name, time) = (table.name, B::Session::TIME);
        let sql = format!(
            "DELETE FROM {name} WHERE id IN (SELECT id FROM {name} WHERE timestamp < {time} ORDER BY timestamp LIMIT $2)"
        );
        let mut session = backend.session().await?;
        gone += session.run(&sql, &[Value::Number(before), Value::Number(STEP)]).await?;
        session.commit().await?;
    }
    Ok(gone)
}

/// Completes the next [`STEP`] old rows of each table. True when there are none left.
pub(super) async fn backfill<B: Backend>(
    backend: &B,
    fingerprint: fn(&str) -> Fingerprint,
) -> Result<bool, sqlx::Error> {
    let mut done = true;
    for (table, sum) in [(&rows::REQUESTS, SUM_REQUESTS), (&rows::ATTEMPTS, SUM_ATTEMPTS)] {
        let mut session = backend.lone_session().await?;
        let note = note_of(table);
        let left = session.texts(SELECT_NOTE, &[Value::Text(&note)]).await?;
        // Written when the database was first opened: the ids that are still to be done.
        let Some((from, to)) = left.first().and_then(|left| super::range(left)) else { continue };
        let last = to.min(from.saturating_add(STEP - 1));
        let name = table.name;
        let ids = [Value::Number(from), Value::Number(last)];
        let keys = format!(
            "SELECT DISTINCT api_key FROM {name} WHERE id BETWEEN $1 AND $2 AND key_id IS NULL AND api_key IS NOT NULL"
        );
        let identify = format!(
            "UPDATE {name} SET key_id = $1 WHERE id BETWEEN $2 AND $3 AND key_id IS NULL AND api_key = $4"
        );
        for key in session.texts(&keys, &ids).await? {
            let id = fingerprint(&key);
            let values = [Value::Text(id.as_str()), ids[0], ids[1], Value::Text(&key)];
            session.run(&identify, &values).await?;
        }
        session.run(&(sum.replace("{hour}", B::Session::HOUR) + SUM_CONFLICT), &ids).await?;
        let left = super::left_of(last, to);
        session.run(SET_NOTE, &[Value::Text(&note), Value::Text(&left)]).await?;
        session.commit().await?;
        done &= last >= to;
    }
    Ok(done)
}

/// The span of a migration.
pub(super) fn migration(database: &'static str) -> tracing::Span {
    tracing::info_span!(target: "process", "migration", database)
}

/// Creates what is missing; tells whether this program created the tables, now or earlier.
pub(super) async fn migrate<B: Backend>(backend: &B) -> Result<bool, sqlx::Error> {
    let mut session = backend.lone_session().await?;
    let old = !session.texts(B::Session::FIND, &[]).await?.is_empty();
    let statements =
        || B::Session::CREATE.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    // An index needs its column, which an older table may get only below.
    for statement in statements().filter(|statement| !statement.starts_with("CREATE INDEX")) {
        session.run(statement, &[]).await?;
    }
    for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
        session.complete(table).await?;
    }
    for statement in statements().filter(|statement| statement.starts_with("CREATE INDEX")) {
        session.run(statement, &[]).await?;
    }
    let origin = if old { FOUND } else { OURS };
    let first = session.run(KEEP_NOTE, &[Value::Text(ORIGIN), Value::Text(origin)]).await? > 0;
    if first && old {
        for table in [&rows::REQUESTS, &rows::ATTEMPTS] {
            // Ids are 32 or 64 bits wide, depending on who created the table.
            let range =
                format!("SELECT CAST(MIN(id) AS BIGINT), CAST(MAX(id) AS BIGINT) FROM {}", table.name);
            let (Some(from), Some(to)) = session.pair(&range).await? else { continue };
            let left = format!("{from} {to}");
            session.run(KEEP_NOTE, &[Value::Text(&note_of(table)), Value::Text(&left)]).await?;
        }
    }
    let origin = session.texts(SELECT_NOTE, &[Value::Text(ORIGIN)]).await?;
    session.commit().await?;
    Ok(origin.first().is_some_and(|origin| origin == OURS))
}

/// The name of the note that says what a backfill of this table still has to do.
fn note_of(table: &Table) -> String {
    format!("backfill {}", table.name)
}
