//! What this process gives up before it reads its first byte of input.

use std::io;

use bellhop_sandbox::protocol::CPU_SECONDS;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// How much lower than its parent it runs: planning and sessions go first. No more than that, because a node that starts
/// announces nothing before its policies are compiled: at 10 the neighbours on a busy machine leave it a fortieth of a core,
/// and the two CPU seconds that a module takes become minutes.
const NICE: i32 = 3;

/// Descriptors kept: standard input, output and error.
const DESCRIPTORS: u64 = 3;

/// Limits memory to `memory` bytes of address space, and takes from this process all that compiling does not need.
pub(crate) fn confine(memory: u64) -> io::Result<()> {
    // Dies with its parent, whatever it is doing.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    close_descriptors();
    limit(Resource::Nofile, DESCRIPTORS)?;
    limit(Resource::As, memory)?;
    limit(Resource::Cpu, CPU_SECONDS)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    drop_capabilities()?;
    // May be forbidden where a container caps priorities; then it runs at its parent's.
    let _ = rustix::process::nice(NICE);
    Ok(())
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let inherited = rustix::process::getrlimit(resource).maximum;
    let most = inherited.map_or(most, |inherited| inherited.min(most));
    rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    Ok(())
}

/// Closes what a careless ancestor left open without close-on-exec. Descriptors that are none are passed over.
fn close_descriptors() {
    let open: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|descriptor| *descriptor > 2)
            .collect(),
        // Without /proc every number that could be one is tried.
        Err(_) => {
            let most = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u16::MAX));
            (3..i32::try_from(most.min(u64::from(u16::MAX))).unwrap_or(i32::from(i16::MAX))).collect()
        }
    };
    for descriptor in open {
        let _ = nix::unistd::close(descriptor);
    }
}

/// Drops every capability from every set. Where this process has none, dropping them from the bounding set is not
/// permitted and not needed, as no new privileges can come.
fn drop_capabilities() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A kernel older than this capability, or nothing to drop with.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    Ok(())
}
