//! What a gateway still knows after a restart: spending, windows, and how provider keys did.

use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};

use crate::harness::*;

/// A ledger that outlives the gateways that write to it.
struct Ledger {
    folder: tempfile::TempDir,
}

impl Ledger {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("stats.db")
    }

    async fn start(&self, config: &Value) -> Gateway {
        Setup::new(config).with_database().env("DB_PATH", self.file().to_str().unwrap()).start().await
    }

    async fn run(&self, sql: &str) {
        let options = SqliteConnectOptions::new().filename(self.file());
        let mut connection = options.connect().await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Makes everything that is recorded older.
    async fn age(&self, seconds: i64) {
        // Sums are by whole hours; what is moved by whole hours keeps its place in them.
        let hours = seconds.div_euclid(3600) * 3600;
        self.run(&format!(
            "UPDATE usage_hours SET hour = hour - {hours}; \
             UPDATE request_stats SET timestamp = datetime(timestamp, '-{hours} seconds'); \
             UPDATE channel_stats SET timestamp = datetime(timestamp, '-{hours} seconds')"
        ))
        .await;
    }

    /// When the only request ended, in Unix seconds.
    async fn time_of_request(&self) -> i64 {
        use sqlx::Row as _;
        let sql = "SELECT CAST(strftime('%s', timestamp) AS INTEGER) AS at FROM request_stats";
        let rows = stats::query(&self.file(), sql, |row| row.get::<i64, _>("at")).await.unwrap();
        assert_eq!(rows.len(), 1);
        rows[0]
    }
}

async fn stop(mut gateway: Gateway) {
    gateway.terminate();
    gateway.ended().await;
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A usual answer costs seven dollars; `sk-payer` has these preferences.
fn paying(upstream: &Upstream, preferences: &Value) -> Value {
    config([channel("a", upstream)]).with("/preferences/model_price", json!({ "default": "0,1000000" })).with(
        "/api_keys",
        json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-payer", "preferences": preferences }]),
    )
}

async fn pay(gateway: &Gateway) -> u16 {
    gateway.ask(&Ask::chat(&hello().with("/max_tokens", json!(7))).key("sk-payer")).await.status
}

/// Promises: `credit-amount`.
#[tokio::test]
async fn a_balance_is_known_again() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let config = paying(&upstream, &json!({ "credits": 14 }));
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
    stop(gateway).await;

    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
    assert_eq!(pay(&gateway).await, 429);
    stop(gateway).await;

    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 429);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_was_spent_before_a_key_had_credits_counts() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let gateway = ledger.start(&paying(&upstream, &json!({}))).await;
    assert_eq!(pay(&gateway).await, 200);
    stop(gateway).await;

    let gateway = ledger.start(&paying(&upstream, &json!({}))).await;
    assert_eq!(pay(&gateway).await, 200);
    gateway.reload(paying(&upstream, &json!({ "credits": 14 }))).await;

    assert_eq!(pay(&gateway).await, 429);
}

#[tokio::test]
async fn grants_are_added_to_the_configured_credits() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let config = paying(&upstream, &json!({ "credits": 7 }));
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
    assert_eq!(pay(&gateway).await, 429);
    stop(gateway).await;

    let grant = "INSERT INTO credit_grants (key_id, amount_picodollars, granted_at) \
                 SELECT DISTINCT key_id, 3500000000000, 0 FROM request_stats";
    ledger.run(grant).await;
    ledger.run(grant).await;
    let gateway = ledger.start(&config).await;

    assert_eq!(pay(&gateway).await, 200);
    assert_eq!(pay(&gateway).await, 429);
}

/// Promises: `credit-created-at-default`.
#[tokio::test]
async fn without_a_start_the_last_thirty_days_count() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let config = paying(&upstream, &json!({ "credits": 7 }));
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
    stop(gateway).await;

    ledger.age(29 * DAY).await;
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 429);
    stop(gateway).await;

    ledger.age(2 * DAY).await;
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
}

/// A moment as people in some time zone write it.
fn written(unix: i64, hours_east: i8) -> String {
    let moment = jiff::Timestamp::from_second(unix).unwrap();
    let offset = jiff::tz::Offset::constant(hours_east);
    let sign = if hours_east < 0 { '-' } else { '+' };
    format!("{}{sign}{:02}:00", offset.to_datetime(moment), hours_east.unsigned_abs())
}

