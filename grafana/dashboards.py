"""Writes what is generated here: the dashboards, and the rules as the object that Prometheus' operator reads.

usage: dashboards.py [--check]
With --check nothing is written; what differs from what would be is named, and the exit code is 1.

A dashboard is a list of rows of panels below; how a panel looks is decided once, in `panels.py`.
"""

import json
import pathlib
import sys

from panels import (
    BAD, GOOD, WARN, Query, bars, board, increase, part_of, quantile, rate, row, select, share, stat, table, timeseries,
)

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE.parent / "deploy/kubernetes/prometheus-rule/rules.yaml"

# Not the client's fault: an answer that broke off, an upstream or the gateway that failed, or keys that were used up.
FAILED = (
    f"(sum({rate('uni_api_requests_total', outcome='!~ok|client_gone', status='=~2xx|5xx', operation='!=models')}) or vector(0))"
    f" + (sum({rate('uni_api_requests_total', outcome='=~upstream_rate_limited|keys_exhausted', status='4xx')}) or vector(0))"
)
SERVED = f"(sum({rate('uni_api_requests_total', outcome='=~ok|client_gone', operation='!=models')}) or vector(0))"


def latency(series, by=(), **labels):
    """The usual three quantiles of a histogram."""
    return [Query(quantile(q, series, by, **labels), name) for q, name in ((0.5, "50 %"), (0.95, "95 %"), (0.99, "99 %"))]


