//! The series that `/metrics` may hold: the one table of their names, units and buckets.

use metrics::Unit;

/// The behaviour of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesType {
    /// Grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Sorted into buckets.
    Histogram,
}

/// A series that `/metrics` may hold.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// Its exact name.
    pub name: &'static str,
    /// Its kind.
    pub series_type: SeriesType,
    /// What it is measured in; the name says it too.
    pub unit: Unit,
    /// Upper bounds, for histograms.
    pub buckets: &'static [f64],
    /// What it says.
    pub help: &'static str,
}

pub(super) const fn counter(name: &'static str, help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Counter, unit: Unit::Count, buckets: &[], help }
}

pub(super) const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Gauge, unit, buckets: &[], help }
}

pub(super) const fn histogram(
    name: &'static str,
    unit: Unit,
    buckets: &'static [f64],
    help: &'static str,
) -> Series {
    Series { name, series_type: SeriesType::Histogram, unit, buckets, help }
}

const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 300.0, 600.0];
const FIRST_TOKEN: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const OVERHEAD: &[f64] = &[
    5e-6, 10e-6, 20e-6, 30e-6, 40e-6, 60e-6, 80e-6, 100e-6, 150e-6, 200e-6, 300e-6, 500e-6, 1e-3, 2e-3, 5e-3,
    10e-3, 100e-3,
];

/// Requests by what became of them.
pub const REQUESTS: Series =
    counter("uni_api_requests_total", "Requests by operation, model, outcome and status class.");
/// Requests that are being served.
pub const IN_FLIGHT: Series =
    gauge("uni_api_requests_in_flight", Unit::Count, "Requests whose answer has not ended.");
/// Event streams that are open.
pub const STREAMS: Series = gauge("uni_api_streams_open", Unit::Count, "Event streams open to clients.");
/// How long requests take.
pub const DURATION: Series = histogram(
    "uni_api_request_duration_seconds",
    Unit::Seconds,
    SECONDS,
    "Time from the request line to the end of the answer.",
);
/// What the gateway adds.
pub const OVERHEAD_TIME: Series = histogram(
    "uni_api_overhead_seconds",
    Unit::Seconds,
    OVERHEAD,
    "Time until the answer was accepted that was not spent waiting for an upstream.",
);
/// Tries by how they ended.
pub const ATTEMPTS: Series = counter("uni_api_attempts_total", "Attempts by channel, model and outcome.");
/// How long tries take.
pub const ATTEMPT_DURATION: Series = histogram(
    "uni_api_attempt_duration_seconds",
    Unit::Seconds,
    SECONDS,
    "Time until an attempt was accepted or had failed, by channel and model.",
);
/// Tokens by kind.
pub const TOKENS_TOTAL: Series = counter(
    "uni_api_tokens_total",
    "Tokens as upstreams told them; input holds cache_read and cache_write, output holds reasoning.",
);
/// Money spent.
pub const COST: Series = counter("uni_api_cost_usd_total", "Cost of requests in US dollars.");
/// Answers without usage.
pub const ESTIMATED: Series =
    counter("uni_api_usage_missing_total", "Answers that came without usage, charged by an estimate.");
/// Records that wait for the database.
pub const LEDGER_QUEUE: Series =
    gauge("uni_api_ledger_queue_depth", Unit::Count, "Records that wait for the database.");
/// Records that found no room.
pub const LEDGER_DROPPED: Series =
    counter("uni_api_ledger_dropped_total", "Detail rows dropped; their tokens and cost are in the sums.");
/// Records that are stored.
pub const LEDGER_WRITTEN: Series = counter("uni_api_ledger_written_total", "Records stored.");
/// Whether the database is open.
pub const LEDGER_UP: Series =
    gauge("uni_api_ledger_up", Unit::Count, "1 while the database is open, else 0.");
/// Log lines that found no room.
pub const LOG_DROPPED: Series =
    counter("uni_api_log_dropped_total", "Log lines dropped because the log was behind.");
/// Whether the last reload worked.
pub const RELOAD_SUCCESS: Series = gauge(
    "uni_api_config_reload_success",
    Unit::Count,
    "1 when the last configuration that was read could be used, else 0.",
);
/// When the configuration was last replaced.
pub const RELOAD_TIME: Series = gauge(
    "uni_api_config_reload_timestamp_seconds",
    Unit::Seconds,
    "Unix time at which the configuration that is served was loaded.",
);
/// Which configuration is served.
pub const CONFIG: Series =
    gauge("uni_api_config_info", Unit::Count, "1, with the hash of the configuration served.");
/// Which program this is.
pub const BUILD: Series = gauge("uni_api_build_info", Unit::Count, "1, with the version of this program.");
/// Memory.
pub const MEMORY: Series = gauge("process_resident_memory_bytes", Unit::Bytes, "Resident memory.");
/// When the program started.
pub const STARTED: Series =
    gauge("process_start_time_seconds", Unit::Seconds, "Unix time at which the program started.");
/// Requests let in.
pub const PERMITS_USED: Series =
    gauge("uni_api_admission_permits_used", Unit::Count, "Requests that hold a permit of admission.");
/// Requests that may be let in.
pub const PERMITS_LIMIT: Series =
    gauge("uni_api_admission_permits_limit", Unit::Count, "Requests that may hold a permit of admission.");
/// Bytes of buffered bodies.
pub const BYTES_USED: Series =
    gauge("uni_api_admission_buffer_bytes_used", Unit::Bytes, "Bytes held for buffered bodies.");
/// Bytes that may be buffered.
pub const BYTES_LIMIT: Series =
    gauge("uni_api_admission_buffer_bytes_limit", Unit::Bytes, "Bytes that may be held for buffered bodies.");
/// Requests refused at the door.
pub const REFUSED: Series = counter(
    "uni_api_admission_refused_total",
    "Requests refused because permits or buffer bytes were used up.",
);
/// Tokens under the name that stock dashboards use.
pub const GENAI_TOKENS: Series =
    histogram("gen_ai_client_token_usage", Unit::Count, TOKENS, "Tokens of one request, by type.");
/// Duration under the name that stock dashboards use.
pub const GENAI_DURATION: Series = histogram(
    "gen_ai_server_request_duration_seconds",
    Unit::Seconds,
    SECONDS,
    "Duration of a request; error_type is empty when it went well.",
);
/// Time to the first token under the name that stock dashboards use.
pub const GENAI_FIRST_TOKEN: Series = histogram(
    "gen_ai_server_time_to_first_token_seconds",
    Unit::Seconds,
    FIRST_TOKEN,
    "Time from the request line to the first content of a stream.",
);

/// Everything that a scrape may hold.
pub const SERIES: &[Series] = &[
    REQUESTS,
    IN_FLIGHT,
    STREAMS,
    DURATION,
    OVERHEAD_TIME,
    ATTEMPTS,
    ATTEMPT_DURATION,
    TOKENS_TOTAL,
    COST,
    ESTIMATED,
    LEDGER_QUEUE,
    LEDGER_DROPPED,
    LEDGER_WRITTEN,
    LEDGER_UP,
    LOG_DROPPED,
    RELOAD_SUCCESS,
    RELOAD_TIME,
    CONFIG,
    BUILD,
    MEMORY,
    STARTED,
    PERMITS_USED,
    PERMITS_LIMIT,
    BYTES_USED,
    BYTES_LIMIT,
    REFUSED,
    GENAI_TOKENS,
    GENAI_DURATION,
    GENAI_FIRST_TOKEN,
];
