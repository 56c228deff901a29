//! The lab itself: six namespaces wired by veth pairs and a bridge, two of them with FRR.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::output_of;
use crate::frr::Frr;
use crate::netns::Namespace;
use crate::plan::{HTTP_PORT, Node, Router};
use crate::wait::wait_for;

/// Parent of every lab's run directory.
pub const RUN_ROOT: &str = "/run/bellhop-lab";

/// How often a lab that begins may lose its run directory's parent to labs that end; as many as tests run at once do.
const RUN_DIRECTORY_TRIES: usize = 8;
/// Longest prefix of a lab. Unix socket paths hold 107 bytes, and the prefix is in all of them.
const PREFIX_MAX: usize = 24;
/// How long an HTTP server may take to answer after it was started.
const SERVER_DEADLINE: Duration = Duration::from_secs(5);
/// Networks from which the pools of the demo hand out; only the client routes them, towards the routers.
const SERVICE_NETWORKS: [&str; 2] = ["203.0.113.0/24", "2001:db8:53::/48"];

/// A lab, named by its prefix. The value is a handle: dropping it leaves the lab standing; see [`Guard`].
#[derive(Clone, Debug)]
pub struct Lab {
    prefix: String,
    tool: PathBuf,
}

impl Lab {
    /// A handle on the lab of this prefix, which may or may not stand. `tool` is the `lab` program, which is started inside
    /// the namespaces as HTTP server and load generator.
    ///
    /// # Errors
    /// When the prefix is not 1 to 24 lowercase letters, digits or dashes.
    pub fn named(prefix: &str, tool: impl Into<PathBuf>) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !prefix.is_empty()
                && prefix.len() <= PREFIX_MAX
                && prefix.chars().all(fits)
                && !prefix.starts_with('-'),
            "prefix \"{prefix}\": give 1 to {PREFIX_MAX} lowercase letters, digits or dashes"
        );
        Ok(Self { prefix: prefix.into(), tool: tool.into() })
    }

    /// Its prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Directory of its sockets, pid files and logs.
    pub fn run(&self) -> PathBuf {
        Path::new(RUN_ROOT).join(&self.prefix)
    }

    /// The `lab` program.
    pub fn tool(&self) -> &Path {
        &self.tool
    }

    /// Its member of this name: `router-a`, `node-1`, `client`, `fabric`.
    pub fn member(&self, name: &str) -> Namespace {
        Namespace::named(format!("{}-{name}", self.prefix))
    }

    /// Namespace of a router.
    pub fn router(&self, router: Router) -> Namespace {
        self.member(router.name())
    }

    /// Namespace of a node.
    pub fn node(&self, node: Node) -> Namespace {
        self.member(&node.name())
    }

    /// Namespace of the client.
    pub fn client(&self) -> Namespace {
        self.member("client")
    }

    /// Namespace of the bridge between routers and nodes.
    pub fn fabric(&self) -> Namespace {
        self.member("fabric")
    }

    /// FRR of a router.
    pub fn frr(&self, router: Router) -> Frr {
        Frr::new(router, self.router(router), self.run().join(router.name()))
    }

    /// All namespaces, whether they stand or not.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let routers = Router::ALL.map(|router| self.router(router));
        let nodes = Node::ALL.map(|node| self.node(node));
        [self.fabric(), self.client()].into_iter().chain(routers).chain(nodes).collect()
    }

    /// True when anything of it stands.
    pub fn exists(&self) -> bool {
        self.run().exists() || self.namespaces().iter().any(Namespace::exists)
    }

    /// Sets it up: namespaces, links, routes, FRR, HTTP servers. What is left of an earlier lab of the same prefix is removed
    /// first. A lab that could not be set up whole is removed again.
    ///
    /// # Errors
    /// Without root, without FRR or iproute2, or where the kernel lacks network namespaces, bridges or multipath routes.
    pub fn up(&self) -> Result<()> {
        require_root()?;
        self.down()?;
        let result = self.build();
        if result.is_err() {
            // The first failure is the one to tell; `lab down` can be called again for what this leaves.
            let _ = self.down();
        }
        result.with_context(|| format!("cannot set up lab {}", self.prefix))
    }

    fn build(&self) -> Result<()> {
        self.make_run_directory().with_context(|| format!("cannot make {}", self.run().display()))?;
        for namespace in self.namespaces() {
            namespace.create()?;
            namespace.sysctl(&[
                // No duplicate address detection: an address is usable at once, on links that only we use.
                ("net.ipv6.conf.all.accept_dad", "0"),
                ("net.ipv6.conf.default.accept_dad", "0"),
                ("net.ipv6.conf.default.accept_ra", "0"),
            ])?;
        }
        self.fabric().ip_batch(
            "link add fabric type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set fabric up",
        )?;
        self.build_nodes()?;
        self.build_routers()?;
        self.build_client()?;
        for router in Router::ALL {
            self.frr(router).start()?;
        }
        for node in Node::ALL {
            self.start_server(node)?;
        }
        Ok(())
    }

    /// Connects a member to the bridge by an interface named `fabric`.
    fn plug_in(&self, member: &Namespace, port: &str) -> Result<()> {
        self.fabric().ip_batch(&format!(
            "link add {port} type veth peer name fabric netns {}\nlink set {port} master fabric up",
            member.name()
        ))
    }

    fn build_nodes(&self) -> Result<()> {
        for node in Node::ALL {
            let namespace = self.node(node);
            self.plug_in(&namespace, &node.name())?;
            let mut lines = format!(
                "link set fabric up\naddress add {}/24 dev fabric\naddress add {}/64 dev fabric nodad\n",
                node.ipv4(),
                node.ipv6()
            );
            // Answers take the way back through the router the question came from, because each router has its own link
            // to the client. There is no default route: a node cannot send anything out of the lab.
            for router in Router::ALL {
                let (ipv4, ipv6) = (router.client_link_ipv4().1, router.client_link_ipv6().1);
                let _ = writeln!(lines, "route add {ipv4}/32 via {}", router.ipv4());
                let _ = writeln!(lines, "route add {ipv6}/128 via {}", router.ipv6());
            }
            namespace.ip_batch(&lines)?;
        }
        Ok(())
    }

    fn build_routers(&self) -> Result<()> {
        for router in Router::ALL {
            let namespace = self.router(router);
            namespace.sysctl(&[
                ("net.ipv4.ip_forward", "1"),
                ("net.ipv6.conf.all.forwarding", "1"),
                // ECMP by addresses and ports, so that one client reaches every node.
                ("net.ipv4.fib_multipath_hash_policy", "1"),
                ("net.ipv6.fib_multipath_hash_policy", "1"),
                // A next hop whose link is down is no next hop.
                ("net.ipv4.conf.all.ignore_routes_with_linkdown", "1"),
            ])?;
            self.plug_in(&namespace, router.name())?;
            let (ipv4, ipv6) = (router.client_link_ipv4().0, router.client_link_ipv6().0);
            namespace.ip_batch(&format!(
                "link set fabric up
address add {}/24 dev fabric
address add {}/64 dev fabric nodad
link add client type veth peer name {} netns {}
link set client up
address add {ipv4}/30 dev client
address add {ipv6}/64 dev client nodad
",
                router.ipv4(),
                router.ipv6(),
                router.client_interface(),
                self.client().name(),
            ))?;
        }
        Ok(())
    }

    /// The client reaches the service networks over both routers at once, spread by ports as on the routers; bound to one
    /// of its interfaces it uses that router alone.
    fn build_client(&self) -> Result<()> {
        let client = self.client();
        client.sysctl(&[
            ("net.ipv4.fib_multipath_hash_policy", "1"),
            ("net.ipv6.fib_multipath_hash_policy", "1"),
        ])?;
        let mut lines = String::new();
        for router in Router::ALL {
            let interface = router.client_interface();
            let _ = writeln!(lines, "link set {interface} up");
            let _ = writeln!(lines, "address add {}/30 dev {interface}", router.client_link_ipv4().1);
            let _ = writeln!(lines, "address add {}/64 dev {interface} nodad", router.client_link_ipv6().1);
        }
        let [ipv4, ipv6] = SERVICE_NETWORKS;
        let _ = write!(lines, "route add {ipv4}");
        for router in Router::ALL {
            let _ = write!(lines, " nexthop via {}", router.client_link_ipv4().0);
        }
        let _ = write!(lines, "\nroute add {ipv6}");
        for router in Router::ALL {
            let _ = write!(
                lines,
                " nexthop via {} dev {}",
                router.client_link_ipv6().0,
                router.client_interface()
            );
        }
        lines.push('\n');
        client.ip_batch(&lines)
    }

    /// Starts a node's HTTP server and waits until it answers.
    fn start_server(&self, node: Node) -> Result<()> {
        let mut command = self.node(node).detached(&self.tool);
        command.args(["serve", "--name", &node.name(), "--port", &HTTP_PORT.to_string()]);
        spawn_logged(&mut command, &self.run().join(format!("{}-http.log", node.name())))?;
        let url = format!("http://{}:{HTTP_PORT}/", node.ipv4());
        wait_for(&format!("the HTTP server of {} answers", node.name()), SERVER_DEADLINE, || {
            let mut ask = self.node(node).command(&self.tool);
            let body = output_of(ask.args(["get", &url])).map_err(|error| format!("{error:#}"))?;
            if body.trim() == node.name() { Ok(()) } else { Err(format!("it answers {body:?}")) }
        })?;
        Ok(())
    }

    /// The last lab that goes takes the parent with it, perhaps just after this made it.
    fn make_run_directory(&self) -> std::io::Result<()> {
        let mut made = std::fs::create_dir_all(self.run());
        for _ in 0..RUN_DIRECTORY_TRIES {
            match &made {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    made = std::fs::create_dir_all(self.run());
                }
                _ => break,
            }
        }
        made
    }

    /// Removes everything of it, also after a setup that failed half-way or a crash: processes, namespaces with their
    /// links, run directory. Does nothing where nothing is left.
    ///
    /// # Errors
    /// With everything that could not be removed; the rest is.
    pub fn down(&self) -> Result<()> {
        require_root()?;
        let mut failures = Vec::new();
        for namespace in self.namespaces() {
            if let Err(error) = namespace.remove() {
                failures.push(format!("{}: {error:#}", namespace.name()));
            }
        }
        let run = self.run();
        if run.exists()
            && let Err(error) = std::fs::remove_dir_all(&run)
        {
            failures.push(format!("{}: {error}", run.display()));
        }
        // The parent goes with the last lab; where another one stands it is not empty and stays.
        let _ = std::fs::remove_dir(RUN_ROOT);
        if !failures.is_empty() {
            bail!("lab {} is not removed whole: {}", self.prefix, failures.join("; "));
        }
        Ok(())
    }

    /// The prefixes of all labs on this machine that have a run directory.
    pub fn standing() -> Vec<String> {
        let entries = std::fs::read_dir(RUN_ROOT).into_iter().flatten().flatten();
        let mut prefixes: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        prefixes.sort();
        prefixes
    }

    /// Asks a URL once from inside a namespace, see [`crate::http::get`].
    ///
    /// # Errors
    /// When the request fails.
    pub fn get_from(&self, namespace: &Namespace, url: &str) -> Result<String> {
        output_of(namespace.command(&self.tool).args(["get", url])).map(|body| body.trim().to_owned())
    }
}

