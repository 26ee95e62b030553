//! The disposition of every failure, as a table: who is asked next, what cools afterwards, and what
//! a client sees that has only this channel.
//!
//! Each row has a channel with two keys, taken in order, of which the first one fails, and a healthy
//! channel behind it. Who is asked by the first request shows where failover goes; who is asked by
//! the second one shows what cools. A third channel that always fails shows what the client sees.

use serde_json::{Value, json};

use super::bench::*;

/// What a client sees of a failure that nobody could make good.
enum Sees {
    /// The upstream's own status and body, byte for byte.
    Its,
    /// This status, told in the gateway's words.
    Ours(u16),
    /// 502 with the code that says that the upstream rejected the gateway.
    Rejected,
}
use Sees::{Its, Ours, Rejected};

struct Row {
    name: String,
    script: Script,
    /// Whom two requests ask, one after the other: keys `k1` and `k2`, then channel `b`.
    asked: [&'static str; 2],
    sees: Sees,
}

/// Given back at once; nothing cools.
const RETURNED: [&str; 2] = ["k1", "k1"];
/// The next key, and the failing one cools.
const KEY_RESTS: [&str; 2] = ["k1 k2", "k2"];
/// The next key, and none cools.
const KEY_GOES_ON: [&str; 2] = ["k1 k2", "k1 k2"];
/// The next channel, and this model of the failing one cools.
const CHANNEL_RESTS: [&str; 2] = ["k1 b", "b"];
/// The next channel, and nothing cools.
const CHANNEL_GOES_ON: [&str; 2] = ["k1 b", "k1 b"];

fn row(name: impl ToString, script: Script, asked: [&'static str; 2], sees: Sees) -> Row {
    Row { name: name.to_string(), script, asked, sees }
}

fn coded(status: u16, code: &str) -> Script {
    let error = json!({ "message": "no", "type": "invalid_request_error", "param": null, "code": code });
    Script::status(status, &json!({ "error": error }))
}

/// Answers with an error status, in whatever dialect.
fn statuses() -> Vec<Row> {
    let gemini_key = json!({ "error": { "code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{ "reason": "API_KEY_INVALID" }] } });
    let gemini_place = json!({ "error": { "code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION" } });
    let anthropic_poor = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API." } });
    let long = "prompt is too long: 210000 tokens > 200000 maximum";
    let html =
        |status| Script::body(status, "text/html", "<html><center><h1>400 Bad Request</h1></center></html>");
    let mut rows = vec![
        row("400", Script::error(400, "bad temperature"), RETURNED, Its),
        row("422", Script::error(422, "bad temperature"), RETURNED, Its),
        row("400 without a word", Script::body(400, "text/plain", ""), RETURNED, Ours(400)),
        row("400 for the key", Script::status(400, &gemini_key), KEY_RESTS, Rejected),
        row("400 for the place", Script::status(400, &gemini_place), KEY_RESTS, Rejected),
        row("400 for the balance", Script::status(400, &anthropic_poor), KEY_RESTS, Rejected),
        row("422 for the balance", Script::status(422, &anthropic_poor), KEY_RESTS, Rejected),
        row("400 by a code for length", coded(400, "context_length_exceeded"), CHANNEL_GOES_ON, Its),
        row("400 by words for length", Script::error(400, long), CHANNEL_GOES_ON, Its),
        row(
            "422 for length",
            Script::error(422, "Please reduce the length of the messages or completion"),
            CHANNEL_GOES_ON,
            Its,
        ),
        row("413", Script::error(413, "too large"), CHANNEL_GOES_ON, Its),
        row("413 from a proxy", html(413), CHANNEL_GOES_ON, Ours(413)),
        row("400 from a proxy", html(400), CHANNEL_GOES_ON, Rejected),
        row("403 from a proxy", html(403), CHANNEL_GOES_ON, Rejected),
        row("401", Script::error(401, "bad key"), KEY_RESTS, Rejected),
        row("402", Script::error(402, "pay"), KEY_RESTS, Rejected),
        row("403", Script::error(403, "no"), KEY_RESTS, Rejected),
        row("429", Script::error(429, "slow down"), KEY_GOES_ON, Ours(429)),
        row(
            "429 with a hint",
            Script::error(429, "slow down").header("retry-after", "60"),
            KEY_RESTS,
            Ours(429),
        ),
        row("429 for quota", coded(429, "insufficient_quota"), KEY_RESTS, Ours(429)),
        row("498", Script::error(498, "no capacity"), KEY_GOES_ON, Rejected),
        row(
            "498 with a hint",
            Script::error(498, "no capacity").header("retry-after", "60"),
            KEY_RESTS,
            Rejected,
        ),
        row("404 for the model", coded(404, "model_not_found"), CHANNEL_RESTS, Ours(404)),
        row("404 for the deployment", coded(404, "DeploymentNotFound"), CHANNEL_RESTS, Ours(404)),
        row("404", Script::body(404, "text/plain", "not here"), CHANNEL_GOES_ON, Ours(404)),
        row(
            "302",
            Script::body(302, "text/plain", "").header("location", "/elsewhere"),
            CHANNEL_GOES_ON,
            Ours(502),
        ),
    ];
    for status in [408, 409, 424, 500, 501, 502, 503, 504, 529] {
        rows.push(row(status, Script::error(status, "ill"), CHANNEL_RESTS, Ours(status)));
    }
    for status in [405, 406, 410, 415, 418, 451] {
        rows.push(row(status, Script::error(status, "not so"), CHANNEL_GOES_ON, Its));
    }
    rows
}

/// Answers that say 200 and are failures, and those that never come, in OpenAI's dialect.
fn others(stream: bool) -> Vec<Row> {
    let whole = |body: &str| Script::body(200, "application/json", body);
    let said_error =
        |code: Value| json!({ "error": { "message": "no", "type": "some_error", "code": code } });
    let inside = |code: Value| {
        let error = said_error(code);
        if stream { Script::events([event(&error)]) } else { Script::json(&error) }
    };
    let mut rows = vec![
        row("200 with a 503 inside", inside(json!(503)), CHANNEL_RESTS, Ours(503)),
        row("200 with a 401 inside", inside(json!(401)), KEY_RESTS, Rejected),
        row("200 with a 429 inside", inside(json!(429)), KEY_GOES_ON, Ours(429)),
        row("200 with a length inside", inside(json!("context_length_exceeded")), CHANNEL_GOES_ON, Ours(400)),
        row("200 of html", Script::body(200, "text/html", "<html>sorry</html>"), CHANNEL_RESTS, Ours(502)),
        row("200 of nothing", whole(""), CHANNEL_RESTS, Ours(502)),
        row("a reset", Script::reset(), CHANNEL_RESTS, Ours(502)),
        row("a close", Script::close(), CHANNEL_RESTS, Ours(502)),
        row("a hang", Script::hang(), CHANNEL_RESTS, Ours(504)),
        row(
            "200 with a trigger",
            {
                if stream {
                    Script::events(stream_of(&["out of", " luck"]))
                } else {
                    Script::json(&said("out of luck"))
                }
            },
            CHANNEL_RESTS,
            Ours(502),
        ),
    ];
    if stream {
        rows.push(row("an end alone", Script::events([DONE]), CHANNEL_RESTS, Ours(502)));
        rows.push(row("an opening and an end", Script::events([role_event()]), CHANNEL_RESTS, Ours(502)));
        rows.push(row(
            "an opening and a break",
            Script::events([role_event()]).then_close(),
            CHANNEL_RESTS,
            Ours(502),
        ));
        rows.push(row(
            "an opening and a hang",
            Script::events([role_event()]).then_hang(),
            CHANNEL_RESTS,
            Ours(504),
        ));
    } else {
        rows.push(row("200 of garbage", whole("{]"), CHANNEL_RESTS, Ours(502)));
        rows.push(row("200 without content", Script::json(&said("")), CHANNEL_RESTS, Ours(502)));
    }
    rows
}

/// Checks each row, with this request, over channels of OpenAI's or Anthropic's format.
async fn check(rows: Vec<Row>, request: &Value, anthropic: bool) {
    let good = healthy("good").await;
    let make = |name: &str, upstream: &Upstream| {
        let made = if anthropic { anthropic_channel(name, upstream) } else { channel(name, upstream) };
        // What is added to a stream may be asked for again; that is told elsewhere.
        made.with("/preferences/quirks", json!(["-stream_options"]))
    };
    let mut channels = Vec::new();
    let mut upstreams = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let script = row.script.clone();
        let upstream = Upstream::start(move |seen| match seen.key().as_str() {
            "k2" if anthropic => Script::json(&said_by_claude("ok")),
            "k2" => saying("ok")(seen),
            _ => script.clone(),
        })
        .await;
        let models = json!([format!("m{n}")]);
        channels.push(
            make(&format!("a{n}"), &upstream)
                .with("/api", json!(["k1", "k2"]))
                .with("/model", models.clone())
                .with("/preferences/api_key_schedule_algorithm", json!("fixed_priority")),
        );
        channels.push(channel(&format!("b{n}"), &good).with("/model", models));
        channels.push(make(&format!("sole{n}"), &upstream).with("/model", json!([format!("s{n}")])));
        upstreams.push(upstream);
    }
    let config = config(channels)
        .with("/preferences/model_timeout", json!(0.7))
        .with("/preferences/error_triggers", json!(["out of luck"]));
    let gateway = Gateway::start(config).await;

    let mut wrong = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let ask = Ask::chat(&request.clone().with("/model", json!(format!("m{n}"))));
        for expected in row.asked {
            let (a, b) = (upstreams[n].count(), good.count());
            let answer = gateway.ask(&ask).await;
            let mut asked = upstreams[n].keys().split_off(a);
            asked.extend((b..good.count()).map(|_| "b".to_owned()));
            let (asked, served) = (asked.join(" "), row.asked[0] != "k1");
            if asked != expected || (answer.status == 200) != served {
                wrong.push(format!("{}: {asked} instead of {expected}, {}", row.name, answer.status));
            }
        }

        let answer = gateway.ask(&Ask::chat(&request.clone().with("/model", json!(format!("s{n}"))))).await;
        let status = match row.sees {
            // A body of another dialect is told in the client's.
            Its => row.script.status,
            Ours(status) => status,
            Rejected => 502,
        };
        if answer.status != status {
            wrong.push(format!("{}: the client sees {} {}", row.name, answer.status, answer.text()));
        }
        if answer.header("retry-after").is_some() != row.name.contains("with a hint") {
            wrong.push(format!("{}: Retry-After is {:?}", row.name, answer.header("retry-after")));
        }
        let error = answer.error();
        match row.sees {
            Its if !anthropic && answer.body != row.script.bytes() => {
                wrong.push(format!("{}: not its own words: {}", row.name, answer.text()));
            }
            Rejected if error["code"] != "upstream_rejected" => {
                wrong.push(format!("{}: not told as rejected: {error}", row.name));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Promises: `retry-next-channel`, `cool-excluded`, `cool-key-429`, `cool-key-default`, `retry-all-failed`.
#[tokio::test(start_paused = true)]
async fn each_status_and_body_leads_where_the_table_says() {
    check(statuses(), &hello(), false).await;
}

/// Promises: `retry-next-channel`.
#[tokio::test(start_paused = true)]
async fn each_status_and_body_leads_there_when_a_stream_was_asked_for() {
    check(statuses(), &hello_stream(), false).await;
}

#[tokio::test(start_paused = true)]
async fn each_status_and_body_leads_there_from_a_channel_of_another_format() {
    check(statuses(), &hello(), true).await;
}

/// Promises: `retry-next-channel`, `time-switch`, `trig-match`.
#[tokio::test(start_paused = true)]
async fn each_false_success_and_each_silence_leads_where_the_table_says() {
    check(others(false), &hello(), false).await;
}

/// Promises: `retry-next-channel`, `time-switch`, `trig-stream`.
#[tokio::test(start_paused = true)]
async fn each_false_success_and_each_silence_of_a_stream_leads_there() {
    check(others(true), &hello_stream(), false).await;
}
