//! FRR's zebra, bfdd and bgpd in the router's namespace.

#![allow(dead_code, reason = "each of the tests that include this uses a part of it")]

use std::process::Command;

use serde_json::Value;

use crate::netns::{Daemon, ROUTER, RouteMonitor, SPEAKER, Site, await_socket, run, said};

/// FRR as it runs; stopped when dropped.
pub(crate) struct Frr {
    pub(crate) site: Site,
    zebra: Daemon,
    bfdd: Daemon,
    bgpd: Daemon,
}

/// A configuration of bgpd with the speaker as its neighbour of both families; `lines` go below `router bgp`.
pub(crate) fn bgpd_conf(asn: u32, lines: &[String]) -> String {
    let more: String = lines.iter().map(|line| format!(" {line}\n")).collect();
    format!(
        "router bgp {asn}\n bgp router-id {ROUTER}\n no bgp ebgp-requires-policy\n \
         neighbor {SPEAKER} remote-as 64512\n neighbor {SPEAKER} timers connect 1\n{more} \
         address-family ipv4 unicast\n  neighbor {SPEAKER} activate\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor {SPEAKER} activate\n exit-address-family\n"
    )
}

impl Frr {
    pub(crate) fn start(site: &Site, bgpd_conf: &str) -> Self {
        site.write("bgpd.conf", bgpd_conf);
        site.write("zebra.conf", "");
        site.write("bfdd.conf", "");
        // The daemons give up root for the user of Debian's package.
        run(&format!("chown -R frr:frr {}", site.folder.display()));
        let zebra = start(site, "zebra", &[]);
        let bfdd = start(site, "bfdd", &["--bfdctl", &site.file("bfdd.sock").display().to_string()]);
        let bgpd = start(site, "bgpd", &[]);
        Self { site: site.clone(), zebra, bfdd, bgpd }
    }

    /// Kills bgpd and starts it again.
    pub(crate) fn restart_bgpd(&mut self) {
        self.bgpd.kill();
        let _ = std::fs::remove_file(self.site.file("bgpd.vty"));
        self.bgpd = start(&self.site, "bgpd", &[]);
    }

    pub(crate) fn vtysh(&self, command: &str) -> String {
        said(Command::new("vtysh").arg("--vty_socket").arg(&self.site.folder).args(["-c", command]))
    }

    /// Configures the router's BGP, which has this AS number, with these lines below `router bgp`.
    pub(crate) fn configure(&self, asn: u32, lines: &[&str]) {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(&self.site.folder).args(["-c", "configure terminal"]);
        vtysh.args(["-c", &format!("router bgp {asn}")]);
        let output = vtysh.args(lines.iter().flat_map(|line| ["-c", line])).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains('%'), "{lines:?}: {said}");
    }

    /// Sends a signal to one of the daemons.
    pub(crate) fn signal(&self, daemon: &str, signal: &str) {
        match daemon {
            "zebra" => self.zebra.signal(signal),
            "bfdd" => self.bfdd.signal(signal),
            _ => self.bgpd.signal(signal),
        }
    }

    pub(crate) fn show(&self, command: &str) -> Value {
        serde_json::from_str(&self.vtysh(command)).unwrap_or(Value::Null)
    }

    /// The router's namespace.
    pub(crate) fn router(&self) -> &str {
        &self.site.router
    }

    /// What a command says in the router's namespace.
    pub(crate) fn in_router(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let output = self.site.in_router(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many prefixes of both families the router has from the speaker.
    pub(crate) fn prefixes(&self) -> u64 {
        let summary = self.show("show bgp summary json");
        ["ipv4Unicast", "ipv6Unicast"]
            .iter()
            .filter_map(|family| summary[family]["peers"][SPEAKER]["pfxRcd"].as_u64())
            .sum()
    }

    pub(crate) fn neighbour(&self) -> Value {
        self.show(&format!("show bgp neighbors {SPEAKER} json"))[SPEAKER].clone()
    }

    pub(crate) fn kernel_routes(&self) -> usize {
        self.site.kernel_routes()
    }

    pub(crate) fn watch_kernel(&self) -> RouteMonitor {
        self.site.watch_kernel()
    }

    /// What bfdd says of its session with the speaker.
    pub(crate) fn bfd(&self) -> Value {
        self.show(&format!("show bfd peer {SPEAKER} json"))
    }
}

fn start(site: &Site, daemon: &str, extra: &[&str]) -> Daemon {
    let running = site.daemon(
        daemon,
        site.in_router(format!("/usr/lib/frr/{daemon}"))
            .args(["-u", "frr", "-g", "frr", "-P", "0", "--log", "stdout"])
            .arg("-f")
            .arg(site.file(&format!("{daemon}.conf")))
            .arg("-i")
            .arg(site.file(&format!("{daemon}.pid")))
            .arg("-z")
            .arg(site.file("zserv.api"))
            .arg("--vty_socket")
            .arg(&site.folder)
            .args(extra),
    );
    await_socket(&site.file(&format!("{daemon}.vty")));
    running
}
