//! A container as engines start one, of the kernel's own means: the image's files, entrypoint, user, folder and
//! environment, process 1 of a name space of its own, volumes and names of hosts bound in. The network is the machine's,
//! unless a test asks for an empty one.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::harness::{Answer, Ask, Client, PATIENCE, eventually};
use super::image::{buildah, settings};
use super::shell::{Ended, as_root, run};

/// What comes before the container's own command: mounts, then root, folder and user. Engines make what is missing
/// of a volume on the machine, as a folder.
const ENTER: &str = r#"
root=$1 folder=$2 user=$3 group=$4 mode=$5 volumes=$6
shift 6
mount --bind "$root" "$root"
mkdir -p "$root/proc" "$root/dev" "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for file in /etc/hosts /etc/resolv.conf; do
    [ ! -e "$file" ] || { touch "$root$file"; mount --bind "$file" "$root$file"; }
done
printf '%s' "$volumes" | while IFS='|' read -r from to access; do
    [ -e "$from" ] || mkdir -p "$from"
    if [ -d "$from" ]; then mkdir -p "$root$to"; else mkdir -p "$(dirname "$root$to")"; touch "$root$to"; fi
    mount --bind "$from" "$root$to"
    [ "$access" != ro ] || mount -o remount,ro,bind "$root$to"
done
[ "$mode" != ro ] || mount -o remount,ro,bind "$root"
if [ -n "$(ip link show lo 2>/dev/null | grep DOWN)" ]; then ip link set lo up; fi
exec setpriv --clear-groups unshare --root="$root" --wd="$folder" --setgid "$group" --setuid "$user" -- "$@"
"#;

/// A container that can be started, also again; its files go with it.
pub(crate) struct Container {
    name: String,
    root: PathBuf,
    settings: Value,
    user: (u32, u32),
    volumes: String,
    environment: Vec<(String, String)>,
    entrypoint: Option<Vec<String>>,
    words: Vec<String>,
    read_only: bool,
    alone: bool,
}

/// A container's running process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

// === impl Container ===

