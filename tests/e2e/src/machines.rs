//! What cases break of the machines, and how it is made whole again.

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_test_cluster::{Node, Program, wait_for};
use serde_json::Value;

use crate::routes::hop;
use crate::site::{NAMESPACE, PODS, SOON, Site};

/// Keeps a node from announcing: of the API ("The label node.kubernetes.io/exclude-from-external-load-balancers").
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// What systemd makes on a node as soon as it shuts it down (systemd-logind(8), pam_nologin(8)).
pub const NO_LOGIN: &str = "/run/nologin";
/// Says that a node is about to be deleted: the cluster autoscaler's taint, which kube-proxy knows too.
pub const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// A taint of cases about policies.
pub const MAINTENANCE: &str = "example.com/maintenance";
/// Speakers, by label.
pub const SPEAKERS: &str = "app.kubernetes.io/component=speaker";

impl Site {
    /// Makes machines and Nodes whole, whatever a case has left of them.
    ///
    /// # Errors
    /// When they do not become whole.
    pub fn mend_machines(&self) -> Result<()> {
        let cluster = self.cluster()?;
        for node in Node::ALL {
            if cluster.mend(node).is_err() {
                cluster.boot_node(node)?;
            } else {
                output_of(cluster.on(node, "rm").args(["-f", NO_LOGIN]))?;
            }
            for program in [Program::Kubelet, Program::KubeProxy] {
                self.start_program(node, program)?;
            }
        }
        let nodes = self.json(&["get", "nodes"])?;
        let there = |node: &Node| {
            nodes["items"].as_array().into_iter().flatten().any(|one| one["metadata"]["name"] == *node.name())
        };
        for node in Node::ALL.iter().filter(|node| !there(node)) {
            self.join(*node)?;
        }
        for node in nodes["items"].as_array().into_iter().flatten() {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let keys: Vec<_> = taints.filter_map(|taint| taint["key"].as_str()).collect();
            for key in [TO_BE_DELETED, MAINTENANCE].iter().filter(|key| keys.contains(key)) {
                cluster.kubectl(&["taint", "node", name, &format!("{key}-")])?;
            }
        }
        cluster.kubectl(&["uncordon", "-l", "kubernetes.io/os=linux"])?;
        cluster.kubectl(&["label", "node", "--all", &format!("{EXCLUDE_LABEL}-")])?;
        cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"]).map(drop)
    }

    /// Lets a program be started that was stopped. A machine that has just begun to boot does not know it yet.
    ///
    /// # Errors
    /// When the machine does not run it.
    pub fn start_program(&self, node: Node, program: Program) -> Result<()> {
        let what = format!("{} has a {}", node.name(), program.name());
        let start = || self.cluster()?.start(node, program);
        Ok(wait_for(&what, SOON, || start().map_err(|error| format!("{error:#}")))?)
    }

    /// Registers a node whose Node was deleted: its kubelet does that when it starts. The test cluster gives pod ranges by
    /// hand, as at its first start.
    ///
    /// # Errors
    /// When it does not register.
    pub fn join(&self, node: Node) -> Result<()> {
        let (cluster, name) = (self.cluster()?, node.name());
        cluster.kill(node, Program::Kubelet)?;
        wait_for(&format!("{name} registers"), PODS, || {
            cluster.kubectl(&["get", "node", &name]).map_err(|error| format!("{error:#}"))
        })?;
        let number = name.trim_start_matches("node-");
        let (ipv4, ipv6) = (format!("10.244.{number}.0/24"), format!("fd00:244:0:{number}::/64"));
        let patch = format!(r#"{{"spec": {{"podCIDR": "{ipv4}", "podCIDRs": ["{ipv4}", "{ipv6}"]}}}}"#);
        cluster.kubectl(&["patch", "node", &name, "-p", &patch]).map(drop)
    }

    /// Waits until a Node's condition Ready has this status.
    ///
    /// # Errors
    /// With the status that it has instead.
    pub fn expect_ready(&self, node: Node, status: &str) -> Result<()> {
        wait_for(&format!("{} is Ready={status}", node.name()), PODS, || {
            let object = self.json(&["get", "node", &node.name()]).map_err(|error| format!("{error:#}"))?;
            let ready = crate::site::condition(&object, "Ready").map(|ready| &ready["status"]);
            if ready == Some(&status.into()) { Ok(()) } else { Err(format!("{ready:?}")) }
        })?;
        Ok(())
    }

    /// The speaker's pod on a node.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn speaker(&self, node: Node) -> Result<Value> {
        let by_node = format!("spec.nodeName={}", node.name());
        let mut pods =
            self.json(&["-n", NAMESPACE, "get", "pods", "-l", SPEAKERS, "--field-selector", &by_node])?;
        let pods = pods["items"].as_array_mut().context("no list of pods")?;
        ensure!(pods.len() == 1, "{} speakers on {}", pods.len(), node.name());
        Ok(pods.remove(0))
    }

    /// The nodes that the router reaches an address by, at this moment.
    ///
    /// # Errors
    /// When the router cannot be asked.
    pub fn next_hops(&self, address: std::net::IpAddr) -> Result<Vec<Node>> {
        let routes = bellhop_lab::observe::kernel::bgp_routes(&self.cluster()?.router())?;
        let hops = routes.get(&address.to_string()).cloned().unwrap_or_default();
        Ok(Node::ALL.into_iter().filter(|node| hops.contains(&hop(*node, address))).collect())
    }
}
