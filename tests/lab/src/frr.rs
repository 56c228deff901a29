//! A router's FRR: zebra and bgpd from Debian, each with its sockets in the lab's own run directory.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::command::output_of;
use crate::netns::{Namespace, kill};
use crate::plan::{CLUSTER_ASN, Node, Router};
use crate::wait::wait_for;

/// Where Debian's package puts the daemons.
const FRR_DAEMONS: &str = "/usr/lib/frr";
/// The daemons of a router, in the order in which they start: bgpd is a client of zebra.
const DAEMONS: [&str; 2] = ["zebra", BGPD];
const BGPD: &str = "bgpd";
/// The daemon of BFD, which only those start who ask for it.
const BFDD: &str = "bfdd";
/// How long a daemon may take to be gone after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a daemon may take to answer on its vty socket after it was started.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long a `show` command may take; bgpd answers from its main loop, which installs routes too.
const VTY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most next hops of one route; more than the lab has nodes.
const MAXIMUM_PATHS: u8 = 16;

/// FRR of one router.
#[derive(Clone, Debug)]
pub struct Frr {
    router: Router,
    namespace: Namespace,
    folder: PathBuf,
    asn: u32,
    nodes_asn: u32,
}

impl Frr {
    /// The FRR of `router` in `namespace`, with its files in `folder`.
    pub fn new(router: Router, namespace: Namespace, folder: impl Into<PathBuf>) -> Self {
        Self { router, namespace, folder: folder.into(), asn: router.asn(), nodes_asn: CLUSTER_ASN }
    }

    /// The same with other AS numbers than the lab's: the router's own and the nodes'.
    #[must_use]
    pub fn with_asns(mut self, router: u32, nodes: u32) -> Self {
        (self.asn, self.nodes_asn) = (router, nodes);
        self
    }

    /// Where configuration, sockets, pid files and logs are; `vtysh --vty_socket` takes it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the daemons and waits until each answers.
    ///
    /// # Errors
    /// When FRR is not installed, a daemon refuses its configuration, or does not answer in time.
    pub fn start(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(self.folder.join("zebra.conf"), self.zebra_configuration())?;
        std::fs::write(self.folder.join("bgpd.conf"), self.bgpd_configuration())?;
        // The daemons give up root for the user of Debian's package, so their folder must be that user's.
        output_of(Command::new("chown").args(["-R", "frr:frr"]).arg(&self.folder))?;
        for daemon in DAEMONS {
            self.start_daemon(daemon)?;
        }
        Ok(())
    }

    fn start_daemon(&self, daemon: &str) -> Result<()> {
        let program = Path::new(FRR_DAEMONS).join(daemon);
        if !program.exists() {
            bail!("{} is missing: install Debian's package frr", program.display());
        }
        let file = |extension: &str| self.folder.join(format!("{daemon}.{extension}"));
        let mut command = self.namespace.command(&program);
        command.args(["-d", "-u", "frr", "-g", "frr"]);
        if daemon == BFDD {
            command.arg("--bfdctl").arg(self.folder.join("bfdd.sock"));
        }
        if daemon == "zebra" {
            // Without it a change of an IPv6 route's next hops is a deletion and an addition, with a gap between them.
            command.arg("--v6-rr-semantics");
        }
        command.arg("-f").arg(file("conf")).arg("-i").arg(file("pid"));
        command.arg("-z").arg(self.folder.join("zserv.api"));
        command.arg("--vty_socket").arg(&self.folder).args(["-P", "0"]);
        command.arg("--log").arg(format!("file:{}", file("log").display()));
        output_of(&mut command)?;
        wait_for(&format!("{daemon} of {} answers", self.router.name()), START_DEADLINE, || {
            self.ask(daemon, "show version").map_err(|error| format!("{error:#}"))
        })?;
        Ok(())
    }

    /// Starts bfdd beside the others: what bgpd has to do with it is told it when it comes.
    ///
    /// # Errors
    /// As [`Frr::start`].
    pub fn start_bfd(&self) -> Result<()> {
        std::fs::write(self.folder.join("bfdd.conf"), "")?;
        self.start_daemon(BFDD)
    }

