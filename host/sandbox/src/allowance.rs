//! How much memory a compile may take: never so much that the process that announces routes is killed for it.

use std::fs;
use std::path::{Path, PathBuf};

/// Most memory of a compile; the worst module that passes the checks takes 330 MB.
const MOST: u64 = 512 << 20;

/// Below this an ordinary module cannot be compiled either.
const LEAST: u64 = 128 << 20;

/// There is too little memory left to compile a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{} MiB of memory are left for this process and half of them are too few to compile a module; at least {} MiB \
     free are needed: raise the container's memory limit",
    left >> 20,
    LEAST >> 19
)]
pub(crate) struct TooLittleMemory {
    left: u64,
}

/// Bytes of address space for one compile: half of what the container or machine has left, at most [`MOST`].
pub(crate) fn allowance() -> Result<u64, TooLittleMemory> {
    let left = left(Path::new("/"));
    match left.map_or(MOST, |left| (left / 2).min(MOST)) {
        allowed if allowed < LEAST => Err(TooLittleMemory { left: left.unwrap_or(0) }),
        allowed => Ok(allowed),
    }
}

/// Bytes left to this process by its control groups and by the machine, whichever is less; `None` where neither says.
fn left(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let by_groups = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        match controllers {
            "" => Some(Hierarchy::v2(root)),
            _ if controllers.split(',').any(|controller| controller == "memory") => Some(Hierarchy::v1(root)),
            _ => None,
        }
        .and_then(|hierarchy| hierarchy.left(path.trim_start_matches('/')))
    });
    by_groups.chain(machine(root)).min()
}

/// MemAvailable of `proc_meminfo(5)`.
fn machine(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// One control group hierarchy with a memory controller.
struct Hierarchy {
    mount: PathBuf,
    limit: &'static str,
    usage: &'static str,
    inactive_file: &'static str,
}

impl Hierarchy {
    fn v2(root: &Path) -> Self {
        Self {
            mount: root.join("sys/fs/cgroup"),
            limit: "memory.max",
            usage: "memory.current",
            inactive_file: "inactive_file ",
        }
    }

    fn v1(root: &Path) -> Self {
        Self {
            mount: root.join("sys/fs/cgroup/memory"),
            limit: "memory.limit_in_bytes",
            usage: "memory.usage_in_bytes",
            inactive_file: "total_inactive_file ",
        }
    }

    /// The least that the group or one above it has left. In a container the path may be the host's, of which only
    /// the mount's own root is to be seen; groups that cannot be read are passed over.
    fn left(&self, path: &str) -> Option<u64> {
        let group = self.mount.join(path);
        group
            .ancestors()
            .take_while(|group| group.starts_with(&self.mount))
            .filter_map(|group| self.left_in(group))
            .min()
    }

    fn left_in(&self, group: &Path) -> Option<u64> {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let limit = number(self.limit)?;
        let usage = number(self.usage)?;
        // Page cache that the kernel gives back first, as the kubelet's working set leaves it out too.
        let reclaimable = fs::read_to_string(group.join("memory.stat"))
            .ok()
            .and_then(|stat| {
                stat.lines().find_map(|line| line.strip_prefix(self.inactive_file)?.parse().ok())
            })
            .unwrap_or(0);
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these files, removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("bellhop-allowance-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:   1000000 kB\n");

    #[test]
    fn in_a_container_the_limit_of_its_group_less_what_is_in_use_is_left() {
        let root = Root::new(
            "v2",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "314572800\n"),
                ("sys/fs/cgroup/memory.current", "104857600\n"),
                ("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 4857600\n"),
            ],
        );
        assert_eq!(left(&root.0), Some(314_572_800 - 100_000_000));
    }

    #[test]
    fn the_tightest_of_the_groups_above_decides() {
        let root = Root::new(
            "nested",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/pods/speaker\n"),
                ("sys/fs/cgroup/pods/memory.max", "200000000\n"),
                ("sys/fs/cgroup/pods/memory.current", "150000000\n"),
                ("sys/fs/cgroup/pods/speaker/memory.max", "max\n"),
                ("sys/fs/cgroup/pods/speaker/memory.current", "1\n"),
            ],
        );
        assert_eq!(left(&root.0), Some(50_000_000));
    }

    #[test]
    fn the_first_version_of_control_groups_is_understood() {
        let root = Root::new(
            "v1",
            &[
                MEMINFO,
                ("proc/self/cgroup", "5:cpu:/a\n4:memory:/kubepods/pod1\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "400000000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000000\n"),
            ],
        );
        assert_eq!(left(&root.0), Some(300_000_000));
    }

    #[test]
    fn without_a_limit_the_machine_decides() {
        let root = Root::new("none", &[MEMINFO, ("proc/self/cgroup", "0::/\n")]);
        assert_eq!(left(&root.0), Some(1_000_000 * 1024));
    }

    #[test]
    fn the_refusal_says_how_much_is_left_and_how_much_is_needed() {
        let text = TooLittleMemory { left: 100 << 20 }.to_string();
        assert!(
            text.contains("100 MiB of memory are left") && text.contains("at least 256 MiB free"),
            "{text}"
        );
    }
}
