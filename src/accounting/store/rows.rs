//! The tables as lists of columns, and the statements and values made from them.
//!
//! One list per table drives three things: which columns an older database lacks, the `INSERT`
//! text, and (by its order) the values that are bound. Statements hold up to [`LARGEST`] rows in
//! sizes that are powers of two, so that a batch of any length is a few statements which are
//! prepared once.
//!
//! SQLite gets anonymous `?` placeholders: it keeps numbered ones in a list that is searched from
//! the start for each of them, which is quadratic in a statement of thousands.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use jiff::Timestamp;
use layers::policy::Fingerprint;
use sqlx::Arguments;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;

use crate::accounting::hours::{Group, Sums, count};
use crate::values::Closed;

/// Most rows in one statement.
pub(super) const LARGEST: usize = 128;

/// Picodollars in a US dollar per million tokens, the unit of the price columns.
const PER_MILLION: f64 = 1e6;

/// A column: its name, its type in SQLite, its type in PostgreSQL.
pub(super) type Column = (&'static str, &'static str, &'static str);

/// A table that rows are appended to.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// In the order in which values are bound.
    pub(super) columns: &'static [Column],
    /// What makes a row one of a kind; its other columns are then added up.
    key: usize,
}

/// One row per request. Up to `timestamp` the columns are those that front ends read.
pub(super) static REQUESTS: Table = Table {
    name: "request_stats",
    columns: &[
        ("request_id", "VARCHAR", "VARCHAR"),
        ("endpoint", "VARCHAR", "VARCHAR"),
        ("client_ip", "VARCHAR", "VARCHAR"),
        ("process_time", "FLOAT", "DOUBLE PRECISION"),
        ("first_response_time", "FLOAT", "DOUBLE PRECISION"),
        ("provider", "VARCHAR", "VARCHAR"),
        ("model", "VARCHAR", "VARCHAR"),
        ("api_key", "VARCHAR", "VARCHAR"),
        ("is_flagged", "BOOLEAN", "BOOLEAN"),
        ("prompt_tokens", "INTEGER", "INTEGER"),
        ("completion_tokens", "INTEGER", "INTEGER"),
        ("total_tokens", "INTEGER", "INTEGER"),
        ("prompt_price", "FLOAT", "DOUBLE PRECISION"),
        ("completion_price", "FLOAT", "DOUBLE PRECISION"),
        ("timestamp", "DATETIME", "TIMESTAMP WITH TIME ZONE"),
        ("key_id", "VARCHAR", "VARCHAR"),
        ("status", "INTEGER", "INTEGER"),
        ("outcome", "VARCHAR", "VARCHAR"),
        ("stream", "BOOLEAN", "BOOLEAN"),
        ("abandoned", "BOOLEAN", "BOOLEAN"),
        ("attempts", "INTEGER", "INTEGER"),
        ("cached_tokens", "INTEGER", "INTEGER"),
        ("cache_write_tokens", "INTEGER", "INTEGER"),
        ("reasoning_tokens", "INTEGER", "INTEGER"),
        ("estimated", "BOOLEAN", "BOOLEAN"),
        ("cost_picodollars", "BIGINT", "BIGINT"),
        ("groups", "VARCHAR", "VARCHAR"),
        ("trace_id", "VARCHAR", "VARCHAR"),
    ],
    key: 0,
};

/// One row per attempt. Up to `timestamp` the columns are those that front ends read.
pub(super) static ATTEMPTS: Table = Table {
    name: "channel_stats",
    columns: &[
        ("request_id", "VARCHAR", "VARCHAR"),
        ("provider", "VARCHAR", "VARCHAR"),
        ("model", "VARCHAR", "VARCHAR"),
        ("api_key", "VARCHAR", "VARCHAR"),
        ("provider_api_key", "VARCHAR", "VARCHAR"),
        ("success", "BOOLEAN", "BOOLEAN"),
        ("timestamp", "DATETIME", "TIMESTAMP WITH TIME ZONE"),
        ("key_id", "VARCHAR", "VARCHAR"),
        ("outcome", "VARCHAR", "VARCHAR"),
        ("process_time", "FLOAT", "DOUBLE PRECISION"),
    ],
    key: 0,
};

