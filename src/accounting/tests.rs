//! The ledger on real databases: SQLite always, PostgreSQL where its server programs are installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use layers::estimate::Size;
use layers::ledger::Entry;
use layers::policy::Fingerprint;
use layers::ports::InputTokens;
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::hours::Hours;
use super::store::{Cost, Database, Grant, PlainKeys, Scratch, Store, UnreadableUrl};
use super::writer::{LedgerSettings, PERIOD, Writer, start};
use crate::config::Environment;
use crate::lifecycle::Phase;
use crate::values::testing::{attempt, entry};
use crate::values::{Closed, Price};

fn fingerprint(key: &str) -> Fingerprint {
    Fingerprint::new(&format!("fp-{key}"))
}

fn closed(model: &str, change: impl FnOnce(&mut Entry)) -> Arc<Closed> {
    let mut entry = entry(model);
    entry.arrived = std::time::UNIX_EPOCH + Duration::from_secs(1_767_225_598);
    change(&mut entry);
    Arc::new(Closed::new(entry, Price::flat(1_000_000, 2_000_000)))
}

/// A new database, and what keeps it alive.
struct Place {
    database: Database,
    folder: tempfile::TempDir,
}

fn sqlite() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place { database: Database::Sqlite(folder.path().join("data/stats.db")), folder }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.folder.path().join("data/stats.db")
    }
}

#[tokio::test]
async fn a_file_that_may_hold_keys_is_its_owners_alone_also_one_that_was_not() {
    use std::os::unix::fs::PermissionsExt;
    let modes = |place: &Place| {
        ["", "-wal", "-shm"].map(|suffix| {
            let path = place.folder.path().join(format!("data/stats.db{suffix}"));
            std::fs::metadata(path).map(|facts| facts.permissions().mode() & 0o777).ok()
        })
    };
    let place = sqlite();
    let store = Store::open(&place.database).await.unwrap();
    write(&store, &[closed("gpt-4o", |_| {})], None).await;
    assert_eq!(modes(&place), [Some(0o600); 3]);

    let wide = std::fs::Permissions::from_mode(0o644);
    for suffix in ["", "-wal", "-shm"] {
        let path = place.folder.path().join(format!("data/stats.db{suffix}"));
        std::fs::set_permissions(path, wide.clone()).unwrap();
    }
    let again = Store::open(&place.database).await.unwrap();
    assert_eq!(modes(&place), [Some(0o600); 3]);
    again.close().await;
    store.close().await;
}

/// What a query of one text column gives.
async fn texts(store: &Store, sql: &str) -> Vec<String> {
    let sql = AssertSqlSafe(sql.to_owned());
    match store {
        Store::Sqlite(store) => sqlx::query_scalar(sql).fetch_all(store.pool()).await.unwrap(),
        Store::Postgres(store) => sqlx::query_scalar(sql).fetch_all(store.pool()).await.unwrap(),
    }
}

async fn run(store: &Store, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match store {
        Store::Sqlite(store) => sql.execute(store.pool()).await.map(drop).unwrap(),
        Store::Postgres(store) => store.pool().execute(sql).await.map(drop).unwrap(),
    }
}

/// The columns of a table as one text per row, `-` for null.
async fn rows(store: &Store, table: &str, columns: &[&str]) -> Vec<String> {
    let columns: Vec<_> =
        columns.iter().map(|column| format!("COALESCE(CAST({column} AS TEXT), '-')")).collect();
    texts(store, &format!("SELECT {} FROM {table} ORDER BY 1", columns.join(" || '|' || "))).await
}

async fn write(store: &Store, records: &[Arc<Closed>], plain: Option<&PlainKeys>) {
    let mut hours = Hours::default();
    records.iter().for_each(|closed| hours.fold(closed));
    store.write(records, &hours, plain, &mut Scratch::default()).await.unwrap();
}

// === what is stored, on both databases ===

