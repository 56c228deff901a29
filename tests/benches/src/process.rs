//! What the kernel says of a process.

use anyhow::{Context, Result};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_told() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.resident <= memory.peak, "{memory:?}");
    }
}