/// Starts a program with its standard output and error appended to `log`.
///
/// # Errors
/// When the log cannot be opened or the program not be started.
pub fn spawn_logged(command: &mut Command, log: &Path) -> Result<Child> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("cannot start `{}`", crate::command::shown(command)))
}

/// Removes its lab when dropped, also when a test panics. [`Guard::keep`] leaves it standing.
#[derive(Debug)]
pub struct Guard {
    lab: Option<Lab>,
}

impl Guard {
    /// Sets a lab up and answers for its removal.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up(lab: Lab) -> Result<Self> {
        lab.up()?;
        Ok(Self { lab: Some(lab) })
    }

    /// Leaves the lab standing.
    pub fn keep(mut self) {
        self.lab = None;
    }

    /// Removes the lab now.
    ///
    /// # Errors
    /// As [`Lab::down`].
    pub fn down(mut self) -> Result<()> {
        self.lab.take().map_or(Ok(()), |lab| lab.down())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take()
            && let Err(error) = lab.down()
        {
            eprintln!("{error:#}");
        }
    }
}

/// # Errors
/// When this process is not root's.
pub fn require_root() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    ensure!(
        effective == Some("0"),
        "the lab needs root, for network namespaces and FRR: run it as root or with sudo"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_would_not_fit_into_names_and_paths_is_refused() {
        for prefix in ["", "-a", "A", "a/b", "..", "a b", "abcdefghijklmnopqrstuvwxy"] {
            assert!(Lab::named(prefix, "lab").is_err(), "{prefix:?} is accepted");
        }
        assert!(Lab::named("demo-1", "lab").is_ok());
    }
}
