//! Reads back what was recorded before: what state is rebuilt from when the process starts.
//!
//! Long reads come in pages and slices, so that a large ledger costs time and not memory. Rows of
//! an older system are read as they are until the backfill has summed them; a statement sees each
//! of them either there or in the sums, never twice.

use layers::policy::{ChannelName, Fingerprint};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::{SELECT_NOTE, Store};

/// Rows in one page.
const PAGE: i64 = 20_000;

/// Longest time that one statement sums costs over, in seconds.
const SLICE: i64 = 20 * 86_400;

/// The amount that one key spent in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The client key.
    pub key: Fingerprint,
    /// Start of the hour, in Unix seconds.
    pub hour: i64,
    /// Picodollars.
    pub cost: i128,
}

/// A request that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRequest {
    /// The client key.
    pub key: Fingerprint,
    /// The model as asked for.
    pub model: String,
    /// When it ended, in Unix seconds.
    pub at: i64,
    /// Nested keys whose windows counted it.
    pub groups: Vec<Fingerprint>,
}

/// The requests of one key for one model in one hour whose detail is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastHour {
    /// The client key.
    pub key: Fingerprint,
    /// The model as asked for.
    pub model: String,
    /// Start of the hour, in Unix seconds.
    pub hour: i64,
    /// Requests that some channel served.
    pub requests: u64,
}

/// An attempt that used a provider key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// The channel.
    pub channel: ChannelName,
    /// The provider key.
    pub key: Fingerprint,
    /// The model as asked for.
    pub model: String,
    /// When the request ended, in Unix seconds.
    pub at: i64,
}

/// A count of how often a provider key was tried in some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tries {
    /// The channel.
    pub channel: ChannelName,
    /// The provider key.
    pub key: Fingerprint,
    /// Attempts that were answered.
    pub successes: u64,
    /// All attempts that say something about the key.
    pub attempts: u64,
}

/// A function that fingerprints a key in clear, for rows from before fingerprints.
pub type Fingerprinter = fn(&str) -> Fingerprint;

/// The point that reading of pages has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bookmark(i64);

const COSTS: &str = "SELECT key_id, CAST(NULL AS TEXT), hour, CAST(SUM(cost_picodollars) AS BIGINT) \
    FROM usage_hours WHERE hour >= $1 AND hour < $2 AND cost_picodollars > 0 GROUP BY key_id, hour";

/// Rows that the backfill has not come to.
const COSTS_NOT_SUMMED: &str = " UNION ALL SELECT CAST(NULL AS TEXT), api_key, {unix} / 3600 * 3600, \
    CAST(ROUND(SUM({dollars}) * 1000000) AS BIGINT) FROM request_stats \
    WHERE timestamp >= {at1} AND timestamp < {at2} AND key_id IS NULL AND api_key IS NOT NULL GROUP BY 2, 3";

const EARLY: &str = "SELECT CAST(COALESCE(SUM(COALESCE(cost_picodollars, \
    CAST(ROUND(({dollars}) * 1000000) AS BIGINT))), 0) AS BIGINT) FROM request_stats \
    WHERE timestamp >= {at1} AND timestamp < {at2} AND key_id = $3";

/// What a row of an older system cost, in dollars per million.
const DOLLARS: &str = "COALESCE(prompt_tokens, 0) * COALESCE(prompt_price, 0) \
    + COALESCE(completion_tokens, 0) * COALESCE(completion_price, 0)";

const FIRST_REQUEST: &str = "SELECT MIN(id) FROM request_stats WHERE timestamp >= {at1}";
const REQUESTS: &str = "SELECT CAST(id AS BIGINT), COALESCE(key_id, ''), api_key, COALESCE(model, ''), \
    COALESCE({unix}, 0), COALESCE(outcome, ''), COALESCE(groups, '') FROM request_stats WHERE id >= $1 ORDER BY id LIMIT $2";

const OLDEST_REQUEST: &str =
    "SELECT {unix} FROM request_stats WHERE timestamp IS NOT NULL ORDER BY timestamp LIMIT 1";
/// Requests that nobody served may have been refused by a window, and the sums do not tell.
const HOURS: &str = "SELECT key_id, model, hour, CAST(SUM(requests) AS BIGINT) FROM usage_hours \
    WHERE hour >= $1 AND hour < $2 AND channel <> '' AND requests > 0 GROUP BY key_id, model, hour ORDER BY hour";

const FIRST_ATTEMPT: &str = "SELECT MIN(id) FROM channel_stats WHERE timestamp >= {at1}";
const ATTEMPTS: &str = "SELECT CAST(id AS BIGINT), COALESCE(provider, ''), COALESCE(provider_api_key, ''), \
    COALESCE(model, ''), COALESCE({unix}, 0), COALESCE(outcome, '') FROM channel_stats \
    WHERE id >= $1 ORDER BY id LIMIT $2";

