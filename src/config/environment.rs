//! The process environment as typed values, read once.
//!
//! Only `main` touches the real environment; everything else, expansion inside the configuration
//! included, takes an [`Environment`], so that tests need no process state. An empty variable
//! counts as unset, since compose files and manifests leave such behind.

mod log;
mod traces;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::problem::{Problem, Severity, shown};
use super::settings::SecretText;
use crate::values::TraceSettings;

/// The settings that the environment decides.
#[derive(Clone)]
pub struct Environment {
    /// `HOST`: the address to listen on.
    pub host: String,
    /// `PORT`.
    pub port: u16,
    /// `DEBUG`: more is logged.
    pub debug: bool,
    /// `TIMEOUT`: inactivity of an upstream when nothing else is configured.
    pub timeout: Duration,
    /// `DISABLE_DATABASE`, `DB_*` and `DATABASE_URL`.
    pub database: Database,
    /// `CONFIG_URL`: a path, `file://` or `http(s)://`.
    pub config_url: Option<String>,
    /// `CONFIG_URL_POLL`: how often a configuration's URL is asked.
    pub config_url_poll: Duration,
    /// `API_YAML_CONTENT`: the configuration text itself.
    pub config_text: Option<String>,
    /// `CONFIG_ENV_ALLOW`: the variables that a configuration from a URL may use.
    pub config_env_allow: Vec<String>,
    /// `SECRETS_DIR`: one more folder for `${file:…}`.
    pub secrets_dir: Option<PathBuf>,
    /// `METRICS_ADDR`; none when it is `off`.
    pub metrics_addr: Option<SocketAddr>,
    /// `MAX_BODY_BYTES`: the largest request body, decoded.
    pub max_body_bytes: u64,
    /// `TRUSTED_PROXIES`: peers whose forwarded addresses count; none means loopback and private.
    pub trusted_proxies: Option<Vec<Network>>,
    /// `DRAIN_DELAY`: how long connections are accepted after the signal to stop.
    pub drain_delay: Duration,
    /// `DRAIN_SECONDS`: how long streams may go on after that.
    pub drain_seconds: Duration,
    /// `CLIENT_STALL`: how long a client may take nothing.
    pub client_stall: Duration,
    /// `RETENTION_DAYS`; zero keeps everything, none leaves it to the age of the database.
    pub retention_days: Option<u32>,
    /// `STATS_PLAIN_KEYS`: client keys stand in clear in the statistics.
    pub stats_plain_keys: bool,
    /// `FETCH_ALLOW_PRIVATE`: media may be fetched from private addresses.
    pub fetch_allow_private: bool,
    /// `REDIS_URL`.
    pub redis_url: Option<SecretText>,
    /// `LOG_FILE`: where the log goes; none means standard error.
    pub log_file: Option<String>,
    /// `OTEL_*`: whether, where and how traces are sent.
    pub traces: Option<TraceSettings>,
    /// What is odd but no obstacle.
    pub warnings: Vec<Problem>,
    vars: BTreeMap<String, String>,
}

/// The place where statistics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// `DISABLE_DATABASE`: nowhere.
    Off,
    /// The embedded one, in this file.
    Sqlite(PathBuf),
    /// `DB_TYPE=postgres`.
    Postgres(Postgres),
}

/// The way to reach PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// `DATABASE_URL`, which stands for all the rest.
    pub url: Option<SecretText>,
    /// `DB_HOST`.
    pub host: String,
    /// `DB_PORT`.
    pub port: u16,
    /// `DB_USER`.
    pub user: String,
    /// `DB_PASSWORD`.
    pub password: SecretText,
    /// `DB_NAME`.
    pub name: String,
}

/// An address range such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of the range.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

// === impl Environment ===