def overview():
    rows = [
        row("Now", [
            stat("Requests", "Requests that ended, per second, refused ones too.",
                 Query(f"sum({rate('uni_api_requests_total')})"), "reqps"),
            stat("Failing", "Share of requests that failed though the client did nothing wrong. What clients did wrong is not counted at all.",
                 Query(share(f"({FAILED})", f"({FAILED} + {SERVED})")), "percentunit",
                 [(GOOD, None), (WARN, 0.01), (BAD, 0.05)]),
            stat("In flight", "Requests whose answer has not ended.",
                 Query(f"sum({select('uni_api_requests_in_flight')})")),
            stat("Open streams", "Event streams open to clients.",
                 Query(f"sum({select('uni_api_streams_open')})")),
            stat("First token, 95 %", "From the request line to the first content of a stream.",
                 Query(quantile(0.95, "gen_ai_server_time_to_first_token_seconds")), "s",
                 [(GOOD, None), (WARN, 2.5), (BAD, 5)]),
            stat("Own overhead, 99 %", "Time until an answer was accepted that was not spent waiting for others.",
                 Query(quantile(0.99, "uni_api_overhead_seconds")), "s",
                 [(GOOD, None), (WARN, 0.002), (BAD, 0.01)]),
            stat("Models out", "Models that cool on every channel that has them: they are tried all the same, but likely fail.",
                 Query(f"sum({select('uni_api_models_cooling')})"), "none", [(GOOD, None), (BAD, 1)]),
            stat("Gateways", "Processes that are scraped.", Query(f"count({select('uni_api_build_info')})")),
        ], height=4),
        row("Traffic", [
            timeseries("Requests by status", "What clients got. 2xx holds streams that broke off later; see the next panel.",
                       Query(f"sum by (status) ({rate('uni_api_requests_total')})", "{{status}}"), unit="reqps", stack=True,
                       colors={"2xx": GOOD, "4xx": WARN, "5xx": BAD}),
            timeseries("Requests that did not go well, by outcome", "The words are explained in docs/logs-and-statistics.md.",
                       Query(f"sum by (outcome) ({rate('uni_api_requests_total', outcome='!=ok')}) > 0", "{{outcome}}"),
                       unit="reqps", stack=True),
            timeseries("Requests by operation", "",
                       Query(f"sum by (operation) ({rate('uni_api_requests_total')})", "{{operation}}"), unit="reqps", stack=True),
            timeseries("Refused without an attempt, by reason", "",
                       Query(f"sum by (reason) ({rate('uni_api_refused_requests_total')}) > 0", "{{reason}}"), unit="reqps", stack=True),
            timeseries("Requests that took more than one attempt", "ok: failover served them all the same.",
                       Query(f"sum by (result) ({rate('uni_api_retried_requests_total')})", "{{result}}"), unit="reqps", stack=True,
                       colors={"ok": GOOD, "failed": BAD}),
            table("Models in this time", "The twenty that were asked most.", "model", [
                ("Requests", "none", Query(f"topk(20, sum by (model) ({increase('uni_api_requests_total')}))")),
                ("Went well", "percentunit", Query(part_of(
                    f"sum by (model) ({increase('uni_api_requests_total', outcome='ok')})",
                    f"sum by (model) ({increase('uni_api_requests_total')})"))),
                ("Cost", "currencyUSD", Query(f"sum by (model) ({increase('uni_api_cost_usd_total')})")),
            ]),
        ]),
        row("Latency and overhead", [
            timeseries("Duration of requests", "From the request line to the end of the answer; of streams it is mostly the model's.",
                       *latency("uni_api_request_duration_seconds"), unit="s"),
            timeseries("Duration by operation, 95 %", "",
                       Query(quantile(0.95, "uni_api_request_duration_seconds", by=("operation",)), "{{operation}}"), unit="s"),
            timeseries("Own overhead", "What the gateway adds to the time until an answer was accepted.",
                       *latency("uni_api_overhead_seconds"), unit="s"),
            timeseries("Own overhead by stage, 99 %", "request: until the first attempt. attempts: from there until an answer was accepted.",
                       Query(quantile(0.99, "uni_api_stage_overhead_seconds", by=("stage",)), "{{stage}}"), unit="s"),
            timeseries("Opening a connection to an upstream", "Name, TCP, TLS and proxies. Most requests find one open.",
                       *latency("uni_api_upstream_connect_seconds", result='ok'), unit="s"),
            timeseries("Connections opened to upstreams", "",
                       Query(f"sum by (result) ({rate('uni_api_upstream_connect_seconds_count')})", "{{result}}"),
                       unit="ops", stack=True, colors={"ok": GOOD, "failed": BAD}),
        ]),
        row("Streaming", [
            timeseries("Time to the first token", "From the request line to the first content of a stream.",
                       *latency("gen_ai_server_time_to_first_token_seconds"), unit="s"),
            timeseries("Time per output token", "Between the tokens of a stream, on average over each stream.",
                       *latency("gen_ai_server_time_per_output_token_seconds"), unit="s"),
            timeseries("First token by model, 95 %", "The first twenty models that are used have series of their own.",
                       Query(quantile(0.95, "gen_ai_server_time_to_first_token_seconds", by=("gen_ai_request_model",)),
                             "{{gen_ai_request_model}}"), unit="s"),
            timeseries("Open streams", "",
                       Query(f"sum by (instance) ({select('uni_api_streams_open')})", "{{instance}}"), stack=True),
            timeseries("Answers that broke off after their start", "The client got an error within the answer, because something was delivered already.",
                       Query(f"sum by (outcome) ({rate('uni_api_requests_total', status='2xx', outcome='!~ok|client_gone')}) > 0",
                             "{{outcome}}"), unit="reqps", stack=True),
            timeseries("Clients that left before the end", "Their own timeout, or somebody who pressed stop.",
                       Query(f"sum by (operation) ({rate('uni_api_requests_total', outcome='client_gone')})", "{{operation}}"),
                       unit="reqps", stack=True),
        ]),
        row("The process", [
            timeseries("Memory", "",
                       Query(select("process_resident_memory_bytes"), "resident, {{instance}}"),
                       Query(select("uni_api_memory_limit_bytes"), "limit, {{instance}}"), unit="bytes", dashed="limit.*"),
            timeseries("Processor", "Cores in use; and the share of its time that each thread for requests was busy.",
                       Query(rate("process_cpu_seconds_total"), "cores, {{instance}}"),
                       Query(rate("uni_api_runtime_busy_seconds_total"), "{{runtime}}, {{instance}}"), unit="none"),
            timeseries("Room at the door", "Share of permits and of bytes for buffered bodies that is taken. At 1 requests are refused.",
                       Query(share(select("uni_api_admission_permits_used"), select("uni_api_admission_permits_limit")),
                             "permits, {{instance}}"),
                       Query(share(select("uni_api_admission_buffer_bytes_used"), select("uni_api_admission_buffer_bytes_limit")),
                             "bytes, {{instance}}"),
                       Query(share(select("process_open_fds"), select("process_max_fds")), "files, {{instance}}"),
                       unit="percentunit"),
            timeseries("Refused because too much was going on", "",
                       Query(rate("uni_api_admission_refused_total"), "{{instance}}"), unit="reqps", stack=True),
            timeseries("Connections, tasks and threads", "",
                       Query(f"sum by (instance) ({select('uni_api_client_connections')})", "connections of clients, {{instance}}"),
                       Query(f"sum by (instance) ({select('uni_api_runtime_tasks')})", "tasks, {{instance}}"),
                       Query(f"sum by (instance) ({select('uni_api_runtime_queue_depth')})", "tasks that wait, {{instance}}"),
                       Query(select("process_threads"), "threads, {{instance}}")),
            timeseries("Statistics on their way to the database", "What waits; and how many are stored or lost per second.",
                       Query(select("uni_api_ledger_queue_depth"), "wait, {{instance}}"),
                       Query(rate("uni_api_ledger_written_total"), "stored, {{instance}}"),
                       Query(rate("uni_api_ledger_dropped_total"), "lost, {{instance}}")),
            timeseries("The log on its way", "Bytes that wait, and lines that were lost per second because the log's reader was behind.",
                       Query(select("uni_api_log_waiting_bytes"), "bytes wait, {{instance}}"),
                       Query(rate("uni_api_log_dropped_total"), "lines lost, {{instance}}")),
            timeseries("Traces on their way", "Spans that wait, and those that were sent or lost per second.",
                       Query(select("uni_api_spans_waiting"), "wait, {{instance}}"),
                       Query(rate("uni_api_spans_exported_total"), "sent, {{instance}}"),
                       Query(f"sum by (instance, reason) ({rate('uni_api_spans_dropped_total')})", "lost: {{reason}}, {{instance}}")),
            timeseries("Configurations that were read", "broken: the one before goes on. unreadable: gone, empty or out of reach.",
                       Query(f"sum by (result) ({increase('uni_api_config_reloads_total', window='$__rate_interval')})", "{{result}}"),
                       colors={"ok": GOOD, "broken": BAD, "unreadable": WARN}, stack=True),
            table("Alerts", "Those that wait to fire, too. Needs the rules of grafana/rules.", "alertname", [
                ("", "none", Query('ALERTS{alertname=~"UniApi.*"}')),
            ], hide=["Value", "__name__", "job"], rename={
                "alertstate": "State", "severity": "Severity", "instance": "Gateway", "channel": "Channel", "caller": "Client key",
                "model": "Model", "reason": "Reason"}),
            table("Gateways", "", "instance", [
                ("", "none", Query(f"count by (instance, version, os, arch) ({select('uni_api_build_info')})")),
                ("", "none", Query(f"count by (instance, hash) ({select('uni_api_config_info')})")),
                ("Up for", "s", Query(f"time() - max by (instance) ({select('process_start_time_seconds')})")),
                ("Configuration of", "dateTimeAsIso", Query(f"max by (instance) ({select('uni_api_config_reload_timestamp_seconds')}) * 1000")),
                ("Last one usable", "bool", Query(f"max by (instance) ({select('uni_api_config_reload_success')})")),
                ("Its source is there", "bool", Query(f"max by (instance) ({select('uni_api_config_source_up')})")),
                ("Database is open", "bool", Query(f"max by (instance) ({select('uni_api_ledger_up')})")),
            ], width=24, hide=["Value #A", "Value #B"],
                rename={"version": "Version", "os": "System", "arch": "Machine", "hash": "Configuration"}),
        ]),
    ]
    return board("uni-api-overview", "uni-api: overview", "Requests, latency, streaming and the process itself.", rows)


