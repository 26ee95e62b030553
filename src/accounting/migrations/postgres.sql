CREATE TABLE IF NOT EXISTS request_stats (
    id BIGSERIAL PRIMARY KEY,
    request_id VARCHAR,
    endpoint VARCHAR,
    client_ip VARCHAR,
    process_time DOUBLE PRECISION,
    first_response_time DOUBLE PRECISION,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    is_flagged BOOLEAN,
    text TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    total_tokens INTEGER,
    prompt_price DOUBLE PRECISION,
    completion_price DOUBLE PRECISION,
    timestamp TIMESTAMP WITH TIME ZONE DEFAULT now()
);

CREATE TABLE IF NOT EXISTS channel_stats (
    id BIGSERIAL PRIMARY KEY,
    request_id VARCHAR,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    provider_api_key VARCHAR,
    success BOOLEAN,
    timestamp TIMESTAMP WITH TIME ZONE DEFAULT now()
);

CREATE INDEX IF NOT EXISTS ix_request_stats_timestamp ON request_stats (timestamp);

CREATE INDEX IF NOT EXISTS ix_channel_stats_timestamp ON channel_stats (timestamp);

CREATE TABLE IF NOT EXISTS usage_hours (
    hour BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    attempt_successes BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    cost_picodollars BIGINT NOT NULL,
    PRIMARY KEY (hour, key_id, channel, model)
);

CREATE TABLE IF NOT EXISTS credit_grants (
    id BIGSERIAL PRIMARY KEY,
    key_id TEXT NOT NULL,
    amount_picodollars BIGINT NOT NULL,
    granted_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS ledger_notes (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
