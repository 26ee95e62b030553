//! Reads money without rounding: credits and prices become whole picodollars.

use super::lookup::Prefixes;
use super::problem::Report;
use super::schema::{Item, PRICE, Section, warn_of_star};
use super::tree::Value;
use crate::values::Price;

/// USD to picodollars.
const USD: u32 = 12;
/// USD per million tokens to picodollars per token.
const USD_PER_MILLION: u32 = 6;

/// A decimal number times ten to the `digits`; digits beyond that are rounded half up.
fn scaled(text: &str, digits: u32) -> Option<i128> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    value = value.checked_mul(10i128.checked_pow(digits)?)?;
    let mut unit = 10i128.checked_pow(digits)?;
    let mut rest = fraction.bytes().map(|b| i128::from(b - b'0'));
    while unit > 1 {
        unit /= 10;
        let Some(digit) = rest.next() else { break };
        value = value.checked_add(digit * unit)?;
    }
    if rest.next().is_some_and(|digit| digit >= 5) {
        value = value.checked_add(1)?;
    }
    Some(if negative { -value } else { value })
}

/// An amount of money.
pub(super) fn dollars(item: &Item<'_>) -> Option<i128> {
    scaled(&digits(item)?, USD)
}

/// A scalar as it was typed, so that no digit is lost; `1e-3` and the like in digits.
fn digits(item: &Item<'_>) -> Option<String> {
    match item.node.value {
        Value::Float(_) => item.plain().filter(|text| scaled(text, 0).is_some()).or_else(|| item.printed()),
        Value::Int(_) => item.printed(),
        _ => item.plain(),
    }
}

/// `model_price`.
pub(super) fn prices(item: Option<Item<'_>>, report: &mut Report) -> Prefixes<Price> {
    let Some(item) = item else {
        return Prefixes::default();
    };
    match item.pairs() {
        Some(pairs) => {
            let mut list = Vec::new();
            for (pair, item) in pairs {
                warn_of_star(pair, item.path, "a model's name, or its beginning", report);
                if !item.node.is_null() {
                    list.push((pair.key.clone(), price(item, report)));
                }
            }
            Prefixes::new(list)
        }
        // One price for everything.
        None => Prefixes::new([("default".to_owned(), price(item, report))]),
    }
}

fn price(item: Item<'_>, report: &mut Report) -> Price {
    let default = Price::default();
    if item.pairs().is_some() {
        let Some(section) = Section::open(item, &PRICE, report) else {
            return default;
        };
        let mut part = |key: &str| {
            let item = section.get(key)?;
            let part = digits(&item).and_then(|text| per_token(&text));
            if part.is_none() {
                item.warn(
                    item.node.describe(),
                    "USD per million tokens, 0 or more; the default is used",
                    report,
                );
            }
            part
        };
        return Price {
            input: part("input").unwrap_or(default.input),
            output: part("output").unwrap_or(default.output),
            cache_read: part("cache_read"),
            cache_write: part("cache_write"),
            reasoning: part("reasoning"),
            image: part("image"),
            audio: part("audio"),
        };
    }
    let accepted = "input,output in USD per million tokens such as 0.5,1.5; the default 1,2 fills the rest";
    let parts: Vec<String> = match digits(&item) {
        Some(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        None => item.items().iter().map(|item| digits(item).unwrap_or_else(|| "?".to_owned())).collect(),
    };
    let mut odd = parts.len() > 2;
    let mut part = |index: usize, default: u64| match parts.get(index).filter(|part| !part.is_empty()) {
        Some(text) => per_token(text).unwrap_or_else(|| {
            odd = true;
            default
        }),
        None => default,
    };
    let price = Price::flat(part(0, default.input), part(1, default.output));
    if odd {
        item.warn(item.node.describe(), accepted, report);
    }
    price
}

fn per_token(text: &str) -> Option<u64> {
    u64::try_from(scaled(text, USD_PER_MILLION)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Path;
    use crate::config::tree::parse;

    fn read(yaml: &str) -> (Prefixes<Price>, Vec<String>) {
        let tree = parse(yaml).unwrap();
        let mut report = Report::default();
        let prices = prices(Some(Item { node: &tree, path: Path::ROOT }), &mut report);
        (prices, report.into_problems(yaml).iter().map(ToString::to_string).collect())
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(scaled("0.12", 6), Some(120_000));
        assert_eq!(scaled("10", 12), Some(10_000_000_000_000));
        assert_eq!(scaled("$0.1", 12), Some(100_000_000_000));
        assert_eq!(scaled("-1", 12), Some(-1_000_000_000_000));
        assert_eq!(scaled(".5", 6), Some(500_000));
        assert_eq!(scaled("0.0000005", 6), Some(1));
        assert_eq!(scaled("0.00000049", 6), Some(0));
        assert_eq!(scaled("1e3", 6), None);
        assert_eq!(scaled(".", 6), None);
        assert_eq!(scaled("99999999999999999999999999999999999999", 12), None);
    }

    #[test]
    fn a_price_is_a_pair_or_a_map() {
        let (prices, problems) = read(
            "gpt-5.2: 1,2\nclaude: 0.12,0.48\nin: 3\nout: ',4'\nlist: [5, 6]\nmap: {input: 1.25, output: 10, cache_read: 0.125}\ndefault: 7,8\n",
        );

        assert_eq!(problems, [""; 0]);
        assert_eq!(prices.get("claude-sonnet"), Some(&Price::flat(120_000, 480_000)));
        assert_eq!(prices.get("in"), Some(&Price::flat(3_000_000, 2_000_000)));
        assert_eq!(prices.get("out"), Some(&Price::flat(1_000_000, 4_000_000)));
        assert_eq!(prices.get("list"), Some(&Price::flat(5_000_000, 6_000_000)));
        assert_eq!(
            prices.get("map"),
            Some(&Price { cache_read: Some(125_000), ..Price::flat(1_250_000, 10_000_000) })
        );
        assert_eq!(prices.get("other"), Some(&Price::flat(7_000_000, 8_000_000)));
    }

    #[test]
    fn an_odd_price_is_a_problem_and_falls_back() {
        let (prices, problems) = read("a: cheap,3\nb: -1\nc: 1,2,3\nd: {input: x}\n");

        assert_eq!(prices.get("a"), Some(&Price::flat(1_000_000, 3_000_000)));
        assert_eq!(prices.get("b"), Some(&Price::default()));
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[3].contains("d.input (line 4"), "{}", problems[3]);
    }
}