async fn rows_come_back_as_front_ends_read_them(database: &Database, yes: &str, no: &str, time: &str) {
    let store = Store::open(database).await.unwrap();
    let served = closed("gpt-4o", |entry| entry.attempts.insert(0, attempt("first", "timeout")));
    let refused = closed("nul\0nul", |entry| {
        entry.target = None;
        entry.accepted = None;
        entry.usage = None;
        entry.client = None;
        entry.model_known = false;
        entry.failure = Some("rate_limited");
        entry.status = http::StatusCode::TOO_MANY_REQUESTS;
        entry.attempts.clear();
        entry.stream = false;
    });
    let untold = closed("untold", |entry| {
        entry.usage = None;
        entry.estimate = Some(Size { input: InputTokens(250), ..Size::default() });
        entry.delivered = 400;
    });
    let ids = [&served, &refused, &untold].map(|closed| closed.entry.id.as_str().to_owned());

    write(&store, &[served, refused, untold], None).await;

    let columns = [
        "model",
        "request_id",
        "endpoint",
        "client_ip",
        "process_time",
        "first_response_time",
        "provider",
        "api_key",
        "is_flagged",
        "text",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_price",
        "completion_price",
        "timestamp",
        "key_id",
        "status",
        "outcome",
        "stream",
        "abandoned",
        "attempts",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "estimated",
        "cost_picodollars",
    ];
    let key = "aaaaaaaaaaaaaaaa";
    let [one, two] = if yes == "1" { ["1.0", "2.0"] } else { ["1", "2"] };
    let (zero, minus) = if yes == "1" { ("0.0", "-1.0") } else { ("0", "-1") };
    let expected = [
        format!(
            "gpt-4o|{}|POST /v1/chat/completions|203.0.113.9|1.5|0.2501|served|{key}|{no}|-|10|5|15|{one}|{two}|{time}|\
             {key}|200|ok|{yes}|{no}|2|4|0|2|{no}|20000000",
            ids[0]
        ),
        format!(
            "nulnul|{}|POST /v1/chat/completions|-|1.5|{minus}|-|{key}|{no}|-|0|0|0|{zero}|{zero}|{time}|\
             {key}|429|rate_limited|{no}|{no}|0|0|0|0|{no}|0",
            ids[1]
        ),
        // 250 tokens in, and 400 bytes out at a quarter token each.
        format!(
            "untold|{}|POST /v1/chat/completions|203.0.113.9|1.5|0.2501|served|{key}|{no}|-|-|-|-|{one}|{two}|{time}|\
             {key}|200|ok|{yes}|{no}|1|-|-|-|{yes}|450000000",
            ids[2]
        ),
    ];
    assert_eq!(rows(&store, "request_stats", &columns).await, expected);

    let columns = [
        "model",
        "provider",
        "request_id",
        "api_key",
        "provider_api_key",
        "success",
        "timestamp",
        "key_id",
        "outcome",
        "process_time",
    ];
    let upstream = "bbbbbbbbbbbbbbbb";
    let expected = [
        format!("gpt-4o|first|{}|{key}|{upstream}|{no}|{time}|{key}|timeout|0.25", ids[0]),
        format!("gpt-4o|served|{}|{key}|{upstream}|{yes}|{time}|{key}|ok|0.25", ids[0]),
        format!("untold|served|{}|{key}|{upstream}|{yes}|{time}|{key}|ok|0.25", ids[2]),
    ];
    assert_eq!(rows(&store, "channel_stats", &columns).await, expected);
    store.close().await;
}

async fn sums_of_later_batches_are_added_to_the_hour(database: &Database) {
    let store = Store::open(database).await.unwrap();
    for _ in 0..3 {
        write(&store, &vec![closed("gpt-4o", |_| {}); 150], None).await;
    }

    let hours = store.hours(1_767_225_598).await.unwrap();

    let [(group, sums)] = &hours[..] else { panic!("{hours:?}") };
    assert_eq!((group.hour, group.channel.as_str(), &*group.model), (1_767_222_000, "served", "gpt-4o"));
    assert_eq!((sums.requests, sums.attempts, sums.total_tokens), (450, 450, 450 * 15));
    assert_eq!(sums.cost, 450 * 20_000_000);
    store.close().await;
}

async fn the_clear_client_key_is_stored_only_where_it_is_asked_for(database: &Database) {
    let store = Store::open(database).await.unwrap();
    let plain: PlainKeys = Arc::new(|key| (key.as_str() == "aaaaaaaaaaaaaaaa").then(|| "sk-clear".into()));

    write(&store, &[closed("gpt-4o", |_| {})], Some(&plain)).await;

    assert_eq!(rows(&store, "request_stats", &["api_key", "key_id"]).await, ["sk-clear|aaaaaaaaaaaaaaaa"]);
    let attempt = rows(&store, "channel_stats", &["api_key", "provider_api_key"]).await;
    assert_eq!(attempt, ["sk-clear|bbbbbbbbbbbbbbbb"]);
    store.close().await;
}

async fn detail_rows_go_after_retention_and_their_sums_stay(database: &Database) {
    let store = Store::open(database).await.unwrap();
    let late = closed("late", |entry| entry.arrived += Duration::from_secs(10));
    write(&store, &[closed("early", |_| {}), late], None).await;

    let gone = store.prune(1_767_225_605).await.unwrap();

    assert_eq!(gone, 2);
    assert_eq!(rows(&store, "request_stats", &["model"]).await, ["late"]);
    assert_eq!(rows(&store, "channel_stats", &["model"]).await, ["late"]);
    assert_eq!(rows(&store, "usage_hours", &["model"]).await, ["early", "late"]);
    store.close().await;
}

