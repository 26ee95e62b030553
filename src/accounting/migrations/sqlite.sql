CREATE TABLE IF NOT EXISTS request_stats (
    id INTEGER NOT NULL PRIMARY KEY,
    request_id VARCHAR,
    endpoint VARCHAR,
    client_ip VARCHAR,
    process_time FLOAT,
    first_response_time FLOAT,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    is_flagged BOOLEAN,
    text TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    total_tokens INTEGER,
    prompt_price FLOAT,
    completion_price FLOAT,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS channel_stats (
    id INTEGER NOT NULL PRIMARY KEY,
    request_id VARCHAR,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    provider_api_key VARCHAR,
    success BOOLEAN,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX IF NOT EXISTS ix_request_stats_timestamp ON request_stats (timestamp);

CREATE INDEX IF NOT EXISTS ix_channel_stats_timestamp ON channel_stats (timestamp);

CREATE TABLE IF NOT EXISTS usage_hours (
    hour INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    attempt_successes INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    cost_picodollars INTEGER NOT NULL,
    PRIMARY KEY (hour, key_id, channel, model)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS credit_grants (
    id INTEGER NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    amount_picodollars INTEGER NOT NULL,
    granted_at INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS ledger_notes (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