def channels():
    shown = {"channel": "=~$channel"}
    failures = rate("uni_api_attempts_total", **shown, outcome='!~ok|client_gone')
    attempts = rate("uni_api_attempts_total", **shown)
    rows = [
        row("Now", [
            stat("Channels", "", Query(f"count(max by (channel) ({select('uni_api_channel_keys', **shown)}))")),
            stat("Attempts", "Tries per second on all channels.", Query(f"sum({attempts})"), "reqps"),
            stat("Failing", "Share of attempts that did not give an answer. Failover hides most of them from clients.",
                 Query(share(f"(sum({failures}) or vector(0))", f"sum({attempts})")), "percentunit",
                 [(GOOD, None), (WARN, 0.05), (BAD, 0.25)]),
            stat("Keys cooling", "Provider keys that are left alone after a failure.",
                 Query(f"sum({select('uni_api_channel_keys_cooling', **shown)})"), "none", [(GOOD, None), (WARN, 1)]),
            stat("Models cooling", "Pairs of channel and model that are left alone after a failure.",
                 Query(f"sum({select('uni_api_channel_models_cooling', **shown)})"), "none", [(GOOD, None), (WARN, 1)]),
            stat("Models out", "Models that cool on every channel that has them.",
                 Query(f"sum({select('uni_api_models_cooling')})"), "none", [(GOOD, None), (BAD, 1)]),
        ], height=4),
        row("", [
            table("Channels", "Attempts are those of the time that is shown.", "channel", [
                ("Attempts", "none", Query(f"sum by (channel) ({increase('uni_api_attempts_total', **shown)})")),
                ("Answered", "percentunit", Query(part_of(
                    f"sum by (channel) ({increase('uni_api_attempts_total', **shown, outcome='ok')})",
                    f"sum by (channel) ({increase('uni_api_attempts_total', **shown)})"))),
                ("Until accepted, 95 %", "s", Query(quantile(0.95, "uni_api_attempt_duration_seconds", ("channel",), window="$__range", **shown))),
                ("Keys", "none", Query(f"max by (channel) ({select('uni_api_channel_keys', **shown)})")),
                ("Keys cooling", "none", Query(f"max by (channel) ({select('uni_api_channel_keys_cooling', **shown)})")),
                ("Models", "none", Query(f"max by (channel) ({select('uni_api_channel_models', **shown)})")),
                ("Models cooling", "none", Query(f"max by (channel) ({select('uni_api_channel_models_cooling', **shown)})")),
            ], width=24, warn=["Keys cooling", "Models cooling"]),
        ], height=9),
        row("Attempts", [
            timeseries("Attempts by channel", "",
                       Query(f"sum by (channel) ({attempts})", "{{channel}}"), unit="reqps", stack=True),
            timeseries("Attempts that failed, by channel", "",
                       Query(f"sum by (channel) ({failures}) > 0", "{{channel}}"), unit="reqps", stack=True),
            timeseries("Attempts that failed, by outcome", "The words are explained in docs/logs-and-statistics.md.",
                       Query(f"sum by (outcome) ({failures}) > 0", "{{outcome}}"), unit="reqps", stack=True),
            timeseries("Share of attempts that failed", "",
                       Query(part_of(f"sum by (channel) ({failures})", f"sum by (channel) ({attempts})"), "{{channel}}"),
                       unit="percentunit"),
            timeseries("Until an attempt was accepted or had failed, 50 %", "",
                       Query(quantile(0.5, "uni_api_attempt_duration_seconds", ("channel",), **shown), "{{channel}}"), unit="s"),
            timeseries("Until an attempt was accepted or had failed, 95 %", "",
                       Query(quantile(0.95, "uni_api_attempt_duration_seconds", ("channel",), **shown), "{{channel}}"), unit="s"),
        ]),
        row("Keys and cooldowns", [
            timeseries("Provider keys cooling", "Of a channel with all its keys cooling, the one that recovers first is tried.",
                       Query(f"max by (channel) ({select('uni_api_channel_keys_cooling', **shown)}) > 0", "{{channel}}"), stack=True, step=True),
            timeseries("Share of the keys that cool", "",
                       Query(share(f"max by (channel) ({select('uni_api_channel_keys_cooling', **shown)})",
                                   f"max by (channel) ({select('uni_api_channel_keys', **shown)})"), "{{channel}}"),
                       unit="percentunit", step=True),
            timeseries("Models cooling, by channel", "A model that failed on a channel is left alone there for cooldown_period.",
                       Query(f"max by (channel) ({select('uni_api_channel_models_cooling', **shown)}) > 0", "{{channel}}"), stack=True, step=True),
            timeseries("Models that cool everywhere", "Of all models of the configuration.",
                       Query(f"max({select('uni_api_models_cooling')})", "cooling"),
                       Query(f"max({select('uni_api_models')})", "all"), step=True, dashed="all"),
        ]),
        row("Around them", [
            timeseries("Opening a connection to an upstream, 95 %", "",
                       Query(quantile(0.95, "uni_api_upstream_connect_seconds", by=("result",)), "{{result}}"), unit="s",
                       colors={"ok": GOOD, "failed": BAD}),
            timeseries("Model lists and tokens of accounts that were fetched", "",
                       Query(f"sum by (result) ({increase('uni_api_discoveries_total', window='$__rate_interval')})", "lists, {{result}}"),
                       Query(f"sum by (result) ({increase('uni_api_token_renewals_total', window='$__rate_interval')})", "tokens, {{result}}")),
        ]),
    ]
    variables = [("channel", "Channel", "label_values(uni_api_channel_keys, channel)")]
    return board("uni-api-channels", "uni-api: channels, keys and cooldowns", "Who serves, who fails and what is left alone.", rows, variables)