async fn grants_are_kept(database: &Database) {
    let store = Store::open(database).await.unwrap();
    let grant = Grant { key: Fingerprint::new("k"), amount: 5_000_000_000_000, granted_at: 1_767_225_600 };

    store.grant(&grant).await.unwrap();
    store.close().await;

    let again = Store::open(database).await.unwrap();
    assert_eq!(again.grants().await.unwrap(), [grant]);
    assert!(again.is_ours());
    again.close().await;
}

/// Minutes after a full hour, in Unix seconds.
fn minute(minutes: i64) -> i64 {
    1_767_222_000 + minutes * 60
}

async fn what_was_recorded_is_read_back(database: &Database) {
    let store = Store::open(database).await.unwrap();
    let at = |minutes: i64, model: &str, change: fn(&mut Entry)| {
        closed(model, |entry| {
            entry.elapsed = Duration::ZERO;
            entry.arrived = std::time::UNIX_EPOCH + Duration::from_secs(minute(minutes).unsigned_abs());
            change(entry);
        })
    };
    let records = [
        at(1, "early", |_| {}),
        at(20, "gpt-4o", |entry| entry.attempts.insert(0, attempt("served", "upstream_rate_limited"))),
        at(70, "gpt-4o", |entry| entry.groups = ["g1", "g2"].map(Fingerprint::new).into()),
        at(80, "refused", |entry| {
            (entry.failure, entry.accepted, entry.usage) = (Some("rate_limited"), None, None);
            entry.attempts.clear();
        }),
        at(90, "left", |entry| {
            (entry.accepted, entry.usage) = (None, None);
            entry.attempts = vec![attempt("served", "client_gone")];
        }),
    ];
    write(&store, &records, None).await;
    let key = Fingerprint::new("aaaaaaaaaaaaaaaa");

    let mut costs = Vec::new();
    store.costs(minute(0), minute(0) + 90 * 86_400, fingerprint, &mut |cost| costs.push(cost)).await.unwrap();
    costs.sort_by_key(|cost| cost.hour);
    let cost = |hour, cost| Cost { key: key.clone(), hour, cost };
    assert_eq!(costs, [cost(minute(0), 40_000_000), cost(minute(60), 20_000_000)]);
    assert_eq!(store.early(&key, minute(10)).await.unwrap(), 20_000_000);
    assert_eq!(store.early(&key, minute(30)).await.unwrap(), 40_000_000);
    assert_eq!(store.early(&key, minute(60)).await.unwrap(), 0);
    assert_eq!(store.early(&Fingerprint::new("other"), minute(30)).await.unwrap(), 0);

    let (requests, next) = store.past_requests(minute(2), None, fingerprint).await.unwrap();
    let seen: Vec<_> = requests.iter().map(|request| (&*request.model, request.at)).collect();
    assert_eq!(seen, [("gpt-4o", minute(20)), ("gpt-4o", minute(70)), ("left", minute(90))]);
    assert_eq!(requests[1].groups, ["g1", "g2"].map(Fingerprint::new));
    assert!(next.is_none() && requests.iter().all(|request| request.key == key));

    let (attempts, _) = store.past_attempts(minute(2), None, fingerprint).await.unwrap();
    let seen: Vec<_> = attempts.iter().map(|attempt| (&*attempt.model, attempt.at)).collect();
    assert_eq!(seen, [("gpt-4o", minute(20)), ("gpt-4o", minute(20)), ("gpt-4o", minute(70))]);
    assert!(attempts.iter().all(|attempt| attempt.key.as_str() == "bbbbbbbbbbbbbbbb"));

    let tries = store.tries(minute(2), minute(200), fingerprint).await.unwrap();
    let [tries] = &tries[..] else { panic!("{tries:?}") };
    assert_eq!((tries.channel.as_str(), tries.successes, tries.attempts), ("served", 2, 3));
    assert!(store.tries(minute(200), minute(300), fingerprint).await.unwrap().is_empty());

    let mut hours = Vec::new();
    store.past_hours(minute(0), &mut |hour| hours.push(hour)).await.unwrap();
    assert_eq!(hours, [], "all of it is there in detail");
    store.prune(minute(65)).await.unwrap();
    store.past_hours(minute(0), &mut |hour| hours.push(hour)).await.unwrap();
    let seen: Vec<_> = hours.iter().map(|past| (&*past.model, past.hour, past.requests)).collect();
    assert_eq!(seen, [("early", minute(0), 1), ("gpt-4o", minute(0), 1)]);
    store.close().await;
}