impl Default for Environment {
    fn default() -> Self {
        Self::from_vars([]).expect("the empty environment is valid")
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables hold keys, the configuration text does, and a URL may.
        f.debug_struct("Environment")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads all variables; the problems are all there are, at once.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Problem>> {
        let vars: BTreeMap<String, String> = vars.into_iter().collect();
        let mut read = Reader { vars: &vars, problems: Vec::new() };
        let orchestrated = read.text("KUBERNETES_SERVICE_HOST").is_some();
        let mut environment =
            Self {
                host: read.text("HOST").unwrap_or("0.0.0.0").to_owned(),
                port: read.number("PORT", "a port from 0 to 65535").unwrap_or(8000),
                debug: read.switch("DEBUG"),
                timeout: read.seconds("TIMEOUT", true).unwrap_or(Duration::from_secs(100)),
                database: read.database(),
                config_url: read.text("CONFIG_URL").map(str::to_owned),
                config_url_poll: read.seconds("CONFIG_URL_POLL", true).unwrap_or(Duration::from_secs(30)),
                config_text: read.text("API_YAML_CONTENT").map(str::to_owned),
                config_env_allow: read.list("CONFIG_ENV_ALLOW"),
                secrets_dir: read.text("SECRETS_DIR").map(PathBuf::from),
                metrics_addr: read.metrics_addr(),
                max_body_bytes: read.size("MAX_BODY_BYTES").unwrap_or(64 << 20),
                trusted_proxies: read.networks("TRUSTED_PROXIES"),
                drain_delay: read
                    .seconds("DRAIN_DELAY", false)
                    .unwrap_or(Duration::from_secs(if orchestrated { 5 } else { 0 })),
                drain_seconds: read.seconds("DRAIN_SECONDS", false).unwrap_or(Duration::from_secs(25)),
                client_stall: read.seconds("CLIENT_STALL", true).unwrap_or(Duration::from_secs(120)),
                retention_days: read.number("RETENTION_DAYS", "a number of days, 0 to keep everything"),
                stats_plain_keys: read.flag("STATS_PLAIN_KEYS"),
                fetch_allow_private: read.flag("FETCH_ALLOW_PRIVATE"),
                redis_url: read.text("REDIS_URL").map(SecretText::from),
                log_file: read.log_file(),
                traces: read.traces(),
                warnings: Vec::new(),
                vars: BTreeMap::new(),
            };
        read.log();
        if let Some(folder) = environment.secrets_dir.as_deref().filter(|folder| !folder.is_dir()) {
            read.refuse(
                Severity::Warning,
                "SECRETS_DIR",
                &folder.display().to_string(),
                "a folder that is there; `${file:…}` finds nothing in it",
            );
        }
        let (errors, warnings): (Vec<_>, Vec<_>) = read.problems.into_iter().partition(Problem::is_error);
        if !errors.is_empty() {
            return Err(errors);
        }
        environment.warnings = warnings;
        environment.vars = vars;
        Ok(environment)
    }

    /// A variable as it is, for expansion inside the configuration.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }
}

// === impl Network ===

impl Network {
    /// Reads `10.0.0.0/8` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.trim().parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(longest), |prefix| prefix.trim().parse().ok())?;
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// Whether the address lies in the range; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

struct Reader<'a> {
    vars: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.vars.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn refuse(&mut self, severity: Severity, name: &str, text: &str, accepted: &str) {
        self.problems.push(Problem::new(severity, name, format!("{:?}", shown(text)), accepted));
    }

    fn parsed<T>(&mut self, name: &str, accepted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(text);
        if value.is_none() {
            self.refuse(Severity::Error, name, text, accepted);
        }
        value
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str, accepted: &str) -> Option<T> {
        self.parsed(name, accepted, |text| text.parse().ok())
    }

    fn seconds(&mut self, name: &str, positive: bool) -> Option<Duration> {
        let accepted = if positive { "seconds, more than 0" } else { "seconds, 0 or more" };
        self.parsed(name, accepted, |text| {
            text.parse().ok().and_then(seconds).filter(|time| !positive || !time.is_zero())
        })
    }

    fn size(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, "bytes, or a size such as 20MB or 64MiB", |text| {
            size(text).filter(|bytes| *bytes > 0)
        })
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    fn networks(&mut self, name: &str) -> Option<Vec<Network>> {
        self.parsed(name, "addresses or ranges such as 10.0.0.0/8, separated by commas", |text| {
            text.split([',', ' ']).filter(|part| !part.is_empty()).map(Network::parse).collect()
        })
    }

    /// `false`, `0` and the like are off, every other text is on.
    fn switch(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| flag(text) != Some(false))
    }

    /// Only a clear yes is on: what such a flag opens should not open by a slip.
    fn flag(&mut self, name: &str) -> bool {
        let Some(text) = self.text(name) else {
            return false;
        };
        flag(text).unwrap_or_else(|| {
            self.refuse(Severity::Warning, name, text, "true or false; taken as false");
            false
        })
    }

    fn metrics_addr(&mut self) -> Option<SocketAddr> {
        let default = SocketAddr::from(([127, 0, 0, 1], 9464));
        match self.text("METRICS_ADDR") {
            None => Some(default),
            Some(text) if text.eq_ignore_ascii_case("off") => None,
            Some(_) => self.parsed("METRICS_ADDR", "address:port such as 127.0.0.1:9464, or off", |text| {
                text.strip_prefix(':')
                    .map_or_else(|| text.parse().ok(), |port| format!("0.0.0.0:{port}").parse().ok())
            }),
        }
    }

    fn database(&mut self) -> Database {
        if self.flag("DISABLE_DATABASE") {
            return Database::Off;
        }
        let url = self.text("DATABASE_URL");
        let kind = self.text("DB_TYPE").unwrap_or("sqlite").to_ascii_lowercase();
        match kind.as_str() {
            "postgres" | "postgresql" => Database::Postgres(Postgres {
                url: url.map(SecretText::from),
                host: self.text("DB_HOST").unwrap_or("localhost").to_owned(),
                port: self.number("DB_PORT", "a port from 1 to 65535").unwrap_or(5432),
                user: self.text("DB_USER").unwrap_or("postgres").to_owned(),
                password: self.text("DB_PASSWORD").unwrap_or("mysecretpassword").into(),
                name: self.text("DB_NAME").unwrap_or("postgres").to_owned(),
            }),
            "sqlite" => {
                if let Some(url) = url {
                    self.refuse(
                        Severity::Warning,
                        "DATABASE_URL",
                        url,
                        "counts only with DB_TYPE=postgres; not used",
                    );
                }
                Database::Sqlite(self.text("DB_PATH").unwrap_or("./data/stats.db").into())
            }
            other => {
                self.refuse(Severity::Error, "DB_TYPE", other, "sqlite or postgres");
                Database::Off
            }
        }
    }
}