impl Container {
    /// A new one of this image, with a port of its own choice.
    pub(crate) fn new(image: &str) -> Self {
        let name = buildah(&["from", "--pull-never", image]).trim().to_owned();
        let root = PathBuf::from(buildah(&["mount", &name]).trim());
        let settings = settings(image);
        let text = |pointer: &str| settings.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (user, group) = text("/User").split_once(':').unwrap_or((text("/User"), ""));
        // A name stands in the image's list of users.
        let listed = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
        let entry = listed.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|one| one[0] == user);
        let number = |text: &str, field: usize| {
            text.parse().ok().or_else(|| entry.as_ref()?[field].parse().ok()).unwrap_or(0)
        };
        let user = (number(user, 2), number(group, 3));
        Self {
            name,
            root,
            user,
            settings,
            volumes: String::new(),
            environment: Vec::new(),
            entrypoint: None,
            words: Vec::new(),
            read_only: false,
            alone: false,
        }
        // Of an image that names none, engines say where programs are.
        .env_default("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PORT", "0")
        .env("METRICS_ADDR", "127.0.0.1:0")
    }

    /// With this variable unless the image has it.
    fn env_default(self, name: &str, value: &str) -> Self {
        let start = format!("{name}=");
        let own = self.settings["Env"].as_array().into_iter().flatten();
        let is_set = own.filter_map(Value::as_str).any(|one| one.starts_with(&start));
        if is_set { self } else { self.env(name, value) }
    }

    /// As this user, who has a group of the same number.
    pub(crate) fn user(mut self, id: u32) -> Self {
        self.user = (id, id);
        self
    }

    /// With a file or folder of the machine at a place inside: `host:inside` or `host:inside:ro`.
    pub(crate) fn volume(mut self, host: &Path, inside: &str, access: &str) -> Self {
        self.volumes.push_str(&format!("{}|{inside}|{access}\n", host.display()));
        self
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self = self.without_env(name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without this variable.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// With a root that cannot be written to.
    pub(crate) fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// With a network of its own, in which nobody else listens.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// With this in place of the image's entrypoint.
    pub(crate) fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = Some(words.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    /// With this command where a start gives none.
    pub(crate) fn command_words(mut self, words: impl Iterator<Item = String>) -> Self {
        self.words = words.collect();
        self
    }

    /// What buildah calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path inside, seen from the machine.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let list = |pointer: &str| {
            let items = self.settings.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().map(|item| item.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let folder = self.settings["WorkingDir"].as_str().filter(|text| !text.is_empty()).unwrap_or("/");
        let mut words: Vec<String> = ["env", "-i"].iter().map(|word| (*word).to_owned()).collect();
        let given = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        words.extend(list("/Env").into_iter().chain(given));
        words
            .extend(["unshare", "--mount", "--pid", "--fork", "--propagation", "private"].map(str::to_owned));
        words.extend(self.alone.then(|| "--net".to_owned()));
        words.extend(["sh", "-euc", ENTER, "sh"].map(str::to_owned));
        words.push(self.root.display().to_string());
        words.extend([folder.to_owned(), self.user.0.to_string(), self.user.1.to_string()]);
        words.push(if self.read_only { "ro" } else { "rw" }.to_owned());
        words.push(self.volumes.clone());
        words.extend(self.entrypoint.clone().unwrap_or_else(|| list("/Entrypoint")));
        match arguments {
            [] if self.words.is_empty() => words.extend(list("/Cmd")),
            [] => words.extend(self.words.clone()),
            given => words.extend(given.iter().map(|word| (*word).to_owned())),
        }
        as_root(&words)
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(&self) -> Running {
        let running = self.spawn(&[]);
        running.serving().await;
        running
    }

    /// Starts it with these arguments.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().unwrap(), output.clone());
        follow(child.stderr.take().unwrap(), output.clone());
        Running { child, output }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        buildah(&["rm", &self.name]);
    }
}

// === impl Running ===

impl Running {
    /// What is logged when it serves.
    async fn serving(&self) -> Value {
        eventually("the container to serve", PATIENCE, || {
            let lines = self.output.lock().unwrap();
            let found = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            found.into_iter().find(|line| line.to_string().contains("\"Serving.\""))
        })
        .await
    }

    /// Where it listens.
    pub(crate) async fn address(&self) -> SocketAddr {
        let line = self.serving().await;
        let told = super::harness::gateway::field(&line, "address").unwrap();
        told.as_str().unwrap().parse().unwrap()
    }

    /// A client of it, on this machine.
    pub(crate) async fn client(&self) -> Client {
        let port = self.address().await.port();
        Client { address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Sends one request.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.client().await.ask(ask).await
    }

    /// Everything that was printed.
    pub(crate) fn printed(&self) -> String {
        self.output.lock().unwrap().join("\n")
    }

    /// Its first process, as the machine counts.
    pub(crate) fn process(&self) -> u32 {
        let mut process = self.child.id();
        loop {
            let told = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
            if !["sudo", "env", "unshare"].contains(&told.trim()) {
                return process;
            }
            let children =
                std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
            let Some(child) = children.split_whitespace().next() else { return process };
            process = child.parse().unwrap();
        }
    }

    /// Sends its first process a signal.
    pub(crate) fn signal(&self, name: &str) {
        run(&mut as_root(&["kill", &format!("-{name}"), &self.process().to_string()])).well();
    }

    /// Runs something inside, as engines do for health checks.
    pub(crate) fn exec(&self, words: &[&str]) -> Ended {
        let process = self.process().to_string();
        let enter = ["nsenter", "--target", &process, "--mount", "--pid", "--net", "--root", "--wd"];
        run(&mut as_root(&[&enter[..], &["--"], words].concat()))
    }

    /// Waits for its end, and gives its exit code.
    pub(crate) async fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("the container to end", PATIENCE, || child.try_wait().unwrap()).await;
        status.code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the container:\n{}\n---", self.printed());
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = as_root(&["kill", "-KILL", &self.process().to_string()]).status();
        }
        let _ = self.child.wait();
    }
}

fn follow(pipe: impl Read + Send + 'static, output: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            output.lock().unwrap().push(line);
        }
    });
}