const TRIES: &str = "SELECT provider, provider_api_key, COUNT(CASE WHEN success THEN 1 END), COUNT(*) \
    FROM channel_stats WHERE timestamp >= {at1} AND timestamp < {at2} AND provider IS NOT NULL \
    AND provider_api_key IS NOT NULL AND COALESCE(outcome, '') NOT IN ({blameless}) GROUP BY 1, 2";

/// Outcomes of attempts that say nothing about the key they used.
pub(crate) const BLAMELESS: [&str; 7] = [
    "client_gone",
    "internal",
    "shutting_down",
    "overloaded",
    "upstream_client_error",
    "upstream_too_long",
    "upstream_declined",
];

impl Store {
    /// What each key spent in each hour of `from <= hour < until` (Unix seconds), in slices.
    pub async fn costs(
        &self,
        from: i64,
        until: i64,
        fingerprint: Fingerprinter,
        each: &mut (dyn FnMut(Cost) + Send),
    ) -> Result<(), sqlx::Error> {
        let note = "backfill request_stats";
        let note: Option<(String,)> = match self {
            Self::Sqlite(store) => {
                sqlx::query_as(SELECT_NOTE).bind(note).fetch_optional(&store.readers).await
            }
            Self::Postgres(store) => sqlx::query_as(SELECT_NOTE).bind(note).fetch_optional(&store.pool).await,
        }?;
        let all_summed = note.is_none_or(|(left,)| left == "done");
        let mut sql = COSTS.to_owned();
        if !all_summed {
            sql.push_str(COSTS_NOT_SUMMED);
        }
        let mut start = from.div_euclid(3600) * 3600;
        while start < until {
            let end = until.min(start.saturating_add(SLICE));
            let rows: Vec<(Option<String>, Option<String>, i64, i64)> =
                self.fetch(&sql, &[start, end]).await?;
            for (key, clear, hour, cost) in rows {
                let key = match (key, clear) {
                    (Some(key), _) => Fingerprint::new(&key),
                    (None, Some(clear)) => identified(&clear, fingerprint),
                    (None, None) => continue,
                };
                each(Cost { key, hour, cost: i128::from(cost) });
            }
            start = end;
        }
        Ok(())
    }

    /// What a key spent in the hour of `since` (Unix seconds) before it, as far as the detail is
    /// still there.
    pub async fn early(&self, key: &Fingerprint, since: i64) -> Result<i128, sqlx::Error> {
        let hour = since.div_euclid(3600) * 3600;
        if hour == since {
            return Ok(0);
        }
        let sql = AssertSqlSafe(self.sql(EARLY));
        let spent: i64 = match self {
            Self::Sqlite(store) => {
                let query = sqlx::query_scalar(sql).bind(hour).bind(since).bind(key.as_str());
                query.fetch_one(&store.readers).await
            }
            Self::Postgres(store) => {
                let query = sqlx::query_scalar(sql).bind(hour).bind(since).bind(key.as_str());
                query.fetch_one(&store.pool).await
            }
        }?;
        Ok(i128::from(spent))
    }

    /// A page of the requests since `since` (Unix seconds) that no window refused, in the order in
    /// which they ended. Where to go on; none at the end.
    pub async fn past_requests(
        &self,
        since: i64,
        from: Option<Bookmark>,
        fingerprint: Fingerprinter,
    ) -> Result<(Vec<PastRequest>, Option<Bookmark>), sqlx::Error> {
        type Row = (i64, String, Option<String>, String, i64, String, String);
        let Some(first) = self.bookmark(FIRST_REQUEST, since, from).await? else {
            return Ok((Vec::new(), None));
        };
        let rows: Vec<Row> = self.fetch(REQUESTS, &[first, PAGE]).await?;
        let next = next_page(rows.len(), rows.last().map(|row| row.0));
        let requests = rows
            .into_iter()
            .filter(|row| row.4 >= since && row.5 != "rate_limited")
            .filter_map(|(_, key, clear, model, at, _, groups)| {
                let key = match clear {
                    _ if !key.is_empty() => Fingerprint::new(&key),
                    Some(clear) => identified(&clear, fingerprint),
                    None => return None,
                };
                let groups = groups.split(',').filter(|group| !group.is_empty());
                let groups = groups.map(Fingerprint::new).collect();
                Some(PastRequest { key, model, at, groups })
            })
            .collect();
        Ok((requests, next))
    }

    /// The requests since `since` (Unix seconds) whose detail was deleted by retention, oldest
    /// first.
    pub async fn past_hours(
        &self,
        since: i64,
        each: &mut (dyn FnMut(PastHour) + Send),
    ) -> Result<(), sqlx::Error> {
        let oldest: Vec<(i64,)> = self.fetch(OLDEST_REQUEST, &[]).await?;
        let Some(until) = oldest.first().map(|(at,)| at.div_euclid(3600) * 3600) else { return Ok(()) };
        let mut start = since.div_euclid(3600) * 3600;
        while start < until {
            let end = until.min(start.saturating_add(SLICE));
            let rows: Vec<(String, String, i64, i64)> = self.fetch(HOURS, &[start, end]).await?;
            for (key, model, hour, requests) in rows {
                each(PastHour {
                    key: Fingerprint::new(&key),
                    model,
                    hour,
                    requests: requests.unsigned_abs(),
                });
            }
            start = end;
        }
        Ok(())
    }

