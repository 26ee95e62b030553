//! Reads the standard variables of OpenTelemetry that concern traces.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. A value that cannot be read is told
//! and counts as unset, as the specification wants it: no trace is worth a gateway that does not
//! start. Traces are sent when an endpoint is named, or `OTEL_TRACES_EXPORTER=otlp`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use layers::trace_context::Sampler;
use percent_encoding::percent_decode_str;

use super::Reader;
use crate::config::problem::Severity;
use crate::values::TraceSettings;

/// The prefix of the variables about sending; those of traces alone have a word more and win.
const OTLP: &str = "OTEL_EXPORTER_OTLP_";

/// Where a receiver on this machine listens, by the specification.
const HERE: &str = "http://localhost:4318";

/// Most records that may wait, whatever is asked for.
const MOST: usize = 1 << 20;

impl<'a> Reader<'a> {
    /// Whether, where and how traces are sent; none when they are not.
    pub(super) fn traces(&mut self) -> Option<TraceSettings> {
        let asked = match self.text("OTEL_TRACES_EXPORTER") {
            Some(text) if text.eq_ignore_ascii_case("otlp") => true,
            Some(text) if text.eq_ignore_ascii_case("none") => return None,
            Some(text) => {
                self.warn("OTEL_TRACES_EXPORTER", text, "otlp or none; no traces are sent");
                return None;
            }
            None => false,
        };
        let (of_traces, of_all) = (format!("{OTLP}TRACES_ENDPOINT"), format!("{OTLP}ENDPOINT"));
        let is_named = self.text(&of_traces).or(self.text(&of_all)).is_some();
        if !(asked || is_named) || self.flag("OTEL_SDK_DISABLED") {
            return None;
        }
        let endpoint = match self.text(&of_traces) {
            Some(text) => self.endpoint(&of_traces, text.to_owned()),
            None => {
                let base = self.text(&of_all).unwrap_or(HERE);
                self.endpoint(&of_all, format!("{}/v1/traces", base.trim_end_matches('/')))
            }
        }?;
        let (name, protocol) = self.of_traces("PROTOCOL");
        if let Some(text) = protocol.filter(|text| *text != "http/protobuf") {
            self.warn(&name, text, "http/protobuf, port 4318 mostly; no traces are sent");
            return None;
        }
        let (name, text) = self.of_traces("COMPRESSION");
        let gzip = match text {
            Some("gzip") => true,
            None | Some("none") => false,
            Some(text) => {
                self.warn(&name, text, "gzip or none; taken as none");
                false
            }
        };
        let (name, text) = self.of_traces("CERTIFICATE");
        if let Some(text) = text {
            self.warn(&name, text, "nothing, it has no effect: SSL_CERT_FILE names certificates to trust");
        }
        let (service, resource) = self.resource();
        Some(TraceSettings {
            endpoint,
            headers: self.headers(),
            timeout: self.milliseconds(&self.of_traces("TIMEOUT").0, 10_000),
            gzip,
            service,
            resource,
            sampler: self.sampler(),
            queue: self.count("OTEL_BSP_MAX_QUEUE_SIZE", 2048),
            batch: self.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
            delay: self.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5000),
        })
    }

    /// The variable about sending traces, or that about sending anything: the name that counts and its text.
    fn of_traces(&self, what: &str) -> (String, Option<&'a str>) {
        let (own, all) = (format!("{OTLP}TRACES_{what}"), format!("{OTLP}{what}"));
        match self.text(&own) {
            Some(text) => (own, Some(text)),
            None => {
                let text = self.text(&all);
                (all, text)
            }
        }
    }

    fn warn(&mut self, name: &str, text: &str, accepted: &str) {
        self.refuse(Severity::Warning, name, text, accepted);
    }

    fn endpoint(&mut self, name: &str, text: String) -> Option<Uri> {
        let is_url = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        let uri = text.parse().ok().filter(is_url);
        if uri.is_none() {
            let accepted = "an http(s):// URL, credentials in OTEL_EXPORTER_OTLP_HEADERS; no traces are sent";
            self.warn(name, &text, accepted);
        }
        uri
    }

    /// `name=value` with commas between them, values percent-encoded. What is no header is told
    /// without its text, which may hold a credential.
    fn headers(&mut self) -> HeaderMap {
        let (name, text) = self.of_traces("HEADERS");
        let mut headers = HeaderMap::new();
        let mut is_read = true;
        for pair in text.unwrap_or_default().split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let header = pair.split_once('=').and_then(|(name, value)| {
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
            });
            match header {
                Some((name, value)) => {
                    headers.insert(name, value);
                }
                None => is_read = false,
            }
        }
        if !is_read {
            self.warn(
                &name,
                "a part that is no header",
                "name=value with commas between; that part is left out",
            );
        }
        headers
    }

    /// The name of this service, and what else is told of it.
    fn resource(&mut self) -> (String, Vec<(String, String)>) {
        const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let text = self.text(NAME).unwrap_or_default();
        let mut attributes = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let decoded = |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
            let read = pair.split_once('=').and_then(|(key, value)| Some((decoded(key)?, decoded(value)?)));
            match read.filter(|(key, _)| !key.is_empty()) {
                Some(attribute) => attributes.push(attribute),
                None => self.warn(NAME, pair, "key=value with commas between; that part is left out"),
            }
        }
        let named = attributes.iter().position(|(key, _)| key == "service.name");
        let named = named.map(|at| attributes.remove(at).1);
        let service = self.text("OTEL_SERVICE_NAME").map(str::to_owned).or(named);
        (service.unwrap_or_else(|| "uni-api".to_owned()), attributes)
    }

    fn sampler(&mut self) -> Sampler {
        let named = self.text("OTEL_TRACES_SAMPLER").unwrap_or("parentbased_always_on");
        let (heeds_parent, rule) = match named.strip_prefix("parentbased_") {
            Some(rule) => (true, rule),
            None => (false, named),
        };
        match rule {
            "always_on" => Sampler::new(1.0, heeds_parent),
            "always_off" => Sampler::new(0.0, heeds_parent),
            "traceidratio" => Sampler::new(self.share(), heeds_parent),
            _ => {
                let accepted = "always_on, always_off, traceidratio, or one of them behind parentbased_; taken as \
                                parentbased_always_on";
                self.warn("OTEL_TRACES_SAMPLER", named, accepted);
                Sampler::new(1.0, true)
            }
        }
    }

    fn share(&mut self) -> f64 {
        const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(text) = self.text(NAME) else { return 1.0 };
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.unwrap_or_else(|| {
            self.warn(NAME, text, "a share from 0 to 1; taken as 1");
            1.0
        })
    }

    fn milliseconds(&mut self, name: &str, usual: u64) -> Duration {
        Duration::from_millis(self.whole(name, usual, u64::from(u32::MAX)))
    }

    fn count(&mut self, name: &str, usual: usize) -> usize {
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        usize::try_from(self.whole(name, u64::try_from(usual).unwrap_or(most), most)).unwrap_or(usual)
    }

    fn whole(&mut self, name: &str, usual: u64, most: u64) -> u64 {
        let Some(text) = self.text(name) else { return usual };
        text.parse().ok().filter(|number| (1..=most).contains(number)).unwrap_or_else(|| {
            self.warn(name, text, "a whole number, more than 0; not used");
            usual
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Problem};

    fn read(vars: &[(&str, &str)]) -> (Option<TraceSettings>, Vec<Problem>) {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Environment::from_vars(vars).expect("nothing here stops the start");
        (environment.traces, environment.warnings)
    }

    const THERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn traces_are_sent_only_where_an_endpoint_or_an_exporter_is_named() {
        for (vars, endpoint) in [
            (&[][..], None),
            (&[("OTEL_SERVICE_NAME", "x")][..], None),
            (&[("OTEL_TRACES_EXPORTER", "otlp")][..], Some("http://localhost:4318/v1/traces")),
            (&[THERE][..], Some("http://collector:4318/v1/traces")),
            (&[THERE, ("OTEL_TRACES_EXPORTER", "none")][..], None),
            (&[THERE, ("OTEL_SDK_DISABLED", "true")][..], None),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/x")][..], Some("https://c/x")),
            (&[THERE, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own/t")][..], Some("http://own/t")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c/otel/")][..], Some("http://c/otel/v1/traces")),
        ] {
            let (settings, warnings) = read(vars);
            let found = settings.map(|settings| settings.endpoint.to_string());
            assert_eq!((found.as_deref(), warnings.len()), (endpoint, 0), "{vars:?}");
        }
    }

    #[test]
    fn the_usual_values_are_those_of_the_specification() {
        let settings = read(&[THERE]).0.unwrap();

        assert_eq!((settings.timeout, settings.gzip), (Duration::from_secs(10), false));
        assert_eq!((settings.queue, settings.batch, settings.delay.as_secs()), (2048, 512, 5));
        assert_eq!((&*settings.service, settings.sampler), ("uni-api", Sampler::new(1.0, true)));
    }

    #[test]
    fn everything_can_be_said_and_what_is_said_of_traces_wins() {
        let settings = read(&[
            THERE,
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=general"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20secret, x-team = blue"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=a%2Cb"),
            ("OTEL_SERVICE_NAME", "edge"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ]);
        let (settings, warnings) = (settings.0.unwrap(), settings.1);

        assert_eq!(warnings, []);
        let headers: Vec<_> =
            settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("authorization", &b"Bearer secret"[..]), ("x-team", b"blue")]);
        assert_eq!((settings.timeout.as_millis(), settings.gzip, settings.queue), (1500, true, 10));
        assert_eq!(settings.service, "edge");
        assert_eq!(settings.resource, [("deployment.environment.name".to_owned(), "a,b".to_owned())]);
        assert_eq!(settings.sampler, Sampler::new(0.25, false));
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_stops_nothing() {
        for (name, value, sent) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", false),
            ("OTEL_TRACES_EXPORTER", "zipkin", false),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", false),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://me:hidden@collector", false),
            ("OTEL_EXPORTER_OTLP_HEADERS", "no-header sk-hidden", true),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", true),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", true),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", true),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", true),
        ] {
            let (settings, warnings) = read(&[THERE, (name, value)]);
            assert_eq!((settings.is_some(), warnings.len()), (sent, 1), "{name}={value} {warnings:?}");
            assert_eq!(warnings[0].path, name);
            assert!(!format!("{warnings:?}").contains("hidden"), "{warnings:?}");
        }
    }
}
