//! A real Prometheus, as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::harness::{Ask, Client, PATIENCE};

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts one with this configuration.
    pub(crate) fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, configuration).unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("Prometheus cannot be started: {error}; install it with: make deps-test")
            });
        let (tell, told) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            let (mut printed, mut address) = (Vec::new(), None);
            for line in lines.map_while(Result::ok) {
                let value: Value = serde_json::from_str(&line).unwrap_or_default();
                if value["msg"] == "Listening on" {
                    address = value["address"].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
                }
                // Before that it would answer that it is not ready.
                if let (Some(address), "Server is ready to receive web requests.") =
                    (address, value["msg"].as_str().unwrap_or_default())
                {
                    let _ = tell.send(Ok(address));
                }
                printed.push(line);
            }
            let _ = tell.send(Err(printed));
        });
        let address = told.recv_timeout(PATIENCE).expect("Prometheus is ready in time");
        let address = address.unwrap_or_else(|printed| panic!("Prometheus ended:\n{}", printed.join("\n")));
        Self { child, address, _folder: folder }
    }

    /// Asks its interface; the data of the answer.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let encoded = parameters.iter().map(|(name, value)| {
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            format!("{name}={value}")
        });
        let target = format!("/api/v1/{path}?{}", encoded.collect::<Vec<_>>().join("&"));
        let answer = Client { address: self.address }.ask(&Ask::get(&target).without_key()).await.json();
        match answer["status"] == "success" {
            true => Ok(answer["data"].clone()),
            false => Err(answer["error"].as_str().unwrap_or("no reason").to_owned()),
        }
    }

    /// The samples of a query, now: labels and value.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let data = self.get("query", &[("query", query)]).await?;
        let value = |sample: &Value| sample["value"][1].as_str().and_then(|text| text.parse().ok());
        let samples = data["result"].as_array().into_iter().flatten();
        Ok(samples.filter_map(|sample| Some((sample["metric"].clone(), value(sample)?))).collect())
    }
}
