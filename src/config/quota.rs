//! Reads limit texts such as `15/min,10/day,1048576/tpr`.

use std::time::Duration;

use layers::policy::{Quota, Window};

/// At this rate or above a window is no limit: it is how "unlimited" is written.
const UNLIMITED_PER_MINUTE: u128 = 999_999;

/// What a limit text may be, for messages.
pub const GRAMMAR: &str = "count/unit, several with commas, such as 15/min,10/day; \
                           units: s, min, h, day, month (30 days), year (365 days), tpr (tokens per request)";

/// Reads a limit text; a blank one is no limit. The error says which part is wrong.
pub fn parse(text: &str) -> Result<Quota, String> {
    let mut windows: Vec<Window> = Vec::new();
    let mut tokens_per_request: Option<u64> = None;
    if text.trim().is_empty() {
        return Ok(Quota::default());
    }
    for part in text.split(',').map(str::trim) {
        let (count, unit) = part.split_once('/').ok_or_else(|| format!("{part:?} has no unit"))?;
        let (count, unit) = (count.trim(), unit.trim());
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{count:?} is no count"));
        }
        // More digits than a u64 holds are as good as no limit.
        let count: u64 = count.parse().unwrap_or(u64::MAX);
        if unit == "tpr" {
            tokens_per_request = Some(tokens_per_request.map_or(count, |other| other.min(count)));
            continue;
        }
        let period = period(unit).ok_or_else(|| format!("{unit:?} is no unit"))?;
        let window = Window { count, period };
        if u128::from(count) * 60 < UNLIMITED_PER_MINUTE * u128::from(period.as_secs())
            && !windows.contains(&window)
        {
            windows.push(window);
        }
    }
    Ok(Quota { windows: windows.into(), tokens_per_request })
}

fn period(unit: &str) -> Option<Duration> {
    let seconds = match unit {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hr" | "hour" => 3600,
        "d" | "day" => 86_400,
        "mo" | "month" => 30 * 86_400,
        "y" | "year" => 365 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(text: &str) -> Vec<(u64, u64)> {
        parse(text).unwrap().windows.iter().map(|window| (window.count, window.period.as_secs())).collect()
    }

    #[test]
    fn every_unit_has_its_length() {
        let long = "1/second,1/minute,1/hour,1/day,1/month,1/year";
        let short = "1/s, 1/m ,1/h,1/d,1/mo,1/y";
        let middle = "1 / sec,1/min,1/hr";

        assert_eq!(windows(long), [(1, 1), (1, 60), (1, 3600), (1, 86_400), (1, 2_592_000), (1, 31_536_000)]);
        assert_eq!(windows(short), windows(long));
        assert_eq!(windows(middle), windows("1/s,1/m,1/h"));
    }

    #[test]
    fn tokens_per_request_stand_beside_the_windows() {
        let quota = parse("5/min,25/day,1048576/tpr").unwrap();

        assert_eq!(quota.windows.len(), 2);
        assert_eq!(quota.tokens_per_request, Some(1_048_576));
    }

    #[test]
    fn nearly_a_million_per_minute_is_no_limit() {
        assert!(parse("999999/min").unwrap().is_unlimited());
        assert!(parse("99999999999999999999/min").unwrap().is_unlimited());
        assert!(parse("999999/s").unwrap().is_unlimited());
        assert!(parse("").unwrap().is_unlimited());
        assert_eq!(windows("999998/min"), [(999_998, 60)]);
        assert_eq!(windows("999999/hour,999999/min"), [(999_999, 3600)]);
    }

    #[test]
    fn zero_stays_a_limit_that_admits_nothing() {
        assert_eq!(windows("0/min"), [(0, 60)]);
    }

    #[test]
    fn a_wrong_part_is_named() {
        for (text, part) in [
            ("15", "\"15\""),
            ("15/fortnight", "fortnight"),
            ("x/min", "\"x\""),
            ("-1/min", "-1"),
            ("1/min,", "\"\""),
            ("1.5/min", "1.5"),
            ("1/Min", "Min"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
