//! Looks at keys that name other keys: what leads in a circle, too deep or too often to the same
//! place cannot be served.

use super::KeyEntry;
use crate::config::problem::{Report, shown};
use crate::config::settings::CallerSettings;
use crate::values::{DEEPEST, RuleMatch};

/// Nested keys that one key may lead to, each counted once for every way to it: a request looks at
/// all of them, and keys that each name both of the next double their number at every level.
const MOST_WAYS: usize = 4096;

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

/// The size of what one key leads to, itself included.
#[derive(Clone, Copy, Default)]
struct Size {
    /// Levels.
    depth: usize,
    /// Keys, each once for every way to it.
    ways: usize,
}

/// Reports every group of keys that lead to one another, and every key that is where nesting
/// becomes too much.
pub(super) fn check(callers: &[CallerSettings], entries: &[KeyEntry<'_>], report: &mut Report) {
    let inner: Vec<Vec<usize>> = callers.iter().map(nested).collect();
    let mut marks = vec![Mark::New; callers.len()];
    let mut sizes = vec![Size::default(); callers.len()];
    for start in 0..callers.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // An explicit stack: a long chain of keys must not exhaust the thread's.
        let mut trail: Vec<(usize, usize)> = vec![(start, 0)];
        marks[start] = Mark::Open;
        while let Some((at, next)) = trail.last_mut() {
            let at = *at;
            let Some(&child) = inner[at].get(*next) else {
                marks[at] = Mark::Done;
                sizes[at] = measure(&inner[at], &sizes);
                tell_size(&entries[at], &inner[at], at, &sizes, report);
                trail.pop();
                continue;
            };
            *next += 1;
            match marks[child] {
                Mark::Done => {}
                Mark::New => {
                    marks[child] = Mark::Open;
                    trail.push((child, 0));
                }
                Mark::Open => {
                    let from =
                        trail.iter().position(|(at, _)| *at == child).expect("an open key is on the trail");
                    tell_circle(trail[from..].iter().map(|(at, _)| *at), child, callers, entries, report);
                }
            }
        }
    }
}

/// The distinct keys that a key names.
fn nested(caller: &CallerSettings) -> Vec<usize> {
    let named = caller.rules.iter().filter_map(|rule| match rule.matcher {
        RuleMatch::NestedAll(at) | RuleMatch::NestedModel(at, _) => Some(at),
        _ => None,
    });
    let mut inner: Vec<usize> = named.collect();
    inner.sort_unstable();
    inner.dedup();
    inner
}

fn measure(inner: &[usize], sizes: &[Size]) -> Size {
    let below = inner.iter().map(|&at| sizes[at]);
    below.fold(Size { depth: 1, ways: 1 }, |sum, one| Size {
        depth: sum.depth.max(one.depth.saturating_add(1)),
        ways: sum.ways.saturating_add(one.ways),
    })
}

/// Tells a key that is too large where none of those below it is: those above it are too.
fn tell_size(entry: &KeyEntry<'_>, inner: &[usize], at: usize, sizes: &[Size], report: &mut Report) {
    let Size { depth, ways } = sizes[at];
    let path = entry.section.path.key("model");
    if depth == DEEPEST + 1 {
        let found = format!("keys that name each other {depth} levels deep, this one first");
        report.error(entry.id, path, found, &format!("at most {DEEPEST} levels of keys"));
    }
    let is_first = inner.iter().all(|&below| sizes[below].ways <= MOST_WAYS);
    if ways > MOST_WAYS && depth <= DEEPEST && is_first {
        let found = format!("a key that leads to {ways} others, counted once for every way to them");
        report.error(entry.id, path, found, &format!("at most {MOST_WAYS}"));
    }
}

fn tell_circle(
    ring: impl Iterator<Item = usize>,
    child: usize,
    callers: &[CallerSettings],
    entries: &[KeyEntry<'_>],
    report: &mut Report,
) {
    let name = |at: usize| format!("{} ({})", shown(&callers[at].alias), entries[at].section.path);
    let mut ring: Vec<String> = ring.map(name).collect();
    ring.push(name(child));
    let entry = &entries[child];
    let found = format!("keys that lead back to themselves: {}", ring.join(" -> "));
    report.error(entry.id, entry.section.path.key("model"), found, "keys as channels without a circle");
}