/// Sums by hour, key, channel and model.
pub(super) static HOURS: Table = Table {
    name: "usage_hours",
    columns: &[
        ("hour", "INTEGER", "BIGINT"),
        ("key_id", "TEXT", "TEXT"),
        ("channel", "TEXT", "TEXT"),
        ("model", "TEXT", "TEXT"),
        ("requests", "INTEGER", "BIGINT"),
        ("successes", "INTEGER", "BIGINT"),
        ("attempts", "INTEGER", "BIGINT"),
        ("attempt_successes", "INTEGER", "BIGINT"),
        ("prompt_tokens", "INTEGER", "BIGINT"),
        ("completion_tokens", "INTEGER", "BIGINT"),
        ("total_tokens", "INTEGER", "BIGINT"),
        ("cached_tokens", "INTEGER", "BIGINT"),
        ("reasoning_tokens", "INTEGER", "BIGINT"),
        ("estimated", "INTEGER", "BIGINT"),
        ("cost_picodollars", "INTEGER", "BIGINT"),
    ],
    key: 4,
};

/// The `INSERT` statements of one table, for 1, 2, 4 … [`LARGEST`] rows.
pub(super) struct Inserts(Vec<String>);

impl Inserts {
    fn new(table: &Table, numbered: bool) -> Self {
        let sizes = (0..=LARGEST.ilog2()).map(|power| insert(table, 1 << power, numbered));
        Self(sizes.collect())
    }

    /// How many rows of `left` the next statement takes, and its text.
    pub(super) fn next(&self, left: usize) -> (usize, &str) {
        let power = left.clamp(1, LARGEST).ilog2();
        (1 << power, &self.0[power as usize])
    }
}

/// The statements of one kind of database.
pub(super) struct Statements {
    pub(super) requests: Inserts,
    pub(super) attempts: Inserts,
    pub(super) hours: Inserts,
}

impl Statements {
    fn new(numbered: bool) -> Self {
        Self {
            requests: Inserts::new(&REQUESTS, numbered),
            attempts: Inserts::new(&ATTEMPTS, numbered),
            hours: Inserts::new(&HOURS, numbered),
        }
    }
}

pub(super) static SQLITE: LazyLock<Statements> = LazyLock::new(|| Statements::new(false));
pub(super) static POSTGRES: LazyLock<Statements> = LazyLock::new(|| Statements::new(true));

fn insert(table: &Table, rows: usize, numbered: bool) -> String {
    let names: Vec<_> = table.columns.iter().map(|(name, ..)| *name).collect();
    let mut sql = format!("INSERT INTO {} ({}) VALUES ", table.name, names.join(", "));
    let mut number = 0;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for (column, (_, _, kind)) in table.columns.iter().enumerate() {
            number += 1;
            let comma = if column == 0 { "" } else { ", " };
            let written = match (numbered, *kind) {
                (false, _) => write!(sql, "{comma}?"),
                // Times are bound as Unix seconds: no date type is compiled into the driver.
                (true, "TIMESTAMP WITH TIME ZONE") => write!(sql, "{comma}to_timestamp(${number})"),
                (true, _) => write!(sql, "{comma}${number}"),
            };
            written.expect("writing to a string does not fail");
        }
        sql.push(')');
    }
    if table.key > 0 {
        let (key, sums) = names.split_at(table.key);
        let sums: Vec<_> =
            sums.iter().map(|sum| format!("{sum} = {}.{sum} + excluded.{sum}", table.name)).collect();
        write!(sql, " ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), sums.join(", "))
            .expect("writing to a string does not fail");
    }
    sql
}

/// Texts that many rows share, kept so that binding one is a reference count.
#[derive(Default)]
pub(super) struct Texts(HashSet<Arc<str>, RandomState>);

impl Texts {
    /// More than a configuration holds names; beyond it the memory starts anew.
    const MOST: usize = 8192;

    /// The text, shared, and without NUL, which PostgreSQL refuses.
    pub(super) fn shared(&mut self, text: &str) -> Arc<str> {
        let text = without_nul(text);
        if let Some(known) = self.0.get(&*text) {
            return known.clone();
        }
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        let shared: Arc<str> = text.into();
        self.0.insert(shared.clone());
        shared
    }
}

fn without_nul(text: &str) -> Cow<'_, str> {
    match memchr::memchr(0, text.as_bytes()) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.replace('\0', "")),
    }
}

