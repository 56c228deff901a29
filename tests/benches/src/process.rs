//! What the kernel says of a process.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident: u64,
    /// Resident at most so far (`VmHWM`).
    pub peak: u64,
}

impl Memory {
    /// That of the process with this id.
    ///
    /// # Errors
    /// When it is gone, or its status has another form.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| -> Result<u64> {
            let kilobytes = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next())
                .with_context(|| format!("{path} has no {name}"))?;
            Ok(kilobytes.parse::<u64>()? * 1024)
        };
        Ok(Self { resident: field("VmRSS")?, peak: field("VmHWM")? })
    }
}

/// Processor time that a process has used so far, its own and the kernel's for it, in steps of a clock tick (10 ms).
///
/// # Errors
/// When it is gone, or `/proc/PID/stat` has another form.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name, in parentheses, may hold anything; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(") ").with_context(|| format!("{path} has no name"))?;
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<_, _>>()
        .with_context(|| format!("{path} has no times"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_processor_time_of_this_process_is_told() {
        let (begin, before) = (Instant::now(), processor_time(std::process::id()).unwrap());
        while processor_time(std::process::id()).unwrap() < before + Duration::from_millis(100) {
            assert!(begin.elapsed() < Duration::from_secs(60), "working for a minute takes processor time");
        }
    }

    #[test]
    fn the_memory_of_this_process_is_told() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.resident <= memory.peak, "{memory:?}");
    }
}
