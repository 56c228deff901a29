//! Machines, what runs on them, and how they fail.

use std::process::Command;

use anyhow::Result;
use bellhop_lab::Node;
use bellhop_lab::command::output_of;

use crate::cluster::Cluster;

/// A machine: network, process, mount, UTS and IPC namespaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Machine {
    /// The control plane's.
    ControlPlane,
    /// A node's.
    Node(Node),
}

impl Machine {
    /// Its name: `cp`, `node-1`.
    pub fn name(self) -> String {
        match self {
            Self::ControlPlane => "cp".into(),
            Self::Node(node) => node.name(),
        }
    }
}

impl From<Node> for Machine {
    fn from(node: Node) -> Self {
        Self::Node(node)
    }
}

/// A program that a machine keeps running.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Program {
    /// On the control plane.
    Etcd,
    /// kube-apiserver, on the control plane.
    ApiServer,
    /// kube-controller-manager, on the control plane.
    ControllerManager,
    /// kube-scheduler, on the control plane.
    Scheduler,
    /// On a node. Its pods go on when it ends.
    Containerd,
    /// On a node. Its pods go on when it ends.
    Kubelet,
    /// On a node. Its rules stay when it ends.
    KubeProxy,
}

impl Program {
    /// Its name, which is also that of its log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }
}

/// A way in which a node is cut off. What is cut is dropped, not refused; open connections too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cut {
    /// The node, with kubelet, kube-proxy and pods, from the control plane; the rest of its traffic goes on.
    Api,
    /// What its pods (those in the node's network too) send to the Service `kubernetes`; the kubelet still reports.
    PodsApi,
    /// The node from everything, as if its cable had been drawn.
    Link,
}

impl Cut {
    /// As cut.sh calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::PodsApi => "pods-api",
            Self::Link => "link",
        }
    }
}

impl Cluster {
    /// A call of a program inside a machine, in all of its namespaces; not started.
    pub fn on(&self, machine: impl Into<Machine>, program: &str) -> Command {
        let mut command = self.script("enter.sh");
        command.args([&machine.into().name(), program]);
        command
    }

    /// Cuts a node's power: it is gone at once, with its pods, and no connection of it is closed. Its disk stays.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill_node(&self, node: Node) -> Result<()> {
        output_of(self.script("machine.sh").args(["kill", &node.name()])).map(drop)
    }

    /// Starts a node, with a new network, an empty `/run` and a new boot ID; one that is on loses its power first. Returns when it has
    /// begun to boot.
    ///
    /// # Errors
    /// When it does not start.
    pub fn boot_node(&self, node: Node) -> Result<()> {
        output_of(self.script("machine.sh").args(["boot", &node.name()])).map(drop)
    }

    /// Stops a program where it is, by SIGSTOP: its connections stay open and nothing answers on them.
    ///
    /// # Errors
    /// When the machine does not run it.
    pub fn freeze(&self, machine: impl Into<Machine>, program: Program) -> Result<()> {
        self.process("freeze", machine.into(), program)
    }

    /// Lets a frozen program go on.
    ///
    /// # Errors
    /// When the machine does not run it.
    pub fn thaw(&self, machine: impl Into<Machine>, program: Program) -> Result<()> {
        self.process("thaw", machine.into(), program)
    }

    /// Kills a program by SIGKILL; the machine starts it again half a second later.
    ///
    /// # Errors
    /// When the machine does not run it.
    pub fn kill(&self, machine: impl Into<Machine>, program: Program) -> Result<()> {
        self.process("kill", machine.into(), program)
    }

    /// Kills a program by SIGKILL and keeps it from being started again; returns when it has ended.
    ///
    /// # Errors
    /// When the machine does not run it.
    pub fn stop(&self, machine: impl Into<Machine>, program: Program) -> Result<()> {
        self.process("stop", machine.into(), program)
    }

    /// Lets a stopped program be started again.
    ///
    /// # Errors
    /// When the machine does not run it.
    pub fn start(&self, machine: impl Into<Machine>, program: Program) -> Result<()> {
        self.process("start", machine.into(), program)
    }

    fn process(&self, action: &str, machine: Machine, program: Program) -> Result<()> {
        output_of(self.script("process.sh").args([action, &machine.name(), program.name()])).map(drop)
    }

    /// Cuts a node off, until [`Cluster::mend`].
    ///
    /// # Errors
    /// When the node is off.
    pub fn cut(&self, node: Node, way: Cut) -> Result<()> {
        output_of(self.script("cut.sh").args([&node.name(), way.word()])).map(drop)
    }

    /// Ends every cut of a node.
    ///
    /// # Errors
    /// When the node is off.
    pub fn mend(&self, node: Node) -> Result<()> {
        output_of(self.script("cut.sh").args([&node.name(), "none"])).map(drop)
    }
}