/// A taker of the values of a row, in the order of its table's columns.
pub(super) trait Sink {
    fn text(&mut self, value: Option<Arc<str>>);
    fn whole(&mut self, value: Option<i64>);
    fn real(&mut self, value: Option<f64>);
    fn flag(&mut self, value: bool);
    /// A point in time in Unix seconds.
    fn time(&mut self, seconds: i64);
}

/// Values for SQLite. Points in time are text, `2026-01-31 23:59:59` in UTC, as front ends read them.
pub(super) struct SqliteSink {
    pub(super) values: SqliteArguments,
    /// The last time that was written, since neighbours tend to share it.
    clock: (i64, Arc<str>),
}

impl SqliteSink {
    pub(super) fn new(values: SqliteArguments) -> Self {
        Self { values, clock: (0, "".into()) }
    }
}

/// Encoding a number or a text into memory has no way to fail.
const ENCODES: &str = "plain values can be encoded";

impl Sink for SqliteSink {
    fn text(&mut self, value: Option<Arc<str>>) {
        self.values.add(value).expect(ENCODES);
    }

    fn whole(&mut self, value: Option<i64>) {
        self.values.add(value).expect(ENCODES);
    }

    fn real(&mut self, value: Option<f64>) {
        self.values.add(value).expect(ENCODES);
    }

    fn flag(&mut self, value: bool) {
        self.values.add(value).expect(ENCODES);
    }

    fn time(&mut self, seconds: i64) {
        if self.clock.0 != seconds || self.clock.1.is_empty() {
            self.clock = (seconds, sqlite_time(seconds).into());
        }
        self.values.add(self.clock.1.clone()).expect(ENCODES);
    }
}

/// A point in time as SQLite's own `CURRENT_TIMESTAMP` writes it.
pub(super) fn sqlite_time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Sink for PgArguments {
    fn text(&mut self, value: Option<Arc<str>>) {
        self.add(value).expect(ENCODES);
    }

    fn whole(&mut self, value: Option<i64>) {
        self.add(value).expect(ENCODES);
    }

    fn real(&mut self, value: Option<f64>) {
        self.add(value).expect(ENCODES);
    }

    fn flag(&mut self, value: bool) {
        self.add(value).expect(ENCODES);
    }

    fn time(&mut self, seconds: i64) {
        self.add(seconds as f64).expect(ENCODES);
    }
}

/// The clear text of a client key by its fingerprint, where front ends may see it.
pub type PlainKeys = Arc<dyn Fn(&Fingerprint) -> Option<Arc<str>> + Send + Sync>;

/// What the `api_key` column holds: the key in clear where that is asked for, else its fingerprint.
fn api_key(closed: &Closed, plain: Option<&PlainKeys>, texts: &mut Texts) -> Arc<str> {
    let fingerprint = &closed.entry.caller.fingerprint;
    match plain.and_then(|lookup| lookup(fingerprint)) {
        Some(key) => texts.shared(&key),
        None => texts.shared(fingerprint.as_str()),
    }
}

/// Binds a row of [`REQUESTS`].
pub(super) fn bind_request(
    sink: &mut impl Sink,
    closed: &Closed,
    plain: Option<&PlainKeys>,
    texts: &mut Texts,
) {
    let entry = &closed.entry;
    let served = entry.target.is_some();
    // Zero for what failed, nothing where an answer came without its usage: that is not zero.
    let tokens = |count: fn(&dialect::ir::Usage) -> u64| match &entry.usage {
        // The columns are 32 bits wide in PostgreSQL.
        Some(usage) => Some(i64::from(i32::try_from(count(usage)).unwrap_or(i32::MAX))),
        None if entry.accepted.is_some() => None,
        None => Some(0),
    };
    let price = |picodollars: u64| if served { picodollars as f64 / PER_MILLION } else { 0.0 };
    sink.text(Some(without_nul(entry.id.as_str()).into()));
    sink.text(Some(texts.shared(entry.endpoint.label)));
    sink.text(entry.client.map(|address| texts.shared(&address.to_string())));
    sink.real(Some(entry.elapsed.as_secs_f64()));
    sink.real(Some(entry.accepted.map_or(-1.0, |after| after.as_secs_f64())));
    sink.text(closed.channel().map(|channel| texts.shared(channel)));
    sink.text(Some(texts.shared(closed.model())));
    sink.text(Some(api_key(closed, plain, texts)));
    sink.flag(entry.flagged);
    sink.whole(tokens(|usage| usage.input_total));
    sink.whole(tokens(|usage| usage.output_total));
    sink.whole(tokens(|usage| usage.total()));
    sink.real(Some(price(closed.price.input)));
    sink.real(Some(price(closed.price.output)));
    sink.time(closed.ended());
    sink.text(Some(texts.shared(entry.caller.fingerprint.as_str())));
    sink.whole(Some(i64::from(entry.status.as_u16())));
    sink.text(Some(texts.shared(entry.outcome())));
    sink.flag(entry.stream);
    sink.flag(entry.abandoned);
    let own = entry.attempts.iter().filter(|attempt| attempt.side_call.is_none()).count();
    sink.whole(Some(i64::try_from(own).unwrap_or(i64::MAX)));
    sink.whole(tokens(|usage| usage.cached_read));
    sink.whole(tokens(|usage| usage.cache_write));
    sink.whole(tokens(|usage| usage.reasoning));
    sink.flag(closed.estimated);
    sink.whole(Some(money(closed.cost)));
    // The nested keys whose windows counted it, so that a restart can rebuild those too.
    let groups: Vec<&str> = entry.groups.iter().map(Fingerprint::as_str).collect();
    sink.text((!groups.is_empty()).then(|| texts.shared(&groups.join(","))));
    sink.text(entry.trace.map(|trace| trace.id_digits().to_string().into()));
}

