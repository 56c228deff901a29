//! What a scenario needs of an implementation of BGP.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;

use bellhop_core::route::Community;
use ipnet::IpNet;

use crate::netns::{self, Site};
use crate::process;

/// An implementation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    Frr,
    Bird,
    GoBgp,
    ExaBgp,
    OpenBgpd,
}

impl Program {
    pub(crate) const ALL: [Self; 5] = [Self::Frr, Self::Bird, Self::GoBgp, Self::ExaBgp, Self::OpenBgpd];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Frr => "FRR",
            Self::Bird => "BIRD",
            Self::GoBgp => "GoBGP",
            Self::ExaBgp => "ExaBGP",
            Self::OpenBgpd => "OpenBGPD",
        }
    }

    /// The module with its tests.
    pub(crate) fn module(self) -> &'static str {
        match self {
            Self::Frr => "frr",
            Self::Bird => "bird",
            Self::GoBgp => "gobgp",
            Self::ExaBgp => "exabgp",
            Self::OpenBgpd => "openbgpd",
        }
    }

    /// Debian's package.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Frr => "frr",
            Self::Bird => "bird2",
            Self::GoBgp => "gobgpd",
            Self::ExaBgp => "exabgp",
            Self::OpenBgpd => "openbgpd",
        }
    }
}

/// The AS number of an external router.
pub(crate) const ASN: u32 = 64513;

/// How a router is set up; the speaker is its only neighbour.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) asn: u32,
    /// It never dials.
    pub(crate) passive: bool,
    pub(crate) password: Option<&'static str>,
    pub(crate) bfd: Bfd,
    /// How many routes of its own it announces, see [`own_routes`].
    pub(crate) own_routes: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self { asn: ASN, passive: false, password: None, bfd: Bfd::Off, own_routes: 0 }
    }
}

/// How a router watches the path to the speaker, at 100 ms times 3.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bfd {
    Off,
    /// A path that is lost ends the session and what graceful restart would keep.
    Plain,
    /// A path that is lost may be a restart: what graceful restart keeps stays.
    Graceful,
}

/// Routes of a router's own.
pub(crate) fn own_routes(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|i| format!("192.0.{}.{}/32", 2 + i / 256, i % 256))
}

/// A route as a router has it from the speaker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) next_hop: IpAddr,
    pub(crate) as_path: Vec<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) local_preference: Option<u32>,
    /// `64512:7`, all as numbers.
    pub(crate) communities: BTreeSet<String>,
    /// `64512:1:2`.
    pub(crate) large: BTreeSet<String>,
    /// `rt:64512:100`.
    pub(crate) extended: BTreeSet<String>,
    /// Kept over a restart and not announced again.
    pub(crate) stale: bool,
}

pub(crate) type Table = BTreeMap<IpNet, Heard>;

/// An implementation in the router's namespace, stopped when dropped.
pub(crate) trait Router: Sized {
    const PROGRAM: Program;
    /// What it shows as the local preference of routes that came without one.
    const OWN_PREFERENCE: Option<u32>;
    /// It puts routes into its kernel.
    const HAS_FIB: bool;
    /// It says which routes are stale.
    const SHOWS_STALE: bool = true;
    /// It has BFD; what [`Router::told`] then says of a NOTIFICATION 6/10.
    const BFD_DOWN: Option<&'static str> = None;

    fn start(site: &Site, setup: &Setup) -> Self;
    fn is_established(&self) -> bool;
    /// How many prefixes of both families it has, while the session is up.
    fn count(&self) -> usize;
    /// Every route of both families, whether or not the session is up.
    fn table(&self) -> Table;
    /// How many withdrawals it has received since it was started.
    fn withdrawals(&self) -> usize;
    /// Asks for all routes of both families again.
    fn refresh(&self);
    /// What it says of the last NOTIFICATION.
    fn told(&self) -> String;
    /// To all of it that speaks BGP.
    fn signal(&self, signal: &str);
    /// To what speaks BFD.
    fn signal_bfd(&self, signal: &str) {
        self.signal(signal);
    }
    /// Its BFD says that the path is up.
    fn path_is_up(&self) -> bool {
        false
    }
    /// Kills it, and starts it again as it was.
    fn restart(&mut self);
}

/// Runs a scenario against an implementation; its test has the scenario's name.
pub(crate) fn cell<R: Router, F: Future<Output = ()>>(scenario: &str, body: impl FnOnce(Test) -> F) {
    if process::is_speaker() {
        return process::speak();
    }
    let name = format!("{}::{scenario}", R::PROGRAM.module());
    netns::in_lab(&name, |site| body(Test { site, name: name.clone() }));
}

/// A scenario that runs.
pub(crate) struct Test {
    pub(crate) site: Site,
    /// The test's name.
    pub(crate) name: String,
}

/// The last line with these words that a daemon has logged.
pub(crate) fn last_logged(site: &Site, daemon: &str, words: &str) -> String {
    let log = std::fs::read_to_string(site.file(&format!("{daemon}.log"))).unwrap_or_default();
    log.lines().rfind(|line| line.contains(words)).unwrap_or_default().to_owned()
}

/// A community as two numbers.
pub(crate) fn community(value: u32) -> String {
    format!("{}:{}", value >> 16, value & 0xFFFF)
}

/// A community that is written as two numbers or by its name.
pub(crate) fn named_community(text: &str) -> String {
    let text = text.to_lowercase().replace('_', "-");
    text.parse::<Community>().map_or(text, |known| community(known.0))
}

/// The numbers in a text.
pub(crate) fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}
