//! Default heap size of a local Spark.

const GIB: u64 = 1 << 30;

/// Returns a quarter of the machine's memory in Spark's notation, at least 1 GiB and at most 8; 1 GiB where the memory
/// is not known. A container's limit counts as the machine's memory.
pub(super) fn default_heap() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    heap(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max"))
}

fn heap(meminfo: &str, limit: &str) -> String {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let total = total.map(|kib| kib.saturating_mul(1024));
    // Without a limit the file says `max`.
    let memory = total.into_iter().chain(limit.trim().parse::<u64>().ok()).min().unwrap_or(0);
    format!("{}m", (memory / 4).clamp(GIB, 8 * GIB) >> 20)
}

#[cfg(test)]
mod tests {
    use super::heap;

    #[test]
    fn heap_is_a_quarter_of_the_memory_within_bounds() {
        let machine = |gib: u64| format!("MemTotal:       {} kB\nMemFree:        1 kB\n", gib << 20);
        assert_eq!(heap(&machine(24), "max\n"), "6144m");
        assert_eq!(heap(&machine(24), "8589934592\n"), "2048m");
        assert_eq!(heap(&machine(2), ""), "1024m");
        assert_eq!(heap(&machine(512), ""), "8192m");
        assert_eq!(heap("", ""), "1024m");
    }
}
