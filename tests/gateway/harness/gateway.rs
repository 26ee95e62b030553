//! The built binary as a process of its own, in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Answer, Ask, Client, PATIENCE, eventually};

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Killed,
    folder: Arc<tempfile::TempDir>,
    output: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    metrics: Option<SocketAddr>,
}

/// How a gateway is started. Started again, it finds what the first one left in its folder.
#[derive(Clone)]
pub(crate) struct Setup {
    folder: Arc<tempfile::TempDir>,
    /// What starts the program in its own way.
    before: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

// === impl Setup ===

impl Setup {
    /// A folder with nothing in it. There is no database unless a test asks for it.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("uni-api-test").tempdir().unwrap();
        let environment = [
            ("PORT", "0"),
            ("HOST", "127.0.0.1"),
            ("METRICS_ADDR", "127.0.0.1:0"),
            ("DISABLE_DATABASE", "true"),
            ("LOG_FORMAT", "json"),
            ("PATH", "/usr/bin:/bin"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { folder: Arc::new(folder), before: Vec::new(), arguments: Vec::new(), environment }
    }

    /// A folder with this `api.yaml`.
    pub(crate) fn new(config: impl ToString) -> Self {
        Self::empty().file("api.yaml", config)
    }

    /// With this file in the folder.
    pub(crate) fn file(self, name: &str, text: impl ToString) -> Self {
        std::fs::write(self.folder.path().join(name), text.to_string()).unwrap();
        self
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Without this variable.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self
    }

    /// With a SQLite database in the default place.
    pub(crate) fn with_database(self) -> Self {
        self.without_env("DISABLE_DATABASE")
    }

    /// With one more argument.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Started as a container without privileges starts it: even root has to keep to what may be
    /// written.
    pub(crate) fn without_privileges(mut self) -> Self {
        if rustix::process::getuid().is_root() {
            self.before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"].map(str::to_owned).to_vec();
        }
        self
    }

    /// The working directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a shell that is started in the same way can do this in the folder.
    pub(crate) fn can(&self, line: &str) -> bool {
        let mut words = self.before.iter().map(String::as_str).chain(["sh", "-c", line]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.folder.path()).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    fn command(&self) -> Command {
        // Another build than the one made beside the tests, such as a release one.
        let binary =
            std::env::var_os("UNI_API_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_uni-api").into());
        let mut words = self.before.iter().map(Into::into).chain([binary]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(&self.arguments).current_dir(self.folder.path()).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end: its exit code and everything that it printed.
    pub(crate) async fn run(self) -> (i32, String) {
        let mut child = Killed(self.command().spawn().expect("the binary should start"));
        let output = Arc::new(Mutex::new(Vec::new()));
        let pipes = [
            follow(child.0.stdout.take().unwrap(), output.clone()),
            follow(child.0.stderr.take().unwrap(), output.clone()),
        ];
        let printed = || output.lock().unwrap().join("\n");
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the command does not end by itself:\n{}", printed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        pipes.into_iter().for_each(|pipe| pipe.join().unwrap());
        (status.code().unwrap_or(-1), printed())
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(self) -> Gateway {
        let mut child = Killed(self.command().spawn().expect("the binary should start"));
        let output = Arc::new(Mutex::new(Vec::new()));
        follow(child.0.stdout.take().unwrap(), output.clone());
        follow(child.0.stderr.take().unwrap(), output.clone());
        let printed = || output.lock().unwrap().join("\n");
        let began = Instant::now();
        let serving = loop {
            let line = output.lock().unwrap().iter().find_map(|line| message(line, "Serving."));
            if let Some(line) = line {
                break line;
            }
            if let Some(status) = child.0.try_wait().unwrap() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                panic!("the gateway ended with {status}:\n{}", printed());
            }
            assert!(began.elapsed() < PATIENCE, "the gateway does not serve:\n{}", printed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let address = |name| field(&serving, name).and_then(|value| value.as_str()?.parse().ok());
        let mut heard: SocketAddr = address("address").unwrap_or_else(|| panic!("no address in {serving}"));
        if heard.ip().is_unspecified() {
            heard.set_ip([127, 0, 0, 1].into());
        }
        Gateway { child, folder: self.folder, output, address: heard, metrics: address("metrics") }
    }
}

/// Runs the binary with these arguments in a folder with this `api.yaml`.
pub(crate) async fn run(config: impl ToString, arguments: &[&str]) -> (i32, String) {
    let mut setup = Setup::new(config);
    for argument in arguments {
        setup = setup.arg(argument);
    }
    setup.run().await
}

/// A process that ends with the test, whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts one with this `api.yaml`.
    pub(crate) async fn start(config: impl ToString) -> Self {
        Setup::new(config).start().await
    }

    /// A client of the main port.
    pub(crate) fn client(&self) -> Client {
        Client { address: self.address }
    }

    /// A client of the metrics port.
    pub(crate) fn metrics_client(&self) -> Client {
        Client { address: self.metrics.expect("the gateway should tell where its metrics are") }
    }

    /// The main port's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where an SDK is pointed to.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Sends one request.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.client().ask(ask).await
    }

    /// Sends one chat request.
    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.client().chat(body).await
    }

    /// The metrics page.
    pub(crate) async fn metrics(&self) -> String {
        self.metrics_client().ask(&Ask::get("/metrics").without_key()).await.expect(200).text()
    }

    /// The value of the first series whose line begins with `series`; 0 when there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = self.metrics().await;
        page.lines()
            .filter(|line| line.starts_with(series))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The working directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub(crate) fn api_yaml(&self) -> PathBuf {
        self.folder().join("api.yaml")
    }

    /// Everything that was printed, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }

    /// Everything that was printed.
    pub(crate) fn printed(&self) -> String {
        self.lines().join("\n")
    }

    /// How many lines have this message.
    pub(crate) fn count_messages(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| message(line, text).is_some()).count()
    }

    /// Waits for a line that satisfies `wanted`.
    pub(crate) async fn wait_for_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(what, PATIENCE, || self.lines().into_iter().find(|line| wanted(line))).await
    }

