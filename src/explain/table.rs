//! Shows an explanation to a person.

use std::fmt::Write as _;

use super::{Balance, Candidate, Explanation, KeySummary, Prices, span};

/// What a plan without a running gateway leaves out.
pub(super) const FRESH: &str = "\
This is the plan of a process that has just started: nothing cools, and nothing is used or spent. Model lists were not asked for.
Ask a running one with --url.
";

/// Lines for a terminal: the verdict, what holds for the request, then one line per channel.
pub fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, explanation);
    text
}

fn write(text: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation { key, model, verdict, .. } = explanation;
    write!(text, "{model} for {}: {}", key.alias, verdict.reason)?;
    match verdict.status {
        Some(status) => writeln!(text, " ({status})")?,
        None => writeln!(text)?,
    }
    if explanation.fresh {
        write!(text, "{FRESH}")?;
    }
    writeln!(text)?;
    writeln!(text, "algorithm  {}{}", explanation.algorithm, drawn(&explanation.algorithm))?;
    match &*explanation.affinity {
        "named" => writeln!(text, "affinity   conversations with a name return to who served them last")?,
        "prefix" => writeln!(text, "affinity   conversations return to who served them last")?,
        _ => {}
    }
    for limit in &explanation.limits {
        write!(
            text,
            "limit      {}: {} per {}, {} used, {} left",
            limit.whose,
            limit.limit,
            span(limit.period_seconds),
            limit.used,
            limit.remaining
        )?;
        match limit.full_for_seconds {
            Some(left) => writeln!(text, ", free again in {}", span(left))?,
            None => writeln!(text)?,
        }
    }
    for Balance { whose, credits, spent, reserved, left, admits } in &explanation.balances {
        write!(text, "credits    {whose}: ${credits}, ${spent} spent, ${reserved} held, ${left} left")?;
        writeln!(text, "{}", if *admits { "" } else { ", nothing more is admitted" })?;
    }
    if explanation.moderated {
        writeln!(text, "moderation new texts are judged by {} first", layers::moderation::MODEL)?;
    }
    let Prices { input, output, cache_read, cache_write, reasoning, image, audio } =
        &explanation.price_per_million;
    let parts = [
        ("cache read", cache_read),
        ("cache write", cache_write),
        ("reasoning", reasoning),
        ("image", image),
        ("audio", audio),
    ];
    let mut prices = vec![format!("input ${input}"), format!("output ${output}")];
    prices.extend(parts.iter().filter_map(|(kind, price)| Some(format!("{kind} ${}", price.as_ref()?))));
    writeln!(text, "price      {} per million tokens", prices.join(", "))?;
    if let Some(request) = &explanation.request {
        writeln!(
            text,
            "request    {} of at most {} bytes, about {} input tokens{}",
            request.body_bytes,
            request.most_body_bytes,
            request.input_tokens,
            if request.stream { ", as a stream" } else { "" }
        )?;
    }
    if explanation.candidates.is_empty() {
        return Ok(());
    }
    writeln!(text)?;
    let titles = [
        "",
        "CHANNEL",
        "ENGINE",
        "MODEL",
        "STANDING",
        "SHARE",
        "WEIGHT",
        "KEYS",
        "TIMEOUT",
        "KEEPALIVE",
        "GROUP",
    ];
    let mut rows = vec![titles.map(str::to_owned)];
    rows.extend(explanation.candidates.iter().enumerate().map(|(at, candidate)| row(at + 1, candidate)));
    columns(text, &rows)?;
    writeln!(text)?;
    for (at, candidate) in explanation.candidates.iter().enumerate() {
        writeln!(text, "{} {} {}", at + 1, candidate.name(), candidate.reason)?;
        if let Some(url) = &candidate.url {
            writeln!(text, "    asked at {url}")?;
        }
        for change in &candidate.changes {
            writeln!(text, "    {change}")?;
        }
        for key in candidate.keys.list.iter().filter(|key| key.seconds.is_some()) {
            let left = span(key.seconds.unwrap_or_default());
            writeln!(text, "    key {} is {} for {left}", key.fingerprint, key.standing.replace('_', " "))?;
        }
    }
    Ok(())
}

/// Rows under each other, every column as wide as its widest cell.
pub fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) -> std::fmt::Result {
    let mut widths = [0; N];
    for row in rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn drawn(algorithm: &str) -> &'static str {
    match algorithm {
        "random" | "lottery" => " (each request draws its order; this is one draw)",
        _ => "",
    }
}

fn row(at: usize, candidate: &Candidate) -> [String; 11] {
    let groups: Vec<String> =
        candidate.groups.iter().map(|group| format!("{} ({})", group.key, group.algorithm)).collect();
    let none = || "-".to_owned();
    let standing = match candidate.cooling_seconds {
        Some(left) => format!("{} {}", candidate.standing, span(left)),
        None => candidate.standing.clone(),
    };
    [
        at.to_string(),
        candidate.name(),
        candidate.engine.clone(),
        candidate.upstream_model.clone(),
        standing,
        format!("{}%", (candidate.share * 100.0).round()),
        candidate.weight.map_or_else(none, |weight| weight.to_string()),
        keys(&candidate.keys),
        span(candidate.timeout_seconds),
        candidate.keepalive_seconds.map_or_else(none, span),
        if groups.is_empty() { none() } else { groups.join(" / ") },
    ]
}

fn keys(keys: &KeySummary) -> String {
    if keys.total == 0 { "-".to_owned() } else { format!("{}/{}", keys.usable, keys.total) }
}
