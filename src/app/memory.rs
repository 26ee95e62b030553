//! The memory that this process may use.

/// A quarter of the memory that this process may use, at least 256 MiB.
pub(super) fn buffer_budget() -> usize {
    const LEAST: usize = 256 << 20;
    (limit().unwrap_or(LEAST * 4) / 4).max(LEAST)
}

/// The memory that this process may use: of its control group or of the machine, whichever is less;
/// none where neither is told.
pub(super) fn limit() -> Option<usize> {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let of_group = limits
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok())
        .min();
    let of_machine = || {
        let facts = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<usize>().ok().map(|kib| kib << 10)
    };
    of_group.into_iter().chain(of_machine()).min()
}
