//! What front ends ask of the gateway's database, in their words: they read the file from a mount that they may not
//! write to, while the gateway writes, and find rows by the client's key.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::compose::{composed, container, folder};
use crate::harness::*;
use crate::home::stop;
use crate::shell::{as_root, run};

/// The forms of question that `uni-api-status` asks: totals of a key, the same by channel and by model, and pages of
/// requests, all by way of the key in clear, the endpoint's text, and the one id of a request and its attempts.
const QUESTIONS: &str = r#"
import json, sqlite3, sys
# As its driver opens the file: for writing where that is possible, else for reading.
db = sqlite3.connect(sys.argv[1])
db.row_factory = sqlite3.Row
who = (sys.argv[2], "POST /v1/chat/completions")
sums = """count(*) AS requests, coalesce(sum(r.prompt_tokens), 0) AS sent, coalesce(sum(r.completion_tokens), 0) AS got,
  coalesce(sum(r.total_tokens), 0) AS both, coalesce(avg(r.process_time), 0) AS seconds,
  coalesce(avg(r.first_response_time), 0) AS first"""
ends = """coalesce(sum(CASE WHEN c.success = 1 THEN 1 ELSE 0 END), 0) AS good,
  coalesce(sum(CASE WHEN c.success = 0 THEN 1 ELSE 0 END), 0) AS bad, avg(CAST(c.success AS FLOAT)) AS share"""
both = "FROM request_stats r LEFT JOIN channel_stats c ON r.request_id = c.request_id WHERE r.api_key = ? AND r.endpoint = ?"
def ask(sql, *more):
    return [dict(row) for row in db.execute(sql, who + more)]
print(json.dumps({
    "total": ask(f"SELECT {sums} FROM request_stats r WHERE r.api_key = ? AND r.endpoint = ?"),
    "channels": ask(f"SELECT r.provider AS name, {sums}, {ends} {both} GROUP BY r.provider ORDER BY requests DESC"),
    "models": ask(f"SELECT r.model AS name, {sums}, {ends} {both} GROUP BY r.model ORDER BY requests DESC"),
    "failed": ask(f"SELECT r.timestamp, r.text, coalesce(c.success, 0) AS ok, r.model {both} AND c.success = ? "
                  "ORDER BY r.timestamp DESC LIMIT ? OFFSET ?", 0, 31, 0),
}))
"#;

/// Asks from a mount that cannot be written to.
fn ask_read_only(data: &Path, key: &str) -> Option<Value> {
    let mount = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"; ! touch \"$1/probe\" 2>/dev/null; \
                 exec python3 -c \"$2\" \"$1/stats.db\" \"$3\"";
    let enter = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", mount, "sh"];
    let words = [&enter[..], &[data.to_str().unwrap(), QUESTIONS, key]].concat();
    let ended = run(&mut as_root(&words));
    // For the moment in which the gateway makes its files.
    if ended.code != 0 && ended.printed.contains("unable to open database file") {
        return None;
    }
    Some(serde_json::from_str(&ended.well()).unwrap())
}