/// Binds the row of [`ATTEMPTS`] for one try of a request.
pub(super) fn bind_attempt(
    sink: &mut impl Sink,
    closed: &Closed,
    index: usize,
    plain: Option<&PlainKeys>,
    texts: &mut Texts,
) {
    let entry = &closed.entry;
    let attempt = &entry.attempts[index];
    sink.text(Some(without_nul(entry.id.as_str()).into()));
    sink.text(Some(texts.shared(attempt.channel.as_str())));
    sink.text(Some(texts.shared(closed.model_of(attempt))));
    sink.text(Some(api_key(closed, plain, texts)));
    sink.text(attempt.key.as_ref().map(|key| texts.shared(key.as_str())));
    sink.flag(attempt.outcome == "ok");
    sink.time(closed.ended());
    sink.text(Some(texts.shared(entry.caller.fingerprint.as_str())));
    sink.text(Some(texts.shared(attempt.outcome)));
    sink.real(Some(attempt.elapsed.as_secs_f64()));
}

/// Binds a row of [`HOURS`].
pub(super) fn bind_hour(sink: &mut impl Sink, group: &Group, sums: &Sums, texts: &mut Texts) {
    sink.whole(Some(group.hour));
    sink.text(Some(texts.shared(group.key.as_str())));
    sink.text(Some(texts.shared(group.channel.as_str())));
    sink.text(Some(texts.shared(&group.model)));
    for sum in [
        sums.requests,
        sums.successes,
        sums.attempts,
        sums.attempt_successes,
        sums.prompt_tokens,
        sums.completion_tokens,
        sums.total_tokens,
        sums.cached_tokens,
        sums.reasoning_tokens,
        sums.estimated,
        money(sums.cost),
    ] {
        sink.whole(Some(sum));
    }
}

/// Picodollars as a 64-bit column holds them: up to nine million dollars.
pub(super) fn money(picodollars: i128) -> i64 {
    count(u64::try_from(picodollars.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_any_length_is_covered_by_sizes_that_are_powers_of_two() {
        for length in [1_usize, 2, 3, 127, 128, 129, 511, 512] {
            let mut left = length;
            let mut statements = 0;
            while left > 0 {
                let (rows, sql) = SQLITE.attempts.next(left);
                assert_eq!(sql.matches('(').count(), rows + 1, "one pair of brackets a row");
                left -= rows;
                statements += 1;
            }
            assert!(statements <= 4 + 7, "{length} rows took {statements} statements");
        }
    }

    #[test]
    fn no_statement_has_more_values_than_postgres_can_number() {
        for table in [&REQUESTS, &ATTEMPTS, &HOURS] {
            assert!(table.columns.len() * LARGEST < 32_766);
        }
    }

    #[test]
    fn times_are_written_as_sqlite_writes_them() {
        assert_eq!(sqlite_time(1_767_225_599), "2025-12-31 23:59:59");
    }

    #[test]
    fn nul_bytes_are_left_out() {
        assert_eq!(&*Texts::default().shared("a\0b\0"), "ab");
    }
}
