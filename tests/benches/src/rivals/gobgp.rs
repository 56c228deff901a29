//! GoBGP 3: a stream of routes from a file of MRT (RFC 6396), one route by its command line.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use bellhop_lab::command::output_of;
use bellhop_lab::plan::CLUSTER_ASN;
use bellhop_lab::wait::wait_for;

use super::{Batch, Process, Rival, Route, SESSION_DEADLINE};
use crate::wire::{NODE, ROUTER, Wire};

/// How often the last route is repeated in a file: `gobgp mrt inject` ends before the last thousand or so of its stream have arrived.
const LOST: usize = 2_000;

/// gobgpd as it runs.
#[derive(Debug)]
pub(super) struct GoBgp {
    _process: Process,
}

fn gobgp(wire: &Wire, words: &[&str]) -> Result<String> {
    let target = format!("unix://{}", wire.folder().join("gobgp.sock").display());
    output_of(Command::new("/usr/bin/gobgp").args(["--target", &target]).args(words))
}

/// A record of TABLE_DUMP_V2.
fn record(subtype: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&[0; 4], &13u16.to_be_bytes()[..], &subtype.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, code, u8::try_from(value.len()).unwrap_or(u8::MAX)], value].concat()
}

fn attributes(route: Route) -> Vec<u8> {
    let mut block = [attribute(0x40, 1, &[0]), attribute(0x40, 2, &[])].concat();
    if route.address.is_ipv4() {
        block.extend(attribute(0x40, 3, &NODE.ipv4().octets()));
    }
    block.extend(attribute(0x80, 4, &route.med.to_be_bytes()));
    block.extend(attribute(0xC0, 8, &(CLUSTER_ASN << 16 | 1).to_be_bytes()));
    if let IpAddr::V6(address) = route.address {
        // Whole, as in an UPDATE: GoBGP 3 does not read the short form of RFC 6396 §4.3.4.
        let reach = [&[0, 2, 1, 16], &NODE.ipv6().octets()[..], &[0, 128], &address.octets()].concat();
        block.extend(attribute(0x80, 14, &reach));
    }
    block
}

fn mrt(batch: &Batch) -> Vec<u8> {
    let (node, asn) = (NODE.ipv4().octets(), CLUSTER_ASN.to_be_bytes());
    // The collector, a view without a name, and one peer: AS numbers of four octets, IPv4.
    let index = [&node[..], &[0, 0, 0, 1, 2], &node, &node, &asn].concat();
    let mut file = record(1, &index);
    let last = batch.routes().last();
    for (route, number) in batch.routes().chain(last.into_iter().cycle().take(LOST)).zip(0u32..) {
        let (subtype, length, octets) = match route.address {
            IpAddr::V4(address) => (2, 32, address.octets().to_vec()),
            IpAddr::V6(address) => (4, 128, address.octets().to_vec()),
        };
        let block = attributes(route);
        let size = u16::try_from(block.len()).unwrap_or(u16::MAX).to_be_bytes();
        // One entry, of peer 0, of 1970.
        let entry = [&[0, 1, 0, 0, 0, 0, 0, 0], &size[..], &block].concat();
        file.extend(record(subtype, &[&number.to_be_bytes(), &[length][..], &octets, &entry].concat()));
    }
    file
}

impl Rival for GoBgp {
    const NAME: &'static str = "GoBGP";

    fn start(_benches: &Path, wire: &Wire) -> Result<Self> {
        let file = |name: &str| wire.folder().join(name);
        let family = |name: &str| {
            format!("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n")
        };
        let configuration = format!(
            "[global.config]
               as = {CLUSTER_ASN}
               router-id = \"{}\"
             [[neighbors]]
               [neighbors.config]
                 neighbor-address = \"{}\"
                 peer-as = {}
               [neighbors.timers.config]
                 connect-retry = 1
             {}{}",
            NODE.ipv4(),
            ROUTER.ipv4(),
            ROUTER.asn(),
            family("ipv4-unicast"),
            family("ipv6-unicast")
        );
        std::fs::write(file("gobgpd.toml"), configuration)?;
        let socket = format!("unix://{}", file("gobgp.sock").display());
        let mut command = wire.node().command("/usr/bin/gobgpd");
        command.arg("-f").arg(file("gobgpd.toml")).args(["--pprof-disable", "--api-hosts", &socket]);
        let log = std::fs::File::create(file("gobgpd.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Self { _process: Process(command.spawn().context("cannot start GoBGP")?) };
        wait_for("GoBGP answers", SESSION_DEADLINE, || {
            gobgp(wire, &["global"]).map_err(|error| format!("{error:#}"))
        })?;
        Ok(started)
    }

    fn announce(&mut self, wire: &Wire, batch: &Batch) -> Result<Instant> {
        let file = wire.folder().join("routes.mrt");
        std::fs::write(&file, mrt(batch))?;
        let mut routes = batch.routes();
        if let (Some(route), None) = (routes.next(), routes.next()) {
            let (prefix, med) = (route.prefix(), route.med.to_string());
            let community = format!("{CLUSTER_ASN}:1");
            let begin = Instant::now();
            gobgp(wire, &["global", "rib", "add", &prefix, "med", &med, "community", &community])?;
            return Ok(begin);
        }
        let begin = Instant::now();
        gobgp(wire, &["mrt", "inject", "global", &file.display().to_string()])?;
        Ok(begin)
    }
}