/// Promises: `front-status-db`, `front-status-readonly`.
#[tokio::test]
async fn a_front_end_s_questions_are_answered_rightly_from_a_read_only_mount_while_rows_are_written() {
    let failing = Upstream::always(Script::error(500, "no")).await;
    let (good, folder) = (healthy("ok").await, folder());
    let files = ["deploy/docker-compose.yml", "deploy/docker-compose.frontend.yml"];
    let all = composed(&files, folder.path());
    std::fs::create_dir(folder.path().join("config")).unwrap();
    let config = config([channel("b", &failing), channel("a", &good)])
        .with("/api_keys", json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-other" }]))
        .with("/providers/1/model", json!(["m", "n"]));
    std::fs::write(folder.path().join("config/api.yaml"), config.to_string()).unwrap();
    let gateway = container(&all["services"]["uni-api"]);
    let running = gateway.start().await;
    // What the front end mounts is what the gateway writes.
    let mounts = all["services"]["frontend"]["volumes"].to_string();
    let data = folder.path().join("data");
    assert!(mounts.contains(&format!("{}:/app/data:ro", data.display())), "{mounts}");

    running.ask(&Ask::chat(&hello())).await.expect(200);
    running.ask(&Ask::chat(&hello_to("n"))).await.expect(200);
    running.ask(&Ask::chat(&hello_to("n"))).await.expect(200);
    running.ask(&Ask::chat(&hello_to("n")).key("sk-other")).await.expect(200);
    running.ask(&Ask::get("/v1/models")).await.expect(200);

    let told = eventually("three rows of this key", PATIENCE, || {
        let told = data.join("stats.db").exists().then(|| ask_read_only(&data, CLIENT))??;
        (told["total"][0]["requests"] == 3).then_some(told)
    })
    .await;
    let total = &told["total"][0];
    assert_eq!((&total["sent"], &total["got"], &total["both"]), (&json!(33), &json!(21), &json!(54)));
    assert!(total["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{total}");
    assert!(total["first"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{total}");
    // A request with two attempts is two rows of the join, as it always was.
    let channel = &told["channels"][0];
    assert_eq!((&channel["name"], &channel["good"], &channel["bad"]), (&json!("a"), &json!(3), &json!(1)));
    let models: Vec<_> =
        told["models"].as_array().unwrap().iter().map(|row| (&row["name"], &row["good"])).collect();
    assert_eq!(models.len(), 2);
    assert!(models.contains(&(&json!("n"), &json!(2))) && models.contains(&(&json!("m"), &json!(1))));
    let failed = told["failed"].as_array().unwrap();
    assert!(failed.len() == 1 && failed[0]["model"] == "m" && failed[0]["text"].is_null(), "{failed:?}");
    // Python's, and every driver's, form of a time in this column.
    assert!(failed[0]["timestamp"].as_str().is_some_and(|time| time.len() >= 19 && time.contains('-')));

    running.ask(&Ask::chat(&hello())).await.expect(200);
    let four = || ask_read_only(&data, CLIENT).filter(|told| told["total"][0]["requests"] == 4);
    eventually("the fourth row", PATIENCE, four).await;
}

/// A PostgreSQL of this test; ended when dropped.
struct Server {
    child: std::process::Child,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// One whose administrator has this name, and one database of this name.
    async fn start(user: &str, database: &str) -> Self {
        let programs = std::fs::read_dir("/usr/lib/postgresql").unwrap();
        let programs = programs.map(|version| version.unwrap().path().join("bin")).max().unwrap();
        let (folder, port) = (tempfile::tempdir().unwrap(), crate::port());
        // The server refuses to run as root.
        let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
        let as_postgres = |words: &[&str]| -> Command {
            let program = programs.join(words[0]);
            let mut all = vec![program.to_str().unwrap()];
            all.extend(&words[1..]);
            let other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
            let mut command = as_root(&if is_root { [&other[..], &all].concat() } else { all });
            command.current_dir(folder.path()).stderr(Stdio::null()).stdout(Stdio::null());
            command
        };
        if is_root {
            run(&mut as_root(&["chown", "postgres", folder.path().to_str().unwrap()])).well();
        }
        let data = folder.path().join("data").display().to_string();
        run(&mut as_postgres(&["initdb", "-D", &data, "-U", user, "-A", "trust", "-N"])).well();
        let settings = format!("port={port}");
        let place = format!("unix_socket_directories={}", folder.path().display());
        let child = as_postgres(&["postgres", "-D", &data, "-c", &settings, "-c", &place, "-c", "fsync=off"])
            .spawn()
            .unwrap();
        let server = Self { child, _folder: folder, port };
        let create = format!("CREATE DATABASE {database}");
        eventually("the server", PATIENCE, || {
            let made = server.sql(user, "postgres", &create);
            (made.code == 0).then_some(())
        })
        .await;
        server
    }

    fn sql(&self, user: &str, database: &str, text: &str) -> crate::shell::Ended {
        let port = self.port.to_string();
        run(&mut crate::shell::command(&[
            "psql",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            user,
            "-d",
            database,
            "-A",
            "-t",
            "-c",
            text,
        ]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = as_root(&["kill", "-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Both files of ours and of the requirement document that name PostgreSQL: every variable is theirs but for where
/// the server of this test is.
///
/// Promises: `front-web-compose`.
#[tokio::test]
async fn the_variables_of_the_compose_files_lead_to_postgresql() {
    let upstream = healthy("ok").await;
    let ours = ["deploy/docker-compose.yml", "deploy/docker-compose.postgres.yml"];
    for (files, user, file) in [
        (&ours[..], "uniapi", "config/api.yaml"),
        (&["tests/fixtures/deploy/compose-frontend.yml"], "root", "api-copy.yaml"),
    ] {
        let (server, folder) = (Server::start(user, "uniapi").await, folder());
        let service = composed(files, folder.path())["services"]["uni-api"].clone();
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        std::fs::write(folder.path().join(file), config([channel("a", &upstream)]).to_string()).unwrap();
        assert_eq!(service["environment"]["DB_HOST"], "postgres");
        let gateway =
            container(&service).env("DB_HOST", "127.0.0.1").env("DB_PORT", &server.port.to_string());

        let running = gateway.start().await;
        running.ask(&Ask::chat(&hello())).await.expect(200);
        stop(running).await;

        let rows =
            server.sql(user, "uniapi", "SELECT provider, model, total_tokens FROM request_stats").well();
        assert_eq!(rows.trim(), "a|m|18", "{files:?}");
    }
}
