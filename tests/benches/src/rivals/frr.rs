//! FRR: `network` lines, by `vtysh -f`. One route-map for each attribute set takes it minutes for 1,000 sets, so that only one
//! is asked for.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use bellhop_lab::command::output_of;
use bellhop_lab::plan::CLUSTER_ASN;
use bellhop_lab::wait::wait_for;

use super::{Batch, Process, Rival, SESSION_DEADLINE};
use crate::wire::{NODE, ROUTER, Wire};

/// The announcer's FRR as it runs, beside the router's.
#[derive(Debug)]
pub(super) struct Frr {
    _processes: [Process; 2],
}

fn start(wire: &Wire, daemon: &str, extra: &[&str]) -> Result<Process> {
    let folder = wire.folder().join("announcer");
    let file = |extension: &str| folder.join(format!("{daemon}.{extension}"));
    let mut command = wire.node().command(Path::new("/usr/lib/frr").join(daemon));
    command.args(["-u", "frr", "-g", "frr", "-P", "0", "-f"]).arg(file("conf"));
    command.arg("-i").arg(file("pid")).arg("-z").arg(folder.join("zserv.api"));
    command.arg("--vty_socket").arg(&folder).args(extra).stdin(Stdio::null());
    // zebra says that this kernel has no MPLS.
    command.stderr(std::fs::File::create(file("log"))?);
    let process = Process(command.spawn().with_context(|| format!("cannot start {daemon}"))?);
    wait_for(&format!("{daemon} of the announcer"), SESSION_DEADLINE, || {
        if file("vty").exists() { Ok(()) } else { Err("no socket") }.map_err(str::to_owned)
    })?;
    Ok(process)
}

fn vtysh(wire: &Wire) -> Command {
    let mut command = Command::new("vtysh");
    command.arg("--vty_socket").arg(wire.folder().join("announcer"));
    command
}

impl Rival for Frr {
    const NAME: &'static str = "FRR";
    const MANY_SETS: bool = false;

    fn start(_benches: &Path, wire: &Wire) -> Result<Self> {
        let folder = wire.folder().join("announcer");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("zebra.conf"), "")?;
        let (node, router, asn) = (NODE.ipv4(), ROUTER.ipv4(), ROUTER.asn());
        let configuration = format!(
            "route-map SET permit 10
 set metric 1
 set community {CLUSTER_ASN}:1
router bgp {CLUSTER_ASN}
 bgp router-id {node}
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor {router} remote-as {asn}
 neighbor {router} timers connect 1
 neighbor {router} advertisement-interval 0
 address-family ipv6 unicast
  neighbor {router} activate\n"
        );
        std::fs::write(folder.join("bgpd.conf"), configuration)?;
        output_of(Command::new("chown").args(["-R", "frr:frr"]).arg(&folder))?;
        let zebra = start(wire, "zebra", &[])?;
        Ok(Self { _processes: [start(wire, "bgpd", &["-l", &node.to_string()])?, zebra] })
    }

    fn announce(&mut self, wire: &Wire, batch: &Batch) -> Result<Instant> {
        let mut text = format!("router bgp {CLUSTER_ASN}\n");
        for family in ["ipv4", "ipv6"] {
            text += &format!("address-family {family} unicast\n");
            for route in batch.routes().filter(|route| route.address.is_ipv4() == (family == "ipv4")) {
                text += &format!("network {} route-map SET\n", route.prefix());
            }
            text += "exit-address-family\n";
        }
        let file = wire.folder().join("announcer/routes");
        std::fs::write(&file, text)?;
        let begin = Instant::now();
        output_of(vtysh(wire).arg("-f").arg(&file))?;
        Ok(begin)
    }
}
