//! The table of cases.

use anyhow::Result;

use crate::Site;

mod data_path;
mod install;
mod leader;
mod local;
mod nodes;
mod outage;
mod policies;
mod upgrade;

/// One end-to-end case.
#[derive(Debug)]
pub struct Case {
    /// Its name: lower-case words with dashes, the number of the behaviour first.
    pub name: &'static str,
    /// The sentence that it proves.
    pub proves: &'static str,
    /// `make test` runs it; the others are run by `make e2e`.
    pub short: bool,
    /// It breaks nodes, or looks at the router or from the client: only in the project's own test cluster.
    pub needs_test_cluster: bool,
    /// Runs it, from the state that [`Site::reset`] makes.
    pub run: fn(&Site) -> Result<()>,
}

/// Every case, in the order in which they run.
pub const ALL: &[Case] = &[
    Case {
        name: "1-install-and-serve",
        proves: "after helm install, Services get addresses, routes with every node as next hop, and answers",
        short: true,
        needs_test_cluster: true,
        run: install::install_and_serve,
    },
    Case {
        name: "2-plugin-by-kubectl",
        proves: "a plugin is rolled out as ConfigMap and DecisionPolicy, a bad one is rejected, back is by pointing back",
        short: true,
        needs_test_cluster: true,
        run: policies::plugin_is_rolled_out_rejected_and_taken_back,
    },
    Case {
        name: "3-pod-moves",
        proves: "a pod of a Service with externalTrafficPolicy Local moves over all nodes, and no new connection fails",
        short: false,
        needs_test_cluster: true,
        run: local::pod_moves,
    },
    Case {
        name: "3-scale-to-zero",
        proves: "a Service without pods is withdrawn everywhere, keeps its address, and is back with its pods",
        short: false,
        needs_test_cluster: true,
        run: local::scales_to_zero_and_back,
    },
    Case {
        name: "3-cordon-and-drain",
        proves: "kubectl cordon and drain move pods and routes with them, and no request fails",
        short: false,
        needs_test_cluster: true,
        run: local::cordon_and_drain,
    },
    Case {
        name: "3-kubelets-silent",
        proves: "nodes that are Unknown, one or all, take no more than a third of a Service's announcers with them",
        short: false,
        needs_test_cluster: true,
        run: nodes::kubelets_fall_silent,
    },
    Case {
        name: "3-reboot",
        proves: "a node that lost its power is withdrawn, and announces again when it serves, not before",
        short: false,
        needs_test_cluster: true,
        run: nodes::reboot,
    },
    Case {
        name: "3-node-deleted",
        proves: "a deleted Node is shut down gracefully, then withdrawn, and is back when it joins again",
        short: false,
        needs_test_cluster: true,
        run: nodes::node_deleted,
    },
    Case {
        name: "3-exclude-label",
        proves: "a node that is excluded from load balancers withdraws, unless a setting ignores that",
        short: false,
        needs_test_cluster: true,
        run: nodes::exclude_label,
    },
    Case {
        name: "3-speaker-pod-deleted",
        proves: "a speaker whose pod is deleted goes silently, and the next one takes its routes over",
        short: false,
        needs_test_cluster: true,
        run: nodes::speaker_pod_deleted,
    },
    Case {
        name: "3-speakers-deleted",
        proves: "speakers whose DaemonSet is deleted shut down gracefully, then withdraw",
        short: false,
        needs_test_cluster: true,
        run: nodes::daemon_set_deleted,
    },
    Case {
        name: "3-closed-ports",
        proves: "a closed port is refused by the node without a loop, and a host port by an announced address too",
        short: false,
        needs_test_cluster: true,
        run: data_path::closed_and_host_ports,
    },
    Case {
        name: "3-echo",
        proves: "ping is answered as the setting says",
        short: false,
        needs_test_cluster: true,
        run: data_path::echo_by_setting,
    },
    Case {
        name: "4-leader-lost",
        proves: "controllers that are killed, paused and cut off hand out no address twice and lose none of 500",
        short: true,
        needs_test_cluster: true,
        run: leader::leader_is_lost_in_every_way,
    },
    Case {
        name: "5-api-away",
        proves: "three minutes without the API withdraw nothing, also where a speaker is killed meanwhile",
        short: false,
        needs_test_cluster: true,
        run: outage::api_is_away_for_three_minutes,
    },
    Case {
        name: "6-upgrade-under-traffic",
        proves: "helm upgrade replaces every pod, deletes no route and fails no request",
        short: true,
        needs_test_cluster: true,
        run: upgrade::upgrade_under_traffic,
    },
];