def money():
    model, caller = {"model": "=~$model"}, {"caller": "=~$caller"}
    tokens = "uni_api_tokens_total"
    rows = [
        row("In the time that is shown", [
            stat("Cost", "What was charged.", Query(f"sum({increase('uni_api_cost_usd_total', **model)})"), "currencyUSD"),
            stat("Per hour, now", "", Query(f"sum({rate('uni_api_cost_usd_total', **model)}) * 3600"), "currencyUSD"),
            stat("Per 1000 requests", "Of those that were answered.", Query(
                f"1000 * sum({increase('uni_api_cost_usd_total', **model)}) / sum({increase('uni_api_requests_total', **model, outcome='ok')})"),
                 "currencyUSD"),
            stat("Tokens in", "", Query(f"sum({increase(tokens, **model, kind='input')})")),
            stat("Tokens out", "", Query(f"sum({increase(tokens, **model, kind='output')})")),
            stat("Read from caches", "Share of the tokens in that providers had in their caches.", Query(share(
                f"(sum({increase(tokens, **model, kind='cache_read')}) or vector(0))", f"sum({increase(tokens, **model, kind='input')})")), "percentunit"),
            stat("Charged by an estimate", "Share of the answers that came without their usage.", Query(share(
                f"sum({increase('uni_api_usage_missing_total', **model)})", f"sum({increase('uni_api_requests_total', **model, outcome='ok')})")), "percentunit",
                 [(GOOD, None), (WARN, 0.01), (BAD, 0.1)]),
        ], height=4),
        row("Money", [
            timeseries("Cost per hour, by model", "",
                       Query(f"sum by (model) ({rate('uni_api_cost_usd_total', **model)}) * 3600 > 0", "{{model}}"),
                       unit="currencyUSD", stack=True),
            timeseries("Cost per hour, by operation", "",
                       Query(f"sum by (operation) ({rate('uni_api_cost_usd_total', **model)}) * 3600 > 0", "{{operation}}"),
                       unit="currencyUSD", stack=True),
            table("Models", "The fifty that cost most.", "model", [
                ("Cost", "currencyUSD", Query(f"topk(50, sum by (model) ({increase('uni_api_cost_usd_total', **model)}))")),
                ("Tokens in", "short", Query(f"sum by (model) ({increase(tokens, **model, kind='input')})")),
                ("Tokens out", "short", Query(f"sum by (model) ({increase(tokens, **model, kind='output')})")),
                ("Requests", "none", Query(f"sum by (model) ({increase('uni_api_requests_total', **model)})")),
            ], width=12),
            table("Balances", "Keys with credits. Keys that share a name share a line.", "caller", [
                ("Credits", "currencyUSD", Query(f"max by (caller) ({select('uni_api_caller_credits_usd', **caller)})")),
                ("Left", "currencyUSD", Query(f"min by (caller) ({select('uni_api_caller_balance_usd', **caller)})")),
                ("Spent", "currencyUSD", Query(f"max by (caller) ({select('uni_api_caller_spent_usd', **caller)})")),
            ], width=12),
            bars("Share of the credits that is left", "At 0 requests are refused.",
                 Query(share(f"min by (caller) ({select('uni_api_caller_balance_usd', **caller)})",
                             f"max by (caller) ({select('uni_api_caller_credits_usd', **caller)})"), "{{caller}}"),
                 "percentunit", [(BAD, None), (WARN, 0.001), (GOOD, 0.2)]),
            timeseries("Left of credits", "",
                       Query(f"min by (caller) ({select('uni_api_caller_balance_usd', **caller)})", "{{caller}}"),
                       unit="currencyUSD", below_zero=True),
        ]),
        row("Tokens", [
            timeseries("Tokens by kind", "input holds cache_read and cache_write, output holds reasoning.",
                       Query(f"sum by (kind) ({rate(tokens, **model)})", "{{kind}}"), unit="short"),
            timeseries("Tokens by model", "In and out.",
                       Query(f"sum by (model) ({rate(tokens, **model, kind='=~input|output')}) > 0", "{{model}}"), unit="short", stack=True),
            timeseries("Tokens in of one request", "",
                       *latency("gen_ai_client_token_usage", gen_ai_token_type='input'), unit="short"),
            timeseries("Tokens out of one request", "",
                       *latency("gen_ai_client_token_usage", gen_ai_token_type='output'), unit="short"),
            timeseries("Share of the tokens in that came from caches", "",
                       Query(share(f"(sum({rate(tokens, **model, kind='cache_read')}) or vector(0))", f"sum({rate(tokens, **model, kind='input')})"), "read"),
                       Query(share(f"(sum({rate(tokens, **model, kind='cache_write')}) or vector(0))", f"sum({rate(tokens, **model, kind='input')})"), "written"),
                       unit="percentunit"),
            timeseries("Answers without their usage, by model", "They are charged by an estimate.",
                       Query(f"sum by (model) ({rate('uni_api_usage_missing_total', **model)}) > 0", "{{model}}"), unit="reqps", stack=True),
        ]),
        row("Limits", [
            timeseries("Refused by a limit", "",
                       Query(f"sum by (outcome) ({rate('uni_api_requests_total', outcome='=~rate_limited|balance_exhausted|too_long|keys_exhausted|upstream_rate_limited')}) > 0",
                             "{{outcome}}"), unit="reqps", stack=True),
            timeseries("Share of a client key's window that is left", "Its requests in a period; at 0 it is refused.",
                       Query(share(f"min by (caller, period_seconds) ({select('uni_api_caller_window_remaining', **caller)})",
                                   f"max by (caller, period_seconds) ({select('uni_api_caller_window_limit', **caller)})"),
                             "{{caller}}, {{period_seconds}} s"), unit="percentunit"),
            timeseries("Share of the gateway's windows that is left", "Requests of all client keys in a period.",
                       Query(share(f"min by (period_seconds) ({select('uni_api_gateway_window_remaining')})",
                                   f"max by (period_seconds) ({select('uni_api_gateway_window_limit')})"), "{{period_seconds}} s"),
                       unit="percentunit"),
            timeseries("Keys of providers that are limited", "Attempts that a provider's limit ended, by channel.",
                       Query(f"sum by (channel) ({rate('uni_api_attempts_total', outcome='=~upstream_rate_limited|keys_exhausted')}) > 0", "{{channel}}"),
                       unit="reqps", stack=True),
        ]),
    ]
    variables = [
        ("model", "Model", "label_values(uni_api_requests_total, model)"),
        ("caller", "Client key", "label_values(uni_api_caller_spent_usd, caller)"),
    ]
    return board("uni-api-money", "uni-api: money, tokens and limits", "What is spent, by whom, and what is left.", rows, variables)


def rule_object():
    """The rules, once more, as a PrometheusRule: kustomize cannot put one file into another."""
    groups = []
    for name in ("recording.yaml", "alerts.yaml"):
        text = (HERE / "rules" / name).read_text()
        groups += [f"  {line}".rstrip() for line in text.split("groups:\n", 1)[1].splitlines()]
    return "\n".join([
        "# Written by grafana/dashboards.py out of grafana/rules.",
        "apiVersion: monitoring.coreos.com/v1",
        "kind: PrometheusRule",
        "metadata:",
        "  name: uni-api",
        "  labels:",
        "    app.kubernetes.io/name: uni-api",
        "spec:",
        "  groups:",
        *groups,
        "",
    ])


def main(check):
    files = {HERE / "dashboards" / f"{make.__name__}.json": json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
             for make in (overview, channels, money)}
    files[RULES] = rule_object()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if not check:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
    for path in stale:
        print(f"{'not what would be written' if check else 'written'}: {path.relative_to(HERE.parent)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