/// The tables as the earlier system creates them, with rows of a client whose key is `sk-old`.
async fn an_old_database_is_completed_and_its_rows_are_summed_once(
    database: &Database,
    schema: &str,
    yes: &str,
) {
    let bare = Store::open(database).await.unwrap();
    for table in ["request_stats", "channel_stats", "usage_hours", "ledger_notes", "credit_grants"] {
        run(&bare, &format!("DROP TABLE {table}")).await;
    }
    run(&bare, schema).await;
    // More rows than one step takes.
    run(
        &bare,
        &format!(
            "INSERT INTO request_stats (request_id, endpoint, provider, model, api_key, prompt_tokens, \
             completion_tokens, total_tokens, prompt_price, completion_price, timestamp) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
             SELECT 'r' || i, 'POST /v1/chat/completions', 'chan', 'm', 'sk-old', 10, 5, 15, 0.3, 1.0, \
             '2025-12-31 23:10:00' {} FROM n; \
             INSERT INTO channel_stats (request_id, provider, model, api_key, provider_api_key, success, timestamp) \
             VALUES ('r1', 'chan', 'm', 'sk-old', 'sk-provider', {yes}, '2025-12-31 23:10:00')",
            if yes == "1" { "" } else { "::timestamptz" },
        ),
    )
    .await;
    bare.close().await;

    let store = Store::open(database).await.unwrap();
    assert!(!store.is_ours());
    // What it says is read already before it is summed, and no more afterwards.
    let spent = async |store: &Store| {
        let mut spent = std::collections::BTreeMap::<String, i128>::new();
        store
            .costs(1_700_000_000, 1_800_000_000, fingerprint, &mut |cost| {
                *spent.entry(cost.key.as_str().to_owned()).or_default() += cost.cost;
            })
            .await
            .unwrap();
        spent
    };
    let old = 2500 * (10 * 300_000 + 5 * 1_000_000);
    assert_eq!(spent(&store).await.get("fp-sk-old"), Some(&old));
    let (requests, _) = store.past_requests(1_767_222_000, None, fingerprint).await.unwrap();
    assert!(requests.len() == 2500 && requests.iter().all(|request| request.key.as_str() == "fp-sk-old"));
    let tries = store.tries(1_767_222_000, 1_767_225_600, fingerprint).await.unwrap();
    assert_eq!((tries[0].key.as_str(), tries[0].attempts), ("fp-sk-provider", 1));
    write(
        &store,
        &[closed("m", |entry| entry.target = Some(crate::values::testing::target("chan", "m")))],
        None,
    )
    .await;
    let done = store.backfill(fingerprint).await.unwrap();
    assert!(!done, "there are more rows than one step takes");
    assert_eq!(spent(&store).await.get("fp-sk-old"), Some(&old), "half of it summed");
    while !store.backfill(fingerprint).await.unwrap() {}
    assert_eq!(spent(&store).await.get("fp-sk-old"), Some(&old));
    store.close().await;
    // A second start finds nothing left to do.
    let store = Store::open(database).await.unwrap();
    assert!(store.backfill(fingerprint).await.unwrap());

    let keys = rows(&store, "request_stats", &["key_id", "api_key"]).await;
    assert_eq!(keys.iter().filter(|row| *row == "fp-sk-old|sk-old").count(), 2500);
    assert_eq!(keys.len(), 2501);
    let hours = store.hours(0).await.unwrap();
    let (group, sums) = hours.iter().find(|(group, _)| group.key.as_str() == "fp-sk-old").unwrap();
    assert_eq!((group.hour, group.channel.as_str(), &*group.model), (1_767_222_000, "chan", "m"));
    assert_eq!(
        (sums.requests, sums.total_tokens, sums.attempts, sums.attempt_successes),
        (2500, 37_500, 1, 1)
    );
    assert_eq!(sums.cost, 2500 * (10 * 300_000 + 5 * 1_000_000));
    assert_eq!(hours.len(), 3, "{hours:?}");
    store.close().await;
}

const OLD_SQLITE: &str = "
    CREATE TABLE request_stats (id INTEGER NOT NULL, request_id VARCHAR, endpoint VARCHAR, client_ip VARCHAR,
        process_time FLOAT, first_response_time FLOAT, provider VARCHAR, model VARCHAR, api_key VARCHAR,
        is_flagged BOOLEAN, text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,
        prompt_price FLOAT, completion_price FLOAT, timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), PRIMARY KEY (id));
    CREATE INDEX ix_request_stats_timestamp ON request_stats (timestamp);
    CREATE INDEX ix_request_stats_model ON request_stats (model);
    CREATE TABLE channel_stats (id INTEGER NOT NULL, request_id VARCHAR, provider VARCHAR, model VARCHAR,
        api_key VARCHAR, provider_api_key VARCHAR, success BOOLEAN, timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP),
        PRIMARY KEY (id));";