/// Promises: `credit-created-at`.
#[tokio::test]
async fn spending_counts_from_created_at_on_to_the_minute_in_any_time_zone() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let gateway = ledger.start(&paying(&upstream, &json!({}))).await;
    assert_eq!(pay(&gateway).await, 200);
    stop(gateway).await;
    let credits = |since: String| json!({ "credits": 7, "created_at": since });

    // Within the rolling thirty days, and long before them.
    for age in [3 * HOUR, 45 * DAY - 3 * HOUR] {
        ledger.age(age).await;
        let at = ledger.time_of_request().await;
        for (since, zone, due) in
            [(at + 60, 8, 200), (at - 60, 8, 429), (at + 60, -5, 200), (at - 60, -5, 429)]
        {
            let copy = Ledger::new();
            std::fs::copy(ledger.file(), copy.file()).unwrap();
            let gateway = copy.start(&paying(&upstream, &credits(written(since, zone)))).await;
            assert_eq!(pay(&gateway).await, due, "since {} after {}", since - at, written(at, zone));
        }
    }
}

#[tokio::test]
async fn a_start_that_a_reload_moves_acts_without_a_restart() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let gateway = ledger.start(&paying(&upstream, &json!({}))).await;
    assert_eq!(pay(&gateway).await, 200);
    stop(gateway).await;
    ledger.age(45 * DAY).await;
    let at = ledger.time_of_request().await;
    let since = |since: i64| paying(&upstream, &json!({ "credits": 7.5, "created_at": written(since, 0) }));
    let gateway = ledger.start(&since(at + 60)).await;
    assert_eq!(pay(&gateway).await, 200);

    gateway.reload(since(at - 60)).await;

    let refused = async {
        while pay(&gateway).await != 429 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("what was spent before should count");
    // One when the balance began anew, none or few until the older spending was looked up.
    assert!(upstream.count() <= 4, "{}", upstream.count());
}

/// How a balance is filled up again by hand: what was spent in this very hour is left behind too.
#[tokio::test]
async fn a_start_that_is_moved_to_now_opens_a_balance_that_was_used_up() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let gateway = ledger.start(&paying(&upstream, &json!({ "credits": 7 }))).await;
    assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 429));
    let stored = async {
        while gateway.metric("uni_api_ledger_written_total").await < 2.0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.expect("rows should be written");
    let now = jiff::Timestamp::now().as_second() + 1;

    gateway.reload(paying(&upstream, &json!({ "credits": 7, "created_at": written(now, 2) }))).await;

    let served = async {
        while pay(&gateway).await != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the balance should begin anew");
}

#[tokio::test]
async fn windows_of_an_hour_and_more_go_on_where_they_were() {
    for limit in [json!("3/hour"), json!({ "default": "3/day" }), json!("100/min,3/month")] {
        let (upstream, ledger) = (healthy("ok").await, Ledger::new());
        let config = paying(&upstream, &json!({ "rate_limit": limit }));
        let gateway = ledger.start(&config).await;
        assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 200));
        stop(gateway).await;

        let gateway = ledger.start(&config).await;

        assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 429), "{limit}");
        stop(gateway).await;

        ledger.age(40 * DAY).await;
        let gateway = ledger.start(&config).await;
        assert_eq!(pay(&gateway).await, 200, "{limit}");
    }
}

/// What retention leaves of old requests is enough for a window of a year.
#[tokio::test]
async fn a_window_of_a_year_counts_requests_whose_rows_are_gone() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let config = paying(&upstream, &json!({ "rate_limit": "3/year" }));
    let gateway = ledger.start(&config).await;
    assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 200));
    stop(gateway).await;
    ledger.age(300 * DAY).await;
    ledger.run("DELETE FROM request_stats").await;
    let gateway = ledger.start(&paying(&upstream, &json!({}))).await;
    gateway.chat(&hello()).await.expect(200);
    stop(gateway).await;

    let gateway = ledger.start(&config).await;

    assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 429));
}

