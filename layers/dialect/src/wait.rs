//! How long an upstream asks to be left alone: the one reader of such hints, in headers and in words.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Phrases behind which a span of time stands.
const PHRASES: [&str; 4] = ["try again in ", "retry after ", "retry in ", "retry_after: "];

/// `retry-after-ms`, as OpenAI and Azure send it, else `Retry-After` in seconds or as an HTTP date (RFC 9110
/// §10.2.3).
pub(crate) fn in_headers(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    milliseconds(headers).or_else(|| retry_after(headers, now))
}

/// `x-ratelimit-reset-requests: 6m0s` where nothing remains of that kind; the longer of the two.
pub(crate) fn resets(headers: &HeaderMap) -> Option<Duration> {
    ["requests", "tokens"]
        .into_iter()
        .filter(|kind| header(headers, &format!("x-ratelimit-remaining-{kind}")) == Some("0"))
        .filter_map(|kind| span(header(headers, &format!("x-ratelimit-reset-{kind}"))?))
        .max()
}

/// `try again in 1.5s`, `retry after 20 seconds` and their like, in a text.
pub(crate) fn in_words(text: &str) -> Option<Duration> {
    let lower = text.to_ascii_lowercase();
    PHRASES.into_iter().find_map(|phrase| {
        let rest = &lower[lower.find(phrase)? + phrase.len()..];
        let end = rest
            .char_indices()
            .find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ' ')))
            .map_or(rest.len(), |(at, _)| at);
        span(&rest[..end.min(40)])
    })
}

/// A span of time such as `120ms`, `1.5s`, `6m0s`, `20 seconds`; a bare number is in seconds.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim_start();
    let mut any = false;
    while let Some(digits) =
        rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).or(Some(rest.len())).filter(|&n| n > 0)
    {
        // The full stop of a sentence is no number.
        let Ok(number) = rest[..digits].trim_end_matches('.').parse::<f64>() else { break };
        let after = rest[digits..].trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let factor = match &after[..letters] {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            "" => 1.0,
            _ if any => break,
            _ => 1.0,
        };
        any = true;
        total += number * factor;
        rest = &after[letters..];
        if letters > 1 {
            break;
        }
    }
    if any { Duration::try_from_secs_f64(total).ok() } else { None }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let value: f64 = header(headers, "retry-after-ms")?.parse().ok()?;
    Duration::try_from_secs_f64(value / 1000.0).ok()
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = header(headers, RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_every_spelling() {
        for (text, seconds) in [
            ("34s", Some(34.0)),
            ("1.5s. visit", Some(1.5)),
            ("6m0s", Some(360.0)),
            ("1h2m3s", Some(3723.0)),
            ("120ms", Some(0.12)),
            ("12 seconds.", Some(12.0)),
            ("2 minutes", Some(120.0)),
            ("20", Some(20.0)),
            ("a while", None),
            ("", None),
            (". ", None),
        ] {
            assert_eq!(span(text).map(|span| span.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn a_date_counts_from_now() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let at = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            in_headers(&headers, now)
        };

        assert_eq!(at("Sun, 06 Nov 1994 08:50:00 GMT"), Some(Duration::from_secs(23)));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(at("-1"), None);
    }
}