const OLD_POSTGRES: &str = "
    CREATE TABLE request_stats (id SERIAL PRIMARY KEY, request_id VARCHAR, endpoint VARCHAR, client_ip VARCHAR,
        process_time FLOAT, first_response_time FLOAT, provider VARCHAR, model VARCHAR, api_key VARCHAR,
        is_flagged BOOLEAN, text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,
        prompt_price FLOAT, completion_price FLOAT, timestamp TIMESTAMP WITH TIME ZONE DEFAULT now());
    CREATE INDEX ix_request_stats_model ON request_stats (model);
    CREATE TABLE channel_stats (id SERIAL PRIMARY KEY, request_id VARCHAR, provider VARCHAR, model VARCHAR,
        api_key VARCHAR, provider_api_key VARCHAR, success BOOLEAN, timestamp TIMESTAMP WITH TIME ZONE DEFAULT now());";

mod on_sqlite {
    use super::*;

    #[tokio::test]
    async fn rows_come_back_as_front_ends_read_them() {
        super::rows_come_back_as_front_ends_read_them(&sqlite().database, "1", "0", "2025-12-31 23:59:59")
            .await;
    }

    #[tokio::test]
    async fn sums_of_later_batches_are_added_to_the_hour() {
        super::sums_of_later_batches_are_added_to_the_hour(&sqlite().database).await;
    }

    #[tokio::test]
    async fn the_clear_client_key_is_stored_only_where_it_is_asked_for() {
        super::the_clear_client_key_is_stored_only_where_it_is_asked_for(&sqlite().database).await;
    }

    #[tokio::test]
    async fn detail_rows_go_after_retention_and_their_sums_stay() {
        super::detail_rows_go_after_retention_and_their_sums_stay(&sqlite().database).await;
    }

    #[tokio::test]
    async fn grants_are_kept() {
        super::grants_are_kept(&sqlite().database).await;
    }

    #[tokio::test]
    async fn what_was_recorded_is_read_back() {
        super::what_was_recorded_is_read_back(&sqlite().database).await;
    }

    #[tokio::test]
    async fn an_old_database_is_completed_and_its_rows_are_summed_once() {
        let place = sqlite();
        super::an_old_database_is_completed_and_its_rows_are_summed_once(&place.database, OLD_SQLITE, "1")
            .await;
    }

    #[tokio::test]
    async fn a_new_database_has_the_columns_of_old_and_no_index_but_timestamp() {
        let store = Store::open(&sqlite().database).await.unwrap();

        let columns =
            texts(&store, "SELECT name || ' ' || type FROM pragma_table_info('request_stats') LIMIT 17")
                .await;
        let indexes = texts(
            &store,
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1",
        )
        .await;

        let old = "id INTEGER, request_id VARCHAR, endpoint VARCHAR, client_ip VARCHAR, process_time FLOAT, \
            first_response_time FLOAT, provider VARCHAR, model VARCHAR, api_key VARCHAR, is_flagged BOOLEAN, text TEXT, \
            prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER, prompt_price FLOAT, \
            completion_price FLOAT, timestamp DATETIME";
        assert_eq!(columns.join(", "), old);
        assert_eq!(indexes, ["ix_channel_stats_timestamp", "ix_request_stats_timestamp"]);
    }
}

// === PostgreSQL ===

/// A private server on a free port.
struct Server {
    port: u16,
    /// Its guard, which stops it and removes its folder when its input ends: at the latest with
    /// this process, since nothing drops what a static holds.
    _guard: Child,
}

static SERVER: LazyLock<Option<Mutex<(Server, u32)>>> =
    LazyLock::new(|| Server::start().map(|s| Mutex::new((s, 0))));

