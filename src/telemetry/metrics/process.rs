//! What the kernel tells of this process, under the names that every dashboard knows.

use super::{CPU, MOST_FILES, Metrics, OPEN_FILES, RESIDENT, THREADS, VIRTUAL};

/// Shows the figures of `/proc`, where there is one.
pub(super) fn observe(metrics: &Metrics) {
    if stat().is_none() {
        return;
    }
    let page = rustix::param::page_size() as f64;
    let tick = rustix::param::clock_ticks_per_second().max(1) as f64;
    metrics.observe(&RESIDENT, move || field(RSS).unwrap_or_default() * page);
    metrics.observe(&VIRTUAL, || field(VSIZE).unwrap_or_default());
    metrics.observe(&THREADS, || field(NUM_THREADS).unwrap_or_default());
    metrics.observe_page(move |page| {
        if let Some((user, system)) = field(UTIME).zip(field(STIME)) {
            page.of(&CPU).add(&[], (user + system) / tick);
        }
    });
    metrics.observe(&OPEN_FILES, || {
        // One of them is the listing itself.
        std::fs::read_dir("/proc/self/fd").map_or(0, |listed| listed.count().saturating_sub(1)) as f64
    });
    metrics.observe(&MOST_FILES, || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current.map_or(f64::INFINITY, |most| most as f64)
    });
}

// Places in `/proc/self/stat` behind the name, from 0; source: proc_pid_stat(5).
const UTIME: usize = 11;
const STIME: usize = 12;
const NUM_THREADS: usize = 17;
const VSIZE: usize = 20;
const RSS: usize = 21;

/// The fields behind the process's name, which may hold anything.
fn stat() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    Some(text.rsplit_once(')')?.1.to_owned())
}

fn field(at: usize) -> Option<f64> {
    stat()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_this_process() {
        let value = |text: &str, name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        let metrics = Metrics::new();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let text = metrics.render();
        drop(files);

        assert!(
            value(&text, RESIDENT.name) > 1e6 && value(&text, VIRTUAL.name) > value(&text, RESIDENT.name)
        );
        assert!(value(&text, CPU.name) < 1e4 && value(&text, THREADS.name) >= 2.0);
        assert!((53.0..20_000.0).contains(&value(&text, OPEN_FILES.name)), "{text}");
        assert!(value(&text, MOST_FILES.name) >= value(&text, OPEN_FILES.name));
    }
}