    /// The answer of bfdd to a command that ends in `json`, decoded.
    ///
    /// # Errors
    /// When bfdd is away, or answers with other JSON than expected.
    pub fn bfd_json<T: DeserializeOwned>(&self, line: &str) -> Result<T> {
        let text = self.ask(BFDD, line)?;
        serde_json::from_str(&text).with_context(|| format!("unexpected answer to `{line}`: {text}"))
    }

    /// As [`Frr::configure_bgpd`], of bfdd.
    ///
    /// # Errors
    /// When bfdd is away, or does not accept a line.
    pub fn configure_bfd(&self, lines: &[&str]) -> Result<()> {
        self.configure(BFDD, lines)
    }

    /// Ends bgpd by SIGKILL, and waits until it is gone: its port is nobody's then.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn kill_bgpd(&self) -> Result<()> {
        let text = std::fs::read_to_string(self.folder.join("bgpd.pid")).context("bgpd does not run")?;
        let pid = text.trim().parse().with_context(|| format!("no process ID: {text:?}"))?;
        kill("KILL", &[pid]);
        wait_for("bgpd is gone", KILL_DEADLINE, || match self.namespace.pids() {
            Ok(pids) if !pids.contains(&pid) => Ok(()),
            Ok(_) => Err("it still runs".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })?;
        Ok(())
    }

    /// Starts bgpd again after [`Frr::kill_bgpd`], as [`Frr::start`] did, with further lines of configuration at the end.
    ///
    /// # Errors
    /// As [`Frr::start`].
    pub fn start_bgpd_with(&self, further: &str) -> Result<()> {
        std::fs::write(self.folder.join("bgpd.conf"), self.bgpd_configuration() + further)?;
        self.start_daemon(BGPD)
    }

    /// The answer of bgpd to a command, for example `show bgp summary`.
    ///
    /// # Errors
    /// When bgpd is away, or does not know the command.
    pub fn bgpd(&self, line: &str) -> Result<String> {
        self.ask(BGPD, line)
    }

    /// The answer of bgpd to a command that ends in `json`, decoded.
    ///
    /// # Errors
    /// When bgpd is away, or answers with other JSON than expected.
    pub fn bgpd_json<T: DeserializeOwned>(&self, line: &str) -> Result<T> {
        let text = self.bgpd(line)?;
        serde_json::from_str(&text).with_context(|| format!("unexpected answer to `{line}`: {text}"))
    }

    /// Everything that bgpd logged since it started.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn bgpd_log(&self) -> Result<String> {
        let path = self.folder.join("bgpd.log");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Changes the configuration of the running bgpd, by the lines that one would type after `configure terminal`.
    ///
    /// # Errors
    /// When bgpd is away, or does not accept a line; those before it are in force then.
    pub fn configure_bgpd(&self, lines: &[&str]) -> Result<()> {
        self.configure(BGPD, lines)
    }

    fn configure(&self, daemon: &str, lines: &[&str]) -> Result<()> {
        let commands: Vec<_> = ["enable", "configure terminal"].iter().chain(lines).copied().collect();
        self.tell(daemon, &commands).map(drop)
    }

    /// Takes the running bgpd's BGP instance away, with its sessions, and makes the one of these lines, which begin with
    /// `router bgp`.
    ///
    /// # Errors
    /// As [`Frr::configure_bgpd`].
    pub fn replace_bgp(&self, lines: &[&str]) -> Result<()> {
        self.configure_bgpd(&[&["no router bgp"], lines].concat())
    }

    /// Undoes [`Frr::replace_bgp`]: the instance is again as [`Frr::start`] made it.
    ///
    /// # Errors
    /// As [`Frr::configure_bgpd`].
    pub fn restore_bgp(&self) -> Result<()> {
        let configuration = self.bgpd_configuration();
        self.replace_bgp(
            &configuration.lines().skip_while(|line| !line.starts_with("router bgp ")).collect::<Vec<_>>(),
        )
    }

    fn ask(&self, daemon: &str, line: &str) -> Result<String> {
        // A new connection starts in view mode, in which some `show` commands do not exist.
        self.tell(daemon, &["enable", line])
    }