impl Server {
    /// Starts one; none where PostgreSQL is not installed.
    fn start() -> Option<Self> {
        let programs = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs = programs.filter_map(Result::ok).map(|version| version.path().join("bin")).max()?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        // The server refuses to run as root.
        let root =
            std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
        if root {
            let given = Command::new("chown").args(["postgres".as_ref(), folder.path().as_os_str()]).status();
            given.is_ok_and(|status| status.success()).then_some(())?;
        }
        let command = |program: &str| {
            let program = programs.join(program);
            if root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
                command.arg(program);
                command
            } else {
                Command::new(program)
            }
        };
        let quiet = |mut command: Command| {
            command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut initdb = quiet(command("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]);
        assert!(initdb.status().ok()?.success(), "initdb failed");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command("postgres");
        server.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        server.args(["-c", &format!("port={port}"), "-c", "timezone=UTC", "-k"]).arg(folder.path());
        let mut guard = quiet(Command::new("sh"));
        guard.args(["-c", r#""$@" & cat; kill -QUIT $!; wait; rm -rf "$0""#]).arg(folder.path());
        guard.arg(server.get_program()).args(server.get_args()).stdin(Stdio::piped());
        let guard = guard.spawn().ok()?;
        let _ = folder.keep();
        Some(Self { port, _guard: guard })
    }

    fn database(&self, name: &str) -> Database {
        let port = self.port.to_string();
        named(&[("DB_TYPE", "postgres"), ("DB_HOST", "127.0.0.1"), ("DB_NAME", name), ("DB_PORT", &port)])
            .unwrap()
            .unwrap()
    }
}

/// A new database on the server; none without a server.
async fn postgres() -> Option<Database> {
    let (admin, name, database) = {
        let mut server = SERVER.as_ref()?.lock().unwrap();
        server.1 += 1;
        let name = format!("test{}", server.1);
        (server.0.database("postgres"), name.clone(), server.0.database(&name))
    };
    let Database::Postgres(options) = admin else { unreachable!("asked for PostgreSQL") };
    for _ in 0..100 {
        if let Ok(mut connection) = sqlx::ConnectOptions::connect(&*options).await {
            connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
            return Some(database);
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the server did not come up");
}

mod on_postgres {
    use super::*;

    #[tokio::test]
    async fn rows_come_back_as_front_ends_read_them() {
        let Some(database) = postgres().await else { return };
        let time = "2025-12-31 23:59:59+00";
        super::rows_come_back_as_front_ends_read_them(&database, "true", "false", time).await;
    }

    #[tokio::test]
    async fn sums_of_later_batches_are_added_to_the_hour() {
        let Some(database) = postgres().await else { return };
        super::sums_of_later_batches_are_added_to_the_hour(&database).await;
    }

    #[tokio::test]
    async fn the_clear_client_key_is_stored_only_where_it_is_asked_for() {
        let Some(database) = postgres().await else { return };
        super::the_clear_client_key_is_stored_only_where_it_is_asked_for(&database).await;
    }

    #[tokio::test]
    async fn detail_rows_go_after_retention_and_their_sums_stay() {
        let Some(database) = postgres().await else { return };
        super::detail_rows_go_after_retention_and_their_sums_stay(&database).await;
    }

    #[tokio::test]
    async fn grants_are_kept() {
        let Some(database) = postgres().await else { return };
        super::grants_are_kept(&database).await;
    }

    #[tokio::test]
    async fn what_was_recorded_is_read_back() {
        let Some(database) = postgres().await else { return };
        super::what_was_recorded_is_read_back(&database).await;
    }

    #[tokio::test]
    async fn an_old_database_is_completed_and_its_rows_are_summed_once() {
        let Some(database) = postgres().await else { return };
        super::an_old_database_is_completed_and_its_rows_are_summed_once(&database, OLD_POSTGRES, "true")
            .await;
    }

    #[tokio::test]
    async fn replicas_that_start_together_do_not_trip_over_each_other() {
        let Some(database) = postgres().await else { return };

        let (one, two, three) =
            tokio::join!(Store::open(&database), Store::open(&database), Store::open(&database));

        for store in [one, two, three] {
            assert!(store.unwrap().is_ours());
        }
    }
}

// === the writer ===

fn begin(database: &Database, queue: usize) -> (Writer, tokio::task::JoinHandle<()>, watch::Sender<Phase>) {
    let (phase, seen) = watch::channel(Phase::Serving);
    // The records of these tests are of some day long ago.
    let settings = LedgerSettings {
        queue,
        retention_days: Some(0),
        ..LedgerSettings::new(database.clone(), fingerprint)
    };
    let (writer, task) = start(settings, seen);
    (writer, task, phase)
}

async fn end(writer: &Writer, task: tokio::task::JoinHandle<()>) {
    writer.finish();
    timeout(Duration::from_secs(20), task).await.expect("the writer ends").unwrap();
}

async fn count(database: &Database, table: &str) -> usize {
    let store = Store::open(database).await.unwrap();
    let count = rows(&store, table, &["model"]).await.len();
    store.close().await;
    count
}

async fn written(writer: &Writer, rows: u64) {
    let all = async {
        while writer.written() < rows {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), all)
        .await
        .unwrap_or_else(|_| panic!("{} of {rows} written", writer.written()));
}

#[tokio::test]
async fn everything_that_waits_is_stored_before_the_writer_ends() {
    let place = sqlite();
    let (writer, task, _phase) = begin(&place.database, 4096);

    for _ in 0..1300 {
        writer.record(closed("gpt-4o", |_| {}));
    }
    end(&writer, task).await;

    assert_eq!(count(&place.database, "request_stats").await, 1300);
    assert_eq!(writer.dropped(), 0);
}

/// A database on a server of this machine that cannot be reached.
fn unreachable(port: u16) -> Database {
    let port = port.to_string();
    named(&[("DB_TYPE", "postgres"), ("DB_HOST", "127.0.0.1"), ("DB_PORT", &port)]).unwrap().unwrap()
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_by_its_cause_and_not_as_a_pool_that_timed_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);

    let refused = Store::open(&unreachable(port)).await.unwrap_err().to_string();

    assert!(refused.contains("Connection refused"), "{refused}");
}

#[tokio::test]
async fn a_record_that_is_in_the_writer_s_hands_waits_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let (writer, task, _phase) = begin(&unreachable(port), 64);
    assert!(!writer.tried().await);

    writer.record(closed("gpt-4o", |_| {}));

    // Taken out of the queue after a quarter of a second, and held since.
    for _ in 0..100 {
        assert_eq!(writer.depth(), 1);
        sleep(Duration::from_millis(5)).await;
    }
    task.abort();
}

/// A writer that reads back before it writes, with what it reads.
fn begin_with_recall(
    database: &Database,
    recall: impl Fn(usize) -> Result<(), sqlx::Error> + Send + Sync + 'static,
) -> (Writer, tokio::task::JoinHandle<()>, watch::Sender<Phase>) {
    let (phase, seen) = watch::channel(Phase::Serving);
    let mut settings = LedgerSettings::new(database.clone(), fingerprint);
    settings.retention_days = Some(0);
    let recall = Arc::new(recall);
    settings.recall = Some(Arc::new(move |store| {
        let recall = recall.clone();
        Box::pin(async move { recall(store.past_requests(0, None, fingerprint).await?.0.len()) })
    }));
    let (writer, task) = start(settings, seen);
    (writer, task, phase)
}

#[tokio::test]
async fn the_past_is_read_once_and_before_anything_is_written() {
    let place = sqlite();
    let (writer, task, _phase) = begin(&place.database, 64);
    writer.record(closed("gpt-4o", |_| {}));
    end(&writer, task).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();

    let (writer, task, _phase) = begin_with_recall(&place.database, move |rows| {
        noted.lock().unwrap().push(rows);
        Ok(())
    });
    (0..5).for_each(|_| writer.record(closed("gpt-4o", |_| {})));
    assert!(writer.tried().await);
    written(&writer, 5).await;
    end(&writer, task).await;

    assert_eq!(*seen.lock().unwrap(), [1]);
}

#[tokio::test]
async fn a_past_that_cannot_be_read_keeps_nothing_from_being_written() {
    let place = sqlite();
    let (writer, task, _phase) = begin_with_recall(&place.database, |_| Err(sqlx::Error::RowNotFound));
    writer.record(closed("gpt-4o", |_| {}));

    assert!(!writer.tried().await);
    written(&writer, 1).await;
    end(&writer, task).await;

    assert_eq!(count(&place.database, "request_stats").await, 1);
}

#[tokio::test]
async fn draining_stores_at_once_what_would_have_waited() {
    let place = sqlite();
    let (writer, task, phase) = begin(&place.database, 64);
    writer.opened().await.unwrap();
    sleep(Duration::from_millis(50)).await;

    writer.record(closed("gpt-4o", |_| {}));
    sleep(PERIOD / 5).await;
    assert_eq!(writer.written(), 0, "it waits for company");
    phase.send_replace(Phase::Draining);

    timeout(PERIOD / 2, written(&writer, 1)).await.expect("it does not wait for its period");
    end(&writer, task).await;
}

#[tokio::test]
async fn rows_without_room_are_dropped_and_their_cost_is_not() {
    let place = sqlite();
    // A file where the folder should be.
    std::fs::write(place.folder.path().join("data"), "").unwrap();
    let (writer, task, _phase) = begin(&place.database, 10);
    sleep(Duration::from_millis(100)).await;
    assert!(writer.store().is_none());

    for _ in 0..100 {
        writer.record(closed("gpt-4o", |_| {}));
    }
    let dropped = writer.dropped();
    std::fs::remove_file(place.folder.path().join("data")).unwrap();
    written(&writer, 100 - dropped).await;
    end(&writer, task).await;

    assert!(dropped >= 80, "{dropped}");
    assert_eq!(count(&place.database, "request_stats").await as u64, 100 - dropped);
    let store = Store::open(&place.database).await.unwrap();
    let hours = store.hours(0).await.unwrap();
    assert_eq!((hours[0].1.requests, hours[0].1.cost), (100, 100 * 20_000_000));
}

fn move_away(place: &Place) -> PathBuf {
    let aside = place.folder.path().join("aside");
    std::fs::rename(place.folder.path().join("data"), &aside).unwrap();
    // Nothing can be created where the folder was.
    std::fs::write(place.folder.path().join("data"), "").unwrap();
    aside
}

fn bring_back(place: &Place, aside: &Path) {
    std::fs::remove_file(place.folder.path().join("data")).unwrap();
    std::fs::rename(aside, place.folder.path().join("data")).unwrap();
}

#[tokio::test]
async fn a_database_that_went_away_gets_its_rows_when_it_is_back() {
    let place = sqlite();
    let (writer, task, _phase) = begin(&place.database, 1000);
    writer.record(closed("before", |_| {}));
    written(&writer, 1).await;

    let aside = move_away(&place);
    // The next look at the file comes a second after the last.
    sleep(Duration::from_millis(1100)).await;
    writer.record(closed("meanwhile", |_| {}));
    sleep(PERIOD * 3).await;
    assert_eq!(writer.written(), 1);
    assert!(writer.store().is_none());
    bring_back(&place, &aside);
    written(&writer, 2).await;
    end(&writer, task).await;

    let store = Store::open(&place.database).await.unwrap();
    assert_eq!(rows(&store, "request_stats", &["model"]).await, ["before", "meanwhile"]);
}

#[tokio::test]
async fn a_file_that_was_deleted_is_created_again() {
    let place = sqlite();
    let (writer, task, _phase) = begin(&place.database, 1000);
    writer.record(closed("before", |_| {}));
    written(&writer, 1).await;

    std::fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
    sleep(Duration::from_millis(1100)).await;
    writer.record(closed("after", |_| {}));
    written(&writer, 2).await;
    end(&writer, task).await;

    let store = Store::open(&place.database).await.unwrap();
    assert_eq!(rows(&store, "request_stats", &["model"]).await, ["after"]);
}

#[tokio::test]
async fn rows_that_the_database_refuses_do_not_keep_the_others_out() {
    let place = sqlite();
    let store = Store::open(&place.database).await.unwrap();
    run(
        &store,
        "CREATE TRIGGER picky BEFORE INSERT ON request_stats WHEN NEW.model = 'poison' \
         BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    .await;
    store.close().await;
    let (writer, task, _phase) = begin(&place.database, 1000);

    writer.record(closed("poison", |_| {}));
    let dropped = async {
        while writer.dropped() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), dropped).await.expect("the row is given up");
    writer.record(closed("fine", |_| {}));
    written(&writer, 1).await;
    end(&writer, task).await;

    let store = Store::open(&place.database).await.unwrap();
    assert_eq!(rows(&store, "request_stats", &["model"]).await, ["fine"]);
    assert_eq!(
        rows(&store, "usage_hours", &["model", "cost_picodollars"]).await,
        ["fine|20000000", "poison|20000000"]
    );
}

#[tokio::test]
async fn a_read_only_place_keeps_the_writer_from_nothing_but_storing() {
    let database = Database::Sqlite("/proc/no/such/place/stats.db".into());
    let (writer, task, _phase) = begin(&database, 4);

    for _ in 0..10 {
        writer.record(closed("gpt-4o", |_| {}));
    }

    assert!(writer.dropped() >= 6);
    writer.finish();
    timeout(Duration::from_secs(8), task).await.expect("the end is bounded").unwrap();
}

#[tokio::test]
async fn only_a_database_of_our_own_loses_rows_unasked() {
    let (ours, found) = (sqlite(), sqlite());
    let bare = Store::open(&found.database).await.unwrap();
    run(&bare, "UPDATE ledger_notes SET value = 'found'").await;
    bare.close().await;

    for (place, left) in [(&ours, 0), (&found, 1)] {
        let (_phase, seen) = watch::channel(Phase::Serving);
        let (writer, task) = start(LedgerSettings::new(place.database.clone(), fingerprint), seen);
        writer.record(closed("gpt-4o", |_| {}));
        written(&writer, 1).await;
        sleep(PERIOD).await;
        end(&writer, task).await;

        assert_eq!(count(&place.database, "request_stats").await, left);
    }
}

// === settings ===

/// The database that these variables name.
fn named(vars: &[(&str, &str)]) -> Result<Option<Database>, UnreadableUrl> {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Database::of(&Environment::from_vars(vars).unwrap().database)
}

#[test]
fn the_environment_names_the_database() {
    for (env, expected) in [
        (&[][..], Ok(Some("./data/stats.db".to_owned()))),
        (&[("DB_PATH", "/x/y.db")], Ok(Some("/x/y.db".to_owned()))),
        (&[("DISABLE_DATABASE", "True")], Ok(None)),
        (
            &[("DISABLE_DATABASE", "false"), ("DATABASE_URL", "postgres://h/x")],
            Ok(Some("./data/stats.db".to_owned())),
        ),
        (
            &[("DB_TYPE", "postgres"), ("DATABASE_URL", "")],
            Ok(Some("PostgreSQL at localhost:5432".to_owned())),
        ),
        (
            &[("DB_TYPE", "postgres"), ("DATABASE_URL", "postgresql+asyncpg://u:p@db:77/x")],
            Ok(Some("PostgreSQL at db:77".to_owned())),
        ),
        (&[("DB_TYPE", "postgres"), ("DATABASE_URL", "mysql://u:secret@h/x")], Err(UnreadableUrl)),
    ] {
        let label = named(env).map(|database| database.map(|database| database.label()));
        assert_eq!(label, expected, "{env:?}");
    }
}