    /// Replaces the configuration in place and waits until it serves.
    pub(crate) async fn reload(&self, config: impl ToString) {
        let before = self.count_messages(LOADED);
        std::fs::write(self.api_yaml(), config.to_string()).unwrap();
        self.wait_for_reload(before).await;
    }

    /// Waits until more than `before` configurations were loaded.
    pub(crate) async fn wait_for_reload(&self, before: usize) {
        eventually("the new configuration", PATIENCE, || {
            (self.count_messages(LOADED) > before).then_some(())
        })
        .await;
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it this signal.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.0.id())]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child.0;
        eventually("the gateway to end", PATIENCE, || child.try_wait().unwrap()).await
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> usize {
        self.memory_kib("VmRSS:") / 1024
    }

    /// The most resident memory that there ever was, in KiB.
    pub(crate) fn peak_kib(&self) -> usize {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// What is logged when a configuration has begun to serve.
pub(crate) const LOADED: &str = "Configuration loaded.";

impl Drop for Gateway {
    fn drop(&mut self) {
        /// What a test that sent thousands of requests leaves out.
        const LINES: usize = 200;
        if std::thread::panicking() {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(LINES)..];
            eprintln!("--- the last of {} lines of the gateway:\n{}\n---", lines.len(), last.join("\n"));
        }
    }
}

fn follow(pipe: impl Read + Send + 'static, output: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            output.lock().unwrap().push(line);
        }
    })
}

/// A log line with this message.
fn message(line: &str, text: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    (field(&line, "message")?.as_str()? == text).then_some(line)
}

/// A field of a log line, whether fields stand at the top or below `fields`.
pub(crate) fn field(line: &Value, name: &str) -> Option<Value> {
    line["fields"].get(name).or_else(|| line.get(name)).cloned()
}