    /// Talks to a daemon's vty socket as vtysh does: a command and a zero byte there; the answer, three zero bytes and a
    /// status byte back (`lib/vty.c`, `vtysh_read`). Returns the last answer.
    fn tell(&self, daemon: &str, commands: &[&str]) -> Result<String> {
        let path = self.folder.join(format!("{daemon}.vty"));
        let mut socket =
            UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))?;
        socket.set_read_timeout(Some(VTY_TIMEOUT))?;
        let mut last = String::new();
        for command in commands {
            socket.write_all(command.as_bytes())?;
            socket.write_all(&[0])?;
            let (text, status) =
                read_answer(&mut socket).with_context(|| format!("asking {daemon} `{command}`"))?;
            if status != 0 {
                bail!("{daemon} of {} refuses `{command}` ({status}): {}", self.router.name(), text.trim());
            }
            last = text;
        }
        Ok(last)
    }

    fn zebra_configuration(&self) -> String {
        format!("hostname {}\n", self.router.name())
    }

    /// What a careful network engineer would configure towards nodes: ECMP over them, graceful restart, RFC 8326 honoured
    /// on both kinds of session, nothing sent back.
    fn bgpd_configuration(&self) -> String {
        let Self { router, asn, nodes_asn, .. } = self;
        let mut text = format!(
            "hostname {name}
log timestamp precision 3
!
bgp community-list standard GSHUT permit graceful-shutdown
route-map FROM-NODES permit 10
 match community GSHUT
 set local-preference 0
route-map FROM-NODES permit 20
route-map NOTHING deny 10
!
router bgp {asn}
 bgp router-id {id}
 bgp log-neighbor-changes
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor NODES peer-group
 neighbor NODES remote-as {nodes_asn}
 neighbor NODES timers 3 9
 neighbor NODES timers connect 5
 neighbor NODES advertisement-interval 0
",
            name = router.name(),
            id = router.ipv4(),
        );
        for node in Node::ALL {
            let address = node.ipv4();
            // `write!` to a String cannot fail.
            let _ = writeln!(text, " neighbor {address} peer-group NODES");
            let _ = writeln!(text, " neighbor {address} description {}", node.name());
        }
        for family in ["ipv4", "ipv6"] {
            let _ = write!(
                text,
                " address-family {family} unicast
  neighbor NODES activate
  neighbor NODES soft-reconfiguration inbound
  neighbor NODES route-map FROM-NODES in
  neighbor NODES route-map NOTHING out
  maximum-paths {MAXIMUM_PATHS}
  maximum-paths ibgp {MAXIMUM_PATHS}
 exit-address-family
"
            );
        }
        text
    }
}

/// Bytes that end an answer, before the status byte.
const END_OF_ANSWER: [u8; 3] = [0; 3];

fn read_answer(socket: &mut UnixStream) -> Result<(String, u8)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let count = socket.read(&mut chunk)?;
        if count == 0 {
            bail!("the daemon closed the connection after {} bytes", bytes.len());
        }
        bytes.extend_from_slice(&chunk[..count]);
        // JSON and tables hold no zero byte, so the first one starts the end.
        if let [text @ .., _, _, _, status] = bytes.as_slice()
            && bytes[text.len()..text.len() + 3] == END_OF_ANSWER
        {
            return Ok((String::from_utf8_lossy(text).into_owned(), *status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_three_zero_bytes_and_a_status_however_it_is_cut() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let daemon = std::thread::spawn(move || {
            for byte in *b"{\"a\":1}\0\0\0\x02" {
                theirs.write_all(&[byte]).unwrap();
            }
        });
        assert_eq!(read_answer(&mut ours).unwrap(), ("{\"a\":1}".into(), 2));
        daemon.join().unwrap();
    }

    #[test]
    fn a_daemon_that_dies_in_the_middle_of_an_answer_is_an_error() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"half").unwrap();
        drop(theirs);
        assert!(read_answer(&mut ours).unwrap_err().to_string().contains("after 4 bytes"));
    }
}
