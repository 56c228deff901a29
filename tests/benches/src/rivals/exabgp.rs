//! ExaBGP 4: the text API, with many prefixes in a command.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};
use bellhop_lab::plan::CLUSTER_ASN;

use super::{Batch, Process, Rival};
use crate::wire::{NODE, ROUTER, Wire};

/// Prefixes in one command.
const PREFIXES: usize = 500;

/// ExaBGP as it runs, with a process that hands it the lines of a file.
#[derive(Debug)]
pub(super) struct ExaBgp {
    _process: Process,
}

impl Rival for ExaBgp {
    const NAME: &'static str = "ExaBGP";

    fn start(_benches: &Path, wire: &Wire) -> Result<Self> {
        let file = |name: &str| wire.folder().join(name);
        let commands = file("commands");
        std::fs::write(&commands, "")?;
        let script = format!("#!/bin/sh\nexec tail -n 0 -f {}\n", commands.display());
        std::fs::write(file("commands.sh"), script)?;
        std::fs::set_permissions(file("commands.sh"), std::fs::Permissions::from_mode(0o755))?;
        let (node, router) = (NODE.ipv4(), ROUTER.ipv4());
        let configuration = format!(
            "process commands {{ run {}; encoder text; }}
             neighbor {router} {{
               router-id {node}; local-address {node}; local-as {CLUSTER_ASN}; peer-as {};
               hold-time 90;
               family {{ ipv4 unicast; ipv6 unicast; }}
               api {{ processes [ commands ]; }}
             }}\n",
            file("commands.sh").display(),
            ROUTER.asn()
        );
        std::fs::write(file("exabgp.conf"), configuration)?;
        let mut command = wire.node().command("/usr/sbin/exabgp");
        command
            .env("exabgp.api.cli", "false")
            .env("exabgp.api.ack", "false")
            .env("exabgp.daemon.user", "root");
        let log = std::fs::File::create(file("exabgp.log"))?;
        command.arg(file("exabgp.conf")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { _process: Process(command.spawn().context("cannot start ExaBGP")?) })
    }

    fn announce(&mut self, wire: &Wire, batch: &Batch) -> Result<Instant> {
        let mut text = String::new();
        for (first, routes) in batch.groups() {
            let next_hop =
                if first.address.is_ipv4() { NODE.ipv4().to_string() } else { NODE.ipv6().to_string() };
            for some in routes.chunks(PREFIXES) {
                let prefixes: Vec<String> = some.iter().map(|route| route.prefix()).collect();
                text += &format!(
                    "announce attributes next-hop {next_hop} med {} community [{CLUSTER_ASN}:1] nlri {}\n",
                    first.med,
                    prefixes.join(" ")
                );
            }
        }
        let mut commands = std::fs::File::options().append(true).open(wire.folder().join("commands"))?;
        let begin = Instant::now();
        commands.write_all(text.as_bytes())?;
        Ok(begin)
    }
}