/// A database that comes later than the gateway is read then, and nothing is counted twice.
#[tokio::test]
async fn a_ledger_that_was_away_at_the_start_is_read_when_it_comes() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let config = paying(&upstream, &json!({ "credits": 28 }));
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
    stop(gateway).await;
    let late = Ledger::new();
    // A folder in its place cannot be opened.
    std::fs::create_dir(late.file()).unwrap();
    let gateway = late.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);

    std::fs::copy(ledger.file(), late.folder.path().join("coming")).unwrap();
    std::fs::remove_dir(late.file()).unwrap();
    std::fs::rename(late.folder.path().join("coming"), late.file()).unwrap();
    let up = async {
        while gateway.metric("uni_api_ledger_up").await != 1.0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.expect("the ledger should be opened when it is there");

    // Seven dollars of before and seven of since the start leave room for two more requests.
    assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 200));
    assert_eq!(pay(&gateway).await, 429);
}

#[tokio::test]
async fn the_window_of_a_group_goes_on_where_it_was() {
    let (a, b, ledger) = (healthy("a").await, healthy("b").await, Ledger::new());
    let config = config([channel("a", &a), channel("b", &b)]).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin", "model": ["sk-group/*", "b/*"] },
            { "api": "sk-group", "model": ["a/*"], "preferences": { "rate_limit": "2/day" } },
        ]),
    );
    let gateway = ledger.start(&config).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    stop(gateway).await;

    let gateway = ledger.start(&config).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
}

#[tokio::test]
async fn the_window_of_the_whole_gateway_goes_on_where_it_was() {
    let (upstream, ledger) = (healthy("ok").await, Ledger::new());
    let config = paying(&upstream, &json!({})).with("/preferences/rate_limit", json!("3/hour"));
    let gateway = ledger.start(&config).await;
    assert_eq!(pay(&gateway).await, 200);
    gateway.chat(&hello()).await.expect(200);
    stop(gateway).await;

    let gateway = ledger.start(&config).await;

    assert_eq!((pay(&gateway).await, pay(&gateway).await), (200, 429));
}

#[tokio::test]
async fn windows_of_provider_keys_go_on_where_they_were() {
    let (a, b, ledger) = (healthy("a").await, healthy("b").await, Ledger::new());
    let config = config([
        channel("a", &a)
            .with("/model", json!([{ "up-m": "m" }]))
            .with("/api", json!(["k1", "k2"]))
            .with("/preferences/api_key_rate_limit", json!({ "up-m": "2/day" })),
        channel("b", &b),
    ]);
    let gateway = ledger.start(&config).await;
    for _ in 0..3 {
        gateway.chat(&hello()).await.expect(200);
    }
    stop(gateway).await;

    let gateway = ledger.start(&config).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    let mut keys = a.keys();
    keys.sort();
    assert_eq!(keys, ["k1", "k1", "k2", "k2"]);
}

/// A channel whose three keys are used by their history.
fn smart(upstream: &Upstream) -> Value {
    config([channel("a", upstream).with("/api", json!(["k1", "k2", "k3"])).with(
        "/preferences",
        json!({
            "api_key_schedule_algorithm": "smart_round_robin",
            "api_key_cooldown_period": 0,
            "cooldown_period": 0,
        }),
    )])
}

/// Promises: `keys-smart-history`.
#[tokio::test]
async fn the_order_of_provider_keys_by_their_success_survives() {
    // k1 is always refused, k2 every second time, k3 never.
    let turns = std::sync::atomic::AtomicUsize::new(0);
    let moody = Upstream::start(move |seen| match seen.key().as_str() {
        "k3" => Script::json(&said("ok")),
        "k2" if turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 == 1 => Script::json(&said("ok")),
        _ => Script::error(429, "no"),
    })
    .await;
    let ledger = Ledger::new();
    let gateway = ledger.start(&smart(&moody)).await;
    for _ in 0..12 {
        gateway.chat(&hello()).await.expect(200);
    }
    stop(gateway).await;
    let tried = moody.keys();
    for key in ["k1", "k2", "k3"] {
        assert!(tried.iter().filter(|tried| *tried == key).count() > 1, "{tried:?}");
    }

    let order = async |ledger: &Ledger| {
        let calm = healthy("ok").await;
        let gateway = ledger.start(&smart(&calm)).await;
        for _ in 0..3 {
            gateway.chat(&hello()).await.expect(200);
        }
        calm.keys()
    };
    let old = Ledger::new();
    std::fs::copy(ledger.file(), old.file()).unwrap();
    assert_eq!(order(&ledger).await, ["k3", "k2", "k1"]);

    // Three days later that says nothing any more.
    old.age(73 * HOUR).await;
    assert_eq!(order(&old).await, ["k1", "k2", "k3"]);
}