    /// A page of the attempts since `since` (Unix seconds) that used a provider key.
    pub async fn past_attempts(
        &self,
        since: i64,
        from: Option<Bookmark>,
        fingerprint: Fingerprinter,
    ) -> Result<(Vec<PastAttempt>, Option<Bookmark>), sqlx::Error> {
        type Row = (i64, String, String, String, i64, String);
        let Some(first) = self.bookmark(FIRST_ATTEMPT, since, from).await? else {
            return Ok((Vec::new(), None));
        };
        let rows: Vec<Row> = self.fetch(ATTEMPTS, &[first, PAGE]).await?;
        let next = next_page(rows.len(), rows.last().map(|row| row.0));
        let attempts = rows
            .into_iter()
            // What was dropped gave its key's hit back.
            .filter(|row| row.4 >= since && !row.2.is_empty())
            .filter(|row| row.5 != "client_gone" && row.5 != "shutting_down")
            .map(|(_, channel, key, model, at, _)| PastAttempt {
                channel: ChannelName::from(channel.as_str()),
                key: identified(&key, fingerprint),
                model,
                at,
            })
            .collect();
        Ok((attempts, next))
    }

    /// How often each provider key was tried from `from` up to `until`, in Unix seconds.
    pub async fn tries(
        &self,
        from: i64,
        until: i64,
        fingerprint: Fingerprinter,
    ) -> Result<Vec<Tries>, sqlx::Error> {
        let blameless = BLAMELESS.map(|outcome| format!("'{outcome}'")).join(", ");
        let rows: Vec<(String, String, i64, i64)> =
            self.fetch(&TRIES.replace("{blameless}", &blameless), &[from, until]).await?;
        let tries = |(channel, key, successes, attempts): (String, String, i64, i64)| Tries {
            channel: ChannelName::from(channel.as_str()),
            key: identified(&key, fingerprint),
            successes: successes.unsigned_abs(),
            attempts: attempts.unsigned_abs(),
        };
        Ok(rows.into_iter().map(tries).collect())
    }

    async fn bookmark(
        &self,
        first: &str,
        since: i64,
        from: Option<Bookmark>,
    ) -> Result<Option<i64>, sqlx::Error> {
        if let Some(Bookmark(id)) = from {
            return Ok(Some(id));
        }
        let first = first.replace("MIN(id)", "CAST(MIN(id) AS BIGINT)");
        let rows: Vec<(Option<i64>,)> = self.fetch(&first, &[since]).await?;
        Ok(rows.first().and_then(|(id,)| *id))
    }

    pub(super) async fn fetch<T>(&self, sql: &str, numbers: &[i64]) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> sqlx::FromRow<'r, SqliteRow> + for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = AssertSqlSafe(self.sql(sql));
        match self {
            Self::Sqlite(store) => {
                let query = numbers.iter().fold(sqlx::query_as(sql), |query, number| query.bind(*number));
                query.fetch_all(&store.readers).await
            }
            Self::Postgres(store) => {
                let query = numbers.iter().fold(sqlx::query_as(sql), |query, number| query.bind(*number));
                query.fetch_all(&store.pool).await
            }
        }
    }

    /// The statement as this database understands it: `{at1}` is the time that the first value
    /// gives in Unix seconds, `{unix}` a row's time in them.
    fn sql(&self, text: &str) -> String {
        let (at, unix) = match self {
            Self::Sqlite(_) => (
                ["datetime($1, 'unixepoch')", "datetime($2, 'unixepoch')"],
                "CAST(strftime('%s', timestamp) AS INTEGER)",
            ),
            Self::Postgres(_) => (
                ["to_timestamp($1)", "to_timestamp($2)"],
                "CAST(FLOOR(EXTRACT(EPOCH FROM timestamp)) AS BIGINT)",
            ),
        };
        text.replace("{at1}", at[0])
            .replace("{at2}", at[1])
            .replace("{unix}", unix)
            .replace("{dollars}", DOLLARS)
    }
}

/// A key column of an older system holds keys in clear, ours fingerprints.
fn identified(text: &str, fingerprint: Fingerprinter) -> Fingerprint {
    let is_fingerprint =
        text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_fingerprint { Fingerprint::new(text) } else { fingerprint(text) }
}

fn next_page(rows: usize, last: Option<i64>) -> Option<Bookmark> {
    last.filter(|_| rows as i64 == PAGE).map(|id| Bookmark(id + 1))
}
