//! The series that `/metrics` may hold: the one table of their names, labels, units and buckets, which
//! `docs/metrics.md` repeats for people.

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
    /// The labels of its samples.
    pub labels: &'static [&'static str],
    /// Upper bounds, for histograms.
    pub buckets: &'static [f64],
    /// What it says.
    pub help: &'static str,
}

type Labels = &'static [&'static str];

const fn counter(name: &'static str, labels: Labels, help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Counter, unit: Unit::Count, labels, buckets: &[], help }
}

const fn gauge(name: &'static str, unit: Unit, labels: Labels, help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Gauge, unit, labels, buckets: &[], help }
}

const fn histogram(
    name: &'static str,
    unit: Unit,
    labels: Labels,
    buckets: &'static [f64],
    help: &'static str,
) -> Series {
    Series { name, series_type: SeriesType::Histogram, unit, labels, buckets, help }
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
const PER_TOKEN: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const CONNECTING: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Requests that ended, refused ones too.
pub const REQUESTS: Series = counter(
    "uni_api_requests_total",
    &["operation", "model", "outcome", "status"],
    "Requests that ended, refused ones too.",
);
/// Requests whose answer has not ended.
pub const IN_FLIGHT: Series =
    gauge("uni_api_requests_in_flight", Unit::Count, &[], "Requests whose answer has not ended.");
/// Event streams open to clients.
pub const STREAMS: Series = gauge("uni_api_streams_open", Unit::Count, &[], "Event streams open to clients.");
/// Time from the request line to the end of the answer.
pub const DURATION: Series = histogram(
    "uni_api_request_duration_seconds",
    Unit::Seconds,
    &["operation"],
    SECONDS,
    "Time from the request line to the end of the answer.",
);
/// Time until the answer was accepted that was not spent waiting for others.
pub const OVERHEAD_TIME: Series = histogram(
    "uni_api_overhead_seconds",
    Unit::Seconds,
    &["operation"],
    OVERHEAD,
    "Time until the answer was accepted that was not spent waiting for others.",
);
/// The same by stage: until the first attempt, and from there until the answer was accepted.
pub const STAGE_TIME: Series = histogram(
    "uni_api_stage_overhead_seconds",
    Unit::Seconds,
    &["stage"],
    OVERHEAD,
    "The same by stage: until the first attempt, and from there until the answer was accepted.",
);
/// Requests that were refused without an attempt.
pub const REFUSED_REQUESTS: Series =
    counter("uni_api_refused_requests_total", &["reason"], "Requests that were refused without an attempt.");
/// Requests that took more than one attempt.
pub const RETRIED: Series =
    counter("uni_api_retried_requests_total", &["result"], "Requests that took more than one attempt.");
/// Connections of clients that are open.
pub const CONNECTIONS: Series =
    gauge("uni_api_client_connections", Unit::Count, &["runtime"], "Connections of clients that are open.");
/// Attempts by how they ended.
pub const ATTEMPTS: Series =
    counter("uni_api_attempts_total", &["channel", "outcome"], "Attempts by how they ended.");
/// Time until an attempt was accepted or had failed.
pub const ATTEMPT_DURATION: Series = histogram(
    "uni_api_attempt_duration_seconds",
    Unit::Seconds,
    &["channel"],
    SECONDS,
    "Time until an attempt was accepted or had failed.",
);
/// Time that opening a connection to an upstream takes, TLS and proxies included.
pub const CONNECT_TIME: Series = histogram(
    "uni_api_upstream_connect_seconds",
    Unit::Seconds,
    &["result"],
    CONNECTING,
    "Time that opening a connection to an upstream takes, TLS and proxies included.",
);
/// Models of a channel, each of its places counted.
pub const CHANNEL_MODELS: Series = gauge(
    "uni_api_channel_models",
    Unit::Count,
    &["channel"],
    "Models of a channel, each of its places counted.",
);
/// Models of a channel that cool.
pub const CHANNEL_MODELS_COOLING: Series =
    gauge("uni_api_channel_models_cooling", Unit::Count, &["channel"], "Models of a channel that cool.");
/// Provider keys of a channel.
pub const CHANNEL_KEYS: Series =
    gauge("uni_api_channel_keys", Unit::Count, &["channel"], "Provider keys of a channel.");
/// Provider keys of a channel that cool.
pub const CHANNEL_KEYS_COOLING: Series =
    gauge("uni_api_channel_keys_cooling", Unit::Count, &["channel"], "Provider keys of a channel that cool.");
/// Models of the configuration.
pub const MODELS: Series = gauge("uni_api_models", Unit::Count, &[], "Models of the configuration.");
/// Models that cool on every channel that has them.
pub const MODELS_COOLING: Series =
    gauge("uni_api_models_cooling", Unit::Count, &[], "Models that cool on every channel that has them.");
/// Model lists that were fetched.
pub const DISCOVERIES: Series =
    counter("uni_api_discoveries_total", &["result"], "Model lists that were fetched.");
/// Tokens of service accounts that were fetched.
pub const TOKEN_RENEWALS: Series =
    counter("uni_api_token_renewals_total", &["result"], "Tokens of service accounts that were fetched.");
/// Tokens as upstreams told them; input holds cache_read and cache_write, output holds reasoning.
pub const TOKENS_TOTAL: Series = counter(
    "uni_api_tokens_total",
    &["operation", "model", "kind"],
    "Tokens as upstreams told them; input holds cache_read and cache_write, output holds reasoning.",
);
/// What was charged, in US dollars.
pub const COST: Series =
    counter("uni_api_cost_usd_total", &["operation", "model"], "What was charged, in US dollars.");
/// Answers that came without usage, charged by an estimate.
pub const ESTIMATED: Series = counter(
    "uni_api_usage_missing_total",
    &["operation", "model"],
    "Answers that came without usage, charged by an estimate.",
);
/// Credits of a client key in US dollars, grants included.
pub const CALLER_CREDITS: Series = gauge(
    "uni_api_caller_credits_usd",
    Unit::Count,
    &["caller"],
    "Credits of a client key in US dollars, grants included.",
);
/// What is left of the credits of a client key, in US dollars.
pub const CALLER_BALANCE: Series = gauge(
    "uni_api_caller_balance_usd",
    Unit::Count,
    &["caller"],
    "What is left of the credits of a client key, in US dollars.",
);
/// What a client key has spent in the time that its balance covers, in US dollars.
pub const CALLER_SPENT: Series = gauge(
    "uni_api_caller_spent_usd",
    Unit::Count,
    &["caller"],
    "What a client key has spent in the time that its balance covers, in US dollars.",
);
/// Requests that a window of a client key admits.
pub const CALLER_WINDOW_LIMIT: Series = gauge(
    "uni_api_caller_window_limit",
    Unit::Count,
    &["caller", "period_seconds"],
    "Requests that a window of a client key admits.",
);
/// Requests that are left in a window of a client key.
pub const CALLER_WINDOW_REMAINING: Series = gauge(
    "uni_api_caller_window_remaining",
    Unit::Count,
    &["caller", "period_seconds"],
    "Requests that are left in a window of a client key.",
);
/// Requests that a window over all client keys admits.
pub const GATEWAY_WINDOW_LIMIT: Series = gauge(
    "uni_api_gateway_window_limit",
    Unit::Count,
    &["period_seconds"],
    "Requests that a window over all client keys admits.",
);
/// Requests that are left in a window over all client keys.
pub const GATEWAY_WINDOW_REMAINING: Series = gauge(
    "uni_api_gateway_window_remaining",
    Unit::Count,
    &["period_seconds"],
    "Requests that are left in a window over all client keys.",
);
/// Tokens of one request, by type.
pub const GENAI_TOKENS: Series = histogram(
    "gen_ai_client_token_usage",
    Unit::Count,
    &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"],
    TOKENS,
    "Tokens of one request, by type.",
);
/// Duration of a request; error_type is empty when it went well.
pub const GENAI_DURATION: Series = histogram(
    "gen_ai_server_request_duration_seconds",
    Unit::Seconds,
    &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"],
    SECONDS,
    "Duration of a request; error_type is empty when it went well.",
);
/// Time from the request line to the first content of a stream.
pub const GENAI_FIRST_TOKEN: Series = histogram(
    "gen_ai_server_time_to_first_token_seconds",
    Unit::Seconds,
    &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"],
    FIRST_TOKEN,
    "Time from the request line to the first content of a stream.",
);
/// Average time between the tokens of a stream, from its first content to its end.
pub const GENAI_PER_TOKEN: Series = histogram(
    "gen_ai_server_time_per_output_token_seconds",
    Unit::Seconds,
    &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"],
    PER_TOKEN,
    "Average time between the tokens of a stream, from its first content to its end.",
);
/// 1, with the version of this program.
pub const BUILD: Series = gauge(
    "uni_api_build_info",
    Unit::Count,
    &["version", "os", "arch"],
    "1, with the version of this program.",
);
/// 1, with the hash of the configuration served.
pub const CONFIG: Series =
    gauge("uni_api_config_info", Unit::Count, &["hash"], "1, with the hash of the configuration served.");
/// 1 when the last configuration that was read could be used, else 0.
pub const RELOAD_SUCCESS: Series = gauge(
    "uni_api_config_reload_success",
    Unit::Count,
    &[],
    "1 when the last configuration that was read could be used, else 0.",
);
/// Unix time at which the configuration that is served was loaded.
pub const RELOAD_TIME: Series = gauge(
    "uni_api_config_reload_timestamp_seconds",
    Unit::Seconds,
    &[],
    "Unix time at which the configuration that is served was loaded.",
);
/// Configurations that were read, or could not be.
pub const RELOADS: Series =
    counter("uni_api_config_reloads_total", &["result"], "Configurations that were read, or could not be.");
/// 0 while the source of the configuration is gone, empty or cannot be reached, else 1.
pub const SOURCE_UP: Series = gauge(
    "uni_api_config_source_up",
    Unit::Count,
    &[],
    "0 while the source of the configuration is gone, empty or cannot be reached, else 1.",
);
/// Records that wait for the database.
pub const LEDGER_QUEUE: Series =
    gauge("uni_api_ledger_queue_depth", Unit::Count, &[], "Records that wait for the database.");
/// Detail rows dropped; their tokens and cost are in the sums.
pub const LEDGER_DROPPED: Series = counter(
    "uni_api_ledger_dropped_total",
    &[],
    "Detail rows dropped; their tokens and cost are in the sums.",
);
/// Records stored.
pub const LEDGER_WRITTEN: Series = counter("uni_api_ledger_written_total", &[], "Records stored.");
/// 1 while the database is open, else 0.
pub const LEDGER_UP: Series =
    gauge("uni_api_ledger_up", Unit::Count, &[], "1 while the database is open, else 0.");
/// Log lines dropped because the log was behind.
pub const LOG_DROPPED: Series =
    counter("uni_api_log_dropped_total", &[], "Log lines dropped because the log was behind.");
/// Log lines that wait to be written.
pub const LOG_WAITING: Series =
    gauge("uni_api_log_waiting_bytes", Unit::Bytes, &[], "Log lines that wait to be written.");
/// Spans that the receiver of traces took.
pub const SPANS_EXPORTED: Series =
    counter("uni_api_spans_exported_total", &[], "Spans that the receiver of traces took.");
/// Spans that were lost.
pub const SPANS_DROPPED: Series =
    counter("uni_api_spans_dropped_total", &["reason"], "Spans that were lost.");
/// Spans that wait to be sent.
pub const SPANS_WAITING: Series =
    gauge("uni_api_spans_waiting", Unit::Count, &[], "Spans that wait to be sent.");
/// Requests that hold a permit of admission.
pub const PERMITS_USED: Series =
    gauge("uni_api_admission_permits_used", Unit::Count, &[], "Requests that hold a permit of admission.");
/// Requests that may hold a permit of admission.
pub const PERMITS_LIMIT: Series = gauge(
    "uni_api_admission_permits_limit",
    Unit::Count,
    &[],
    "Requests that may hold a permit of admission.",
);
/// Bytes held for buffered bodies.
pub const BYTES_USED: Series =
    gauge("uni_api_admission_buffer_bytes_used", Unit::Bytes, &[], "Bytes held for buffered bodies.");
/// Bytes that may be held for buffered bodies.
pub const BYTES_LIMIT: Series = gauge(
    "uni_api_admission_buffer_bytes_limit",
    Unit::Bytes,
    &[],
    "Bytes that may be held for buffered bodies.",
);
/// Requests refused because permits or buffer bytes were used up.
pub const REFUSED: Series = counter(
    "uni_api_admission_refused_total",
    &[],
    "Requests refused because permits or buffer bytes were used up.",
);
/// Tasks that are alive.
pub const RUNTIME_TASKS: Series =
    gauge("uni_api_runtime_tasks", Unit::Count, &["runtime"], "Tasks that are alive.");
/// Tasks that wait to be run.
pub const RUNTIME_QUEUE: Series =
    gauge("uni_api_runtime_queue_depth", Unit::Count, &["runtime"], "Tasks that wait to be run.");
/// Time spent running tasks.
pub const RUNTIME_BUSY: Series = Series {
    unit: Unit::Seconds,
    ..counter("uni_api_runtime_busy_seconds_total", &["runtime"], "Time spent running tasks.")
};
/// Memory that the process may take.
pub const MEMORY_LIMIT: Series =
    gauge("uni_api_memory_limit_bytes", Unit::Bytes, &[], "Memory that the process may take.");
/// Resident memory.
pub const RESIDENT: Series = gauge("process_resident_memory_bytes", Unit::Bytes, &[], "Resident memory.");
/// Virtual memory.
pub const VIRTUAL: Series = gauge("process_virtual_memory_bytes", Unit::Bytes, &[], "Virtual memory.");
/// Processor time, of the user and of the system.
pub const CPU: Series = Series {
    unit: Unit::Seconds,
    ..counter("process_cpu_seconds_total", &[], "Processor time, of the user and of the system.")
};
/// Open file descriptors.
pub const OPEN_FILES: Series = gauge("process_open_fds", Unit::Count, &[], "Open file descriptors.");
/// File descriptors that may be open.
pub const MOST_FILES: Series =
    gauge("process_max_fds", Unit::Count, &[], "File descriptors that may be open.");
/// Threads.
pub const THREADS: Series = gauge("process_threads", Unit::Count, &[], "Threads.");
/// Unix time at which the program started.
pub const STARTED: Series =
    gauge("process_start_time_seconds", Unit::Seconds, &[], "Unix time at which the program started.");

/// Everything that a scrape may hold.
pub const SERIES: &[Series] = &[
    REQUESTS,
    IN_FLIGHT,
    STREAMS,
    DURATION,
    OVERHEAD_TIME,
    STAGE_TIME,
    REFUSED_REQUESTS,
    RETRIED,
    CONNECTIONS,
    ATTEMPTS,
    ATTEMPT_DURATION,
    CONNECT_TIME,
    CHANNEL_MODELS,
    CHANNEL_MODELS_COOLING,
    CHANNEL_KEYS,
    CHANNEL_KEYS_COOLING,
    MODELS,
    MODELS_COOLING,
    DISCOVERIES,
    TOKEN_RENEWALS,
    TOKENS_TOTAL,
    COST,
    ESTIMATED,
    CALLER_CREDITS,
    CALLER_BALANCE,
    CALLER_SPENT,
    CALLER_WINDOW_LIMIT,
    CALLER_WINDOW_REMAINING,
    GATEWAY_WINDOW_LIMIT,
    GATEWAY_WINDOW_REMAINING,
    GENAI_TOKENS,
    GENAI_DURATION,
    GENAI_FIRST_TOKEN,
    GENAI_PER_TOKEN,
    BUILD,
    CONFIG,
    RELOAD_SUCCESS,
    RELOAD_TIME,
    RELOADS,
    SOURCE_UP,
    LEDGER_QUEUE,
    LEDGER_DROPPED,
    LEDGER_WRITTEN,
    LEDGER_UP,
    LOG_DROPPED,
    LOG_WAITING,
    SPANS_EXPORTED,
    SPANS_DROPPED,
    SPANS_WAITING,
    PERMITS_USED,
    PERMITS_LIMIT,
    BYTES_USED,
    BYTES_LIMIT,
    REFUSED,
    RUNTIME_TASKS,
    RUNTIME_QUEUE,
    RUNTIME_BUSY,
    MEMORY_LIMIT,
    RESIDENT,
    VIRTUAL,
    CPU,
    OPEN_FILES,
    MOST_FILES,
    THREADS,
    STARTED,
];
