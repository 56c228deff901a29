//! The `process_*` metrics, from `/proc` (proc(5)).

use std::fs;

use super::Metrics;

/// What `/proc` says of this process.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Process {
    cpu_seconds: f64,
    start_time_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

/// How to read what `/proc` says.
#[derive(Clone, Copy, Debug)]
struct Units {
    ticks_per_second: f64,
    page_bytes: f64,
    /// When the machine started, in seconds since 1970.
    boot_time: f64,
}

/// Measures the process. What cannot be read keeps its last value, or is not exposed.
pub(super) fn measure(metrics: &Metrics) {
    if let Some(process) = read() {
        metrics.process_cpu_seconds.set(process.cpu_seconds);
        metrics.process_start_time.set(process.start_time_seconds);
        metrics.process_virtual_memory.set(process.virtual_bytes);
        metrics.process_resident_memory.set(process.resident_bytes);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // The folder that is being read is one of them.
        metrics.process_open_fds.set(entries.count().saturating_sub(1) as f64);
    }
    if let Some(max) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(max_fds) {
        metrics.process_max_fds.set(max);
    }
}

fn read() -> Option<Process> {
    let boot_time = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
    let units = Units {
        ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
        page_bytes: rustix::param::page_size() as f64,
        boot_time,
    };
    parse(&fs::read_to_string("/proc/self/stat").ok()?, units)
}

/// `/proc/self/stat`: fields 14, 15, 22, 23 and 24. They are counted from the end of field 2, the name of the program,
/// which may hold anything.
fn parse(stat: &str, units: Units) -> Option<Process> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) / units.ticks_per_second,
        start_time_seconds: units.boot_time + field(22)? / units.ticks_per_second,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * units.page_bytes,
    })
}

/// `btime` of `/proc/stat`.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of open files in `/proc/self/limits`; none where it is unlimited.
fn max_fds(limits: &str) -> Option<f64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_stat_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c) S 1 2 3 0 -1 4194560 9 8 7 6 250 50 0 0 20 0 4 0 1000 8192 3 1844";
        let units = Units { ticks_per_second: 100.0, page_bytes: 4096.0, boot_time: 1_700_000_000.0 };
        let expected = Process {
            cpu_seconds: 3.0,
            start_time_seconds: 1_700_000_010.0,
            virtual_bytes: 8192.0,
            resident_bytes: 12_288.0,
        };
        assert_eq!(parse(stat, units), Some(expected));
        assert_eq!(parse("42 (a) S 1", units), None);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_the_first_of_its_line() {
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   524288   files\n";
        assert_eq!(max_fds(limits), Some(1024.0));
        assert_eq!(max_fds("Max open files   unlimited  unlimited  files\n"), None);
    }

    #[test]
    fn this_process_has_used_memory_and_began_in_the_past() {
        let process = read().unwrap();
        assert!(process.resident_bytes > 1e6, "{process:?}");
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!((0.0..86_400.0).contains(&(now - process.start_time_seconds)), "{process:?} at {now}");
    }
}
