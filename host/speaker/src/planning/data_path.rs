//! What a planner of a cluster has beside the others: this node's kube-proxy, and SpeakerState.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bellhop_api::{LoadedPolicy, Reason};
use bellhop_core::announce::Changes;
use bellhop_core::announce::whole_node::NodeDrain;
use bellhop_core::settings::SpeakerSettings;
use bellhop_core::{ObjectRef, Problem};
use bellhop_runtime::journal::Finder;
use tokio::sync::{Notify, watch};

use super::Planning;
use crate::health_checks::{PATIENCE, Questions};
use crate::proxy_health::{ProxyHealth, Target};
use crate::start_gate::{Passed, StartGate};
use crate::state::projection::{self, View};
use crate::state::writer::Report;

/// The drivers and handles that a planner has in a cluster alone.
#[derive(Debug)]
pub struct ClusterNeighbours {
    /// The driver of health check node ports.
    pub health_checks: watch::Sender<Questions>,
    /// The driver of kube-proxy's own health.
    pub proxy_health: watch::Sender<Option<Target>>,
    /// Told when SpeakerState may have changed.
    pub state_changed: Arc<Notify>,
}

/// The same, with what is known of it.
#[derive(Debug)]
pub(super) struct Cluster {
    neighbours: ClusterNeighbours,
    gate: StartGate,
    health: Option<ProxyHealth>,
    /// Health checks are asked since then.
    checks_since: Option<Instant>,
    draining: Option<NodeDrain>,
}

impl Cluster {
    pub(super) fn new(neighbours: ClusterNeighbours, restarted: bool) -> Self {
        Self { neighbours, gate: StartGate::new(restarted), health: None, checks_since: None, draining: None }
    }
}

impl Planning {
    /// Where kube-proxy's first sign of life is waited for: when the wait ends by itself.
    pub(super) fn gate_deadline(&self) -> Option<Instant> {
        self.cluster.as_ref().and_then(|cluster| cluster.gate.deadline(cluster.health))
    }

    /// True where no sign of life of kube-proxy is waited for.
    pub(super) fn gate_passed(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.gate.passed().is_some())
    }

    /// Since when health checks are waited for.
    pub(super) fn checks_since(&self) -> Instant {
        let since = self.cluster.as_ref().and_then(|cluster| cluster.checks_since);
        since.unwrap_or(self.phase_since)
    }

    /// Tells the drivers what is to be asked, and looks whether the start has waited long enough.
    pub(super) fn follow_data_path(&mut self, now: Instant) {
        let Some(cluster) = &mut self.cluster else { return };
        let node = self.world.nodes().get(&self.options.node);
        let settings = node.map(|node| SpeakerSettings::of(&self.world, node, self.options.bind_by_default));
        let mut addresses = node.map(|node| node.addresses.clone()).unwrap_or_default();
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let addresses: Arc<[IpAddr]> = addresses.into();
        if let Some(settings) = settings {
            let target = settings.proxy_health_port.map(|port| Target { addresses: addresses.clone(), port });
            replace_if_other(&cluster.neighbours.proxy_health, target);
            let asked = settings.proxy_health_port.is_some();
            if cluster.gate.passed().is_none() && cluster.gate.look(now, asked, cluster.health).is_some() {
                cluster.checks_since = Some(now);
            }
        }
        if cluster.gate.passed().is_some() {
            // Before, kube-proxy would not answer, and a Service's patience would be used up.
            let checks = self.announcer.health_checks().cloned().collect();
            replace_if_other(&cluster.neighbours.health_checks, Questions { checks, addresses });
        }
        let draining = self.announcer.draining();
        if draining != cluster.draining {
            match draining {
                Some(drain) => tracing::warn!(reason = drain.reason(), "the node drains"),
                None => tracing::info!("the node does not drain any more"),
            }
            cluster.draining = draining;
        }
        let problems = self.data_path_problems();
        self.journal.all(Finder::Proxy, &problems);
        self.follow_grace();
    }

    /// Takes over what kube-proxy says of itself. Silence and trouble say nothing about the node.
    pub(super) fn take_proxy_health(&mut self, health: ProxyHealth) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.health = Some(health);
        match health {
            ProxyHealth::Well { leaving: true } => {
                self.announcer.drain(&self.world, NodeDrain::NodeLeaving);
            }
            ProxyHealth::Well { leaving: false } => {
                self.announcer.resume(&self.world, NodeDrain::NodeLeaving);
            }
            ProxyHealth::Silent | ProxyHealth::Unwell => {}
        }
    }

    /// What is announced without proof that it is served.
    pub(super) fn data_path_problems(&self) -> Vec<Problem> {
        let Some(cluster) = &self.cluster else { return Vec::new() };
        let reason = Reason::DataPathUnproven.as_str();
        let node = ObjectRef::cluster("Node", self.options.node.clone());
        let well = matches!(cluster.health, Some(ProxyHealth::Well { .. }));
        let message = match cluster.gate.passed() {
            Some(Passed::Silent) if !well => {
                "no kube-proxy answers on /livez, so its services were announced without proof; where something else \
                 takes its place, set spec.proxyHealth.enabled: false in a SpeakerConfig"
            }
            Some(Passed::Unwell) if !well => {
                "kube-proxy's /livez did not become well in time, so its services were announced without proof"
            }
            _ => "",
        };
        let of_node = (!message.is_empty()).then(|| Problem::new(node, reason, "", "", message));
        let of_service = |service| {
            let message = format!(
                "kube-proxy on this node did not answer 200 on the health check node port within {} s; announced all the \
                 same",
                PATIENCE.as_secs()
            );
            let object = ObjectRef::namespaced("Service", service);
            Problem::new(object, reason, "spec.healthCheckNodePort", "", message)
        };
        of_node.into_iter().chain(self.announcer.unproven().map(of_service)).collect()
    }

    /// Notes that something may have changed that SpeakerState says.
    pub(super) fn note_state(&self, changes: &Changes) {
        if let Some(cluster) = &self.cluster
            && (changes.planned > 0 || !changes.is_empty())
        {
            cluster.neighbours.state_changed.notify_one();
        }
    }

    /// A phase has begun.
    pub(super) fn note_phase(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.neighbours.state_changed.notify_one();
        }
    }

    /// What SpeakerState is to say.
    pub(super) fn report(&self) -> Report {
        let policies = self.policies.rows().into_iter().map(|row| LoadedPolicy {
            sha256: self.policies.active(&row.name).map(ToString::to_string).unwrap_or_default(),
            message: row.message.unwrap_or_default(),
            name: row.name,
        });
        let mut status = projection::status(View {
            phase: self.phase,
            announcer: &self.announcer,
            node: &self.options.node,
            sessions: &self.bgp.snapshot(),
            policies: policies.collect(),
        });
        status.conditions.extend(self.grace_condition());
        Report { status, nodes: self.world.nodes().len() }
    }
}

/// A neighbour is woken by news alone.
fn replace_if_other<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let other = *current != value;
        if other {
            *current = value;
        }
        other
    });
}
