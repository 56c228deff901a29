//! The kernel's routes, and a recording of every change to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::netns::Namespace;
use crate::wait::wait_for;

/// Addresses that nobody else uses (RFC 2544, benchmarking): a route to one of them marks a place in a recording.
const MARKS: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// What the destination of a marking route starts with.
const MARK_START: &str = "198.18.";
/// How long the recording may lag behind the kernel.
const MARK_DEADLINE: Duration = Duration::from_secs(5);

/// A route of the kernel's main table.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Route {
    /// Destination: `default`, a bare address for a host route, or a prefix.
    pub dst: String,
    /// Who installed it, for example `bgp` or `kernel`.
    #[serde(default)]
    pub protocol: String,
    /// The next hop, where there is one only.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// The next hops of a multipath route.
    #[serde(default)]
    pub nexthops: Vec<NextHop>,
}

/// A next hop of a multipath route.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct NextHop {
    /// Its address.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Its share of the connections, in relation to the others'.
    #[serde(default)]
    pub weight: u32,
}

impl Route {
    /// The addresses of all next hops, in order.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let mut gateways: Vec<_> =
            self.gateway.into_iter().chain(self.nexthops.iter().filter_map(|hop| hop.gateway)).collect();
        gateways.sort_unstable();
        gateways
    }
}

/// The routes that BGP installed in a namespace, both families, by host address or prefix.
///
/// # Errors
/// When the namespace cannot be asked.
pub fn bgp_routes(namespace: &Namespace) -> Result<BTreeMap<String, Vec<IpAddr>>> {
    let mut routes = BTreeMap::new();
    for family in ["-4", "-6"] {
        let found: Vec<Route> = namespace.ip_json(&[family, "route", "show", "proto", "bgp"])?;
        routes.extend(found.into_iter().map(|route| (route.dst.clone(), route.gateways())));
    }
    Ok(routes)
}

/// A change of one route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A route was added, or took the place of one.
    Set,
    /// A route was deleted.
    Deleted,
}

/// A recorded change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Wall-clock time in UTC as iproute2 prints it.
    pub at: String,
    /// What happened.
    pub change: Change,
    /// To which destination; a bare address for a host route.
    pub destination: String,
    /// The whole line.
    pub line: String,
}

impl Event {
    /// The next hops that it names, sorted; none for a deletion's or a blackhole's line without any.
    pub fn gateways(&self) -> BTreeSet<IpAddr> {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        let vias = words.windows(2).filter(|pair| pair[0] == "via").map(|pair| pair[1].parse());
        vias.flatten().collect()
    }
}

/// A running `ip -ts monitor route` in a namespace, written to a file. Stops when dropped.
#[derive(Debug)]
pub struct Recording {
    namespace: Namespace,
    file: PathBuf,
    child: Child,
    marks: u32,
}

impl Recording {
    /// Starts to record. When it returns, no later change is missed.
    ///
    /// # Errors
    /// When `ip monitor` does not start.
    pub fn start(namespace: &Namespace, file: &Path) -> Result<Self> {
        // It takes the time when it reads of a change: before everything else, so that a busy machine does not put that off.
        let mut command = Command::new("chrt");
        command.args(["--fifo", "1", "ip", "-n", namespace.name(), "-ts", "-o", "monitor", "route"]);
        command.env("TZ", "UTC");
        let out = File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("cannot start `ip monitor route`")?;
        let mut recording = Self { namespace: namespace.clone(), file: file.to_owned(), child, marks: 0 };
        recording.mark()?;
        Ok(recording)
    }

    /// Sets and deletes a route that was not used before until the recording shows it: everything earlier is in the file then.
    fn mark(&mut self) -> Result<()> {
        self.marks += 1;
        let mark = Ipv4Addr::from(MARKS + self.marks);
        wait_for("the route monitor shows the marking route", MARK_DEADLINE, || {
            let look = || -> Result<bool> {
                // Again at every look: the monitor may not have been listening before.
                self.namespace
                    .ip_batch(&format!("route replace blackhole {mark}\nroute del blackhole {mark}"))?;
                let text = std::fs::read_to_string(&self.file)?;
                Ok(text.contains(&format!("Deleted blackhole {mark} ")))
            };
            match look() {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("{} does not show it", self.file.display())),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
        Ok(())
    }

    /// All changes since the start, up to now, without the marks.
    ///
    /// # Errors
    /// When the monitor died or its file cannot be read.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        self.mark()?;
        let text = std::fs::read_to_string(&self.file)?;
        Ok(text
            .lines()
            .filter_map(parse_event)
            .filter(|event| !event.destination.starts_with(MARK_START))
            .collect())
    }

    /// The deletions of the given destinations since the start.
    ///
    /// # Errors
    /// As [`Recording::events`].
    pub fn deletions_of(&mut self, destinations: &[IpAddr]) -> Result<Vec<Event>> {
        let mut events = self.events()?;
        let of_interest =
            |event: &Event| destinations.iter().any(|address| address.to_string() == event.destination);
        events.retain(|event| event.change == Change::Deleted && of_interest(event));
        Ok(events)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kinds of routes that iproute2 names before the destination.
const KINDS: [&str; 9] = [
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
];

fn parse_event(line: &str) -> Option<Event> {
    let (at, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (change, rest) = match rest.strip_prefix("Deleted ") {
        Some(rest) => (Change::Deleted, rest),
        None => (Change::Set, rest),
    };
    let destination = rest.split_whitespace().find(|word| !KINDS.contains(word))?;
    Some(Event { at: at.into(), change, destination: destination.into(), line: line.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_apart_and_named_by_destination() {
        let event =
            parse_event("[2026-01-02T03:04:05.678901] Deleted 203.0.113.10 nhid 9 proto bgp metric 20 ")
                .unwrap();
        assert_eq!((event.change, event.destination.as_str()), (Change::Deleted, "203.0.113.10"));
        let event =
            parse_event("[2026-01-02T03:04:05.678901] 2001:db8:53::10 nhid 9 proto bgp \\\tnexthop via x")
                .unwrap();
        assert_eq!((event.change, event.destination.as_str()), (Change::Set, "2001:db8:53::10"));
        let several = "[2026-01-02T03:04:05.678901] 203.0.113.10 nhid 9 proto bgp metric 20 \\\tnexthop via 192.0.2.12 dev \
                       fabric weight 1 \\\tnexthop via 192.0.2.11 dev fabric weight 1 ";
        let gateways: Vec<String> =
            parse_event(several).unwrap().gateways().iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["192.0.2.11", "192.0.2.12"]);
        let event = parse_event("[2026-01-02T03:04:05.678901] blackhole 198.18.0.0 ").unwrap();
        assert_eq!((event.change, event.destination.as_str()), (Change::Set, "198.18.0.0"));
        assert_eq!(parse_event("something else"), None);
    }

    #[test]
    fn a_multipath_route_lists_all_its_next_hops() {
        let text = r#"[{"dst":"203.0.113.10","protocol":"bgp","nexthops":[{"gateway":"192.0.2.12"},{"gateway":"192.0.2.11"}]},
            {"dst":"203.0.113.11","gateway":"192.0.2.13","dev":"fabric","protocol":"bgp"}]"#;
        let routes: Vec<Route> = serde_json::from_str(text).unwrap();
        assert_eq!(
            routes[0].gateways(),
            ["192.0.2.11".parse::<IpAddr>().unwrap(), "192.0.2.12".parse().unwrap()]
        );
        assert_eq!(routes[1].gateways(), ["192.0.2.13".parse::<IpAddr>().unwrap()]);
    }
}