/// A yes or no in any of its usual spellings.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "y" | "t" => Some(true),
        "false" | "0" | "no" | "off" | "n" | "f" | "" => Some(false),
        _ => None,
    }
}

/// Seconds as a duration of at most a century; negative and odd numbers are none.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    const CENTURY: f64 = 100.0 * 365.0 * 86_400.0;
    (number >= 0.0).then(|| Duration::try_from_secs_f64(number.min(CENTURY)).ok()).flatten()
}

/// Bytes from `20971520`, `20MB` or `20MiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (bytes.is_finite() && bytes < 1e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Environment, Vec<Problem>> {
        Environment::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn an_empty_environment_has_the_promised_defaults() {
        let environment = with(&[("CONFIG_URL", " "), ("PORT", "")]).unwrap();

        assert_eq!(
            (environment.host.as_str(), environment.port, environment.debug),
            ("0.0.0.0", 8000, false)
        );
        assert_eq!(environment.timeout, Duration::from_secs(100));
        assert_eq!(environment.database, Database::Sqlite("./data/stats.db".into()));
        assert_eq!(environment.config_url, None);
        assert_eq!(environment.metrics_addr, Some("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(environment.max_body_bytes, 67_108_864);
        assert_eq!(environment.drain_delay, Duration::ZERO);
    }

    #[test]
    fn every_bad_value_is_reported_at_once() {
        let problems = with(&[
            ("PORT", "http"),
            ("TIMEOUT", "0"),
            ("DB_TYPE", "mysql"),
            ("MAX_BODY_BYTES", "big"),
            ("TRUSTED_PROXIES", "10.0.0.0/40"),
            ("METRICS_ADDR", "localhost"),
        ])
        .unwrap_err();

        let names: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            names,
            ["PORT", "TIMEOUT", "DB_TYPE", "METRICS_ADDR", "MAX_BODY_BYTES", "TRUSTED_PROXIES"]
        );
    }

    #[test]
    fn debug_is_off_for_false_and_on_for_any_other_word() {
        for (text, on) in
            [("false", false), ("0", false), ("", false), ("1", true), ("True", true), ("verbose", true)]
        {
            assert_eq!(with(&[("DEBUG", text)]).unwrap().debug, on, "{text}");
        }
    }

    #[test]
    fn a_database_url_counts_only_with_postgres() {
        let url = ("DATABASE_URL", "postgres://user:pass@host/db");
        let ignored = with(&[url]).unwrap();
        let used = with(&[url, ("DB_TYPE", "postgres")]).unwrap();

        assert_eq!(ignored.database, Database::Sqlite("./data/stats.db".into()));
        assert_eq!(ignored.warnings[0].path, "DATABASE_URL");
        assert!(!ignored.warnings[0].to_string().contains("pass@"));
        let Database::Postgres(postgres) = used.database else { panic!("postgres") };
        assert_eq!(postgres.url.unwrap().expose(), url.1);
        assert_eq!((postgres.host.as_str(), postgres.port), ("localhost", 5432));
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let odd = with(&[("LOG_FORMAT", "xml"), ("LOG_LEVEL", "debug"), ("SECRETS_DIR", "/no/such/place")])
            .unwrap();
        let good = with(&[("LOG_FORMAT", "JSON"), ("SECRETS_DIR", "/")]).unwrap();

        let names: Vec<&str> = odd.warnings.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(names, ["LOG_FORMAT", "LOG_LEVEL", "SECRETS_DIR"]);
        assert!(good.warnings.is_empty());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let environment = with(&[
            ("API_YAML_CONTENT", "api: hunter2"),
            ("REDIS_URL", "redis://:hunter2@r"),
            ("DB_TYPE", "postgres"),
            ("DB_PASSWORD", "hunter2"),
        ])
        .unwrap();

        assert!(!format!("{environment:?}").contains("hunter2"));
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let network = Network::parse("10.1.0.0/16").unwrap();

        assert!(network.contains("10.1.255.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.0.9".parse().unwrap()));
        assert!(!network.contains("10.2.0.1".parse().unwrap()));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(Network::parse("::1").unwrap().contains("::1".parse().unwrap()));
    }

    #[test]
    fn sizes_take_their_units() {
        assert_eq!(size("20971520"), Some(20_971_520));
        assert_eq!(size("20MB"), Some(20_000_000));
        assert_eq!(size("1.5 MiB"), Some(1_572_864));
        assert_eq!(size("MB"), None);
        assert_eq!(size("1 parsec"), None);
        assert_eq!(size("99999999999999999999GB"), None);
    }

    #[test]
    fn an_orchestrator_gets_time_to_notice_the_drain() {
        let environment = with(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).unwrap();

        assert_eq!(environment.drain_delay, Duration::from_secs(5));
    }
}
