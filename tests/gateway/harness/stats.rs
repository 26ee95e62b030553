//! Reads the ledger's database as a front end would: from outside, read-only.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};

use super::{Gateway, PATIENCE};

/// A row of `request_stats`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RequestRow {
    pub(crate) request_id: String,
    pub(crate) endpoint: String,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) prompt_tokens: i64,
    pub(crate) completion_tokens: i64,
    pub(crate) total_tokens: i64,
    pub(crate) process_time: f64,
    pub(crate) first_response_time: f64,
}

/// A row of `channel_stats`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChannelRow {
    pub(crate) request_id: String,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) provider_api_key: Option<String>,
    pub(crate) success: bool,
}

/// All rows of a query, each as `read` takes it.
pub(crate) async fn query<T>(
    file: &Path,
    sql: &'static str,
    read: impl Fn(&SqliteRow) -> T,
) -> sqlx::Result<Vec<T>> {
    let mut connection = SqliteConnectOptions::new().filename(file).read_only(true).connect().await?;
    let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows.iter().map(read).collect())
}

impl Gateway {
    /// Waits for this many rows of `request_stats` about chats, and gives them in order.
    pub(crate) async fn request_rows(&self, count: usize) -> Vec<RequestRow> {
        let sql = "SELECT * FROM request_stats WHERE model IS NOT NULL ORDER BY id";
        self.rows(sql, count, |row| RequestRow {
            request_id: row.get("request_id"),
            endpoint: row.get("endpoint"),
            provider: row.get("provider"),
            model: row.get("model"),
            api_key: row.get("api_key"),
            prompt_tokens: row.get::<Option<i64>, _>("prompt_tokens").unwrap_or(-1),
            completion_tokens: row.get::<Option<i64>, _>("completion_tokens").unwrap_or(-1),
            total_tokens: row.get::<Option<i64>, _>("total_tokens").unwrap_or(-1),
            process_time: row.get("process_time"),
            first_response_time: row.get("first_response_time"),
        })
        .await
    }

    /// Waits for this many rows of `channel_stats`, and gives them in order.
    pub(crate) async fn channel_rows(&self, count: usize) -> Vec<ChannelRow> {
        self.rows("SELECT * FROM channel_stats ORDER BY id", count, |row| ChannelRow {
            request_id: row.get("request_id"),
            provider: row.get("provider"),
            model: row.get("model"),
            api_key: row.get("api_key"),
            provider_api_key: row.get("provider_api_key"),
            success: row.get("success"),
        })
        .await
    }

    /// Waits for this many rows of a query.
    pub(crate) async fn rows<T>(
        &self,
        sql: &'static str,
        count: usize,
        read: impl Fn(&SqliteRow) -> T,
    ) -> Vec<T> {
        let file = self.folder().join("data/stats.db");
        let began = std::time::Instant::now();
        loop {
            let found = query(&file, sql, &read).await;
            match found {
                Ok(rows) if rows.len() >= count => return rows,
                Ok(rows) if began.elapsed() > PATIENCE => panic!("{} rows of {count} for {sql}", rows.len()),
                Err(error) if began.elapsed() > PATIENCE => panic!("{error} for {sql}"),
                _ => tokio::time::sleep(std::time::Duration::from_millis(30)).await,
            }
        }
    }
}
