//! The table of cases.

use anyhow::Result;

use crate::Site;

mod aggregate;
mod catalogue;
mod data_path;
mod install;
mod leader;
mod local;
mod metrics;
mod nodes;
mod outage;
mod passwords;
mod policies;
mod publication;
mod rbac;
mod services;
mod uninstall;
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
        name: "1-first-service",
        proves: "the page of the first Service does what it says, in either order",
        short: true,
        needs_test_cluster: true,
        run: install::first_service_as_the_page_says,
    },
    // case: peers-84
    Case {
        name: "2-plugin-by-kubectl",
        proves: "a plugin is rolled out as ConfigMap and DecisionPolicy, a bad one is rejected, back is by pointing back",
        short: true,
        needs_test_cluster: true,
        run: policies::plugin_is_rolled_out_rejected_and_taken_back,
    },
    Case {
        name: "2-nodes-and-addresses",
        proves: "by policies from ConfigMaps a cordoned node drains, a tainted one withdraws, and a label says how an address ends",
        short: false,
        needs_test_cluster: true,
        run: policies::nodes_and_addresses_by_policy,
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
        proves: "nodes that are Unknown, one or all, take no more than a third of a Service's announcers with them, nor when they come back",
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
        name: "3-reboot-frozen-proxy",
        proves: "a node that boots announces nothing while its kube-proxy listens and does not answer",
        short: false,
        needs_test_cluster: true,
        run: publication::reboot_with_a_frozen_proxy,
    },
    Case {
        name: "3-node-deleted",
        proves: "a deleted Node is shut down gracefully, then withdrawn, and is back when it joins again",
        short: false,
        needs_test_cluster: true,
        run: nodes::node_deleted,
    },
    Case {
        name: "3-node-to-be-deleted",
        proves: "a node that is about to be deleted, as kube-proxy's health says, is shut down gracefully and withdrawn, and back when it stays",
        short: false,
        needs_test_cluster: true,
        run: nodes::node_about_to_be_deleted,
    },
    Case {
        name: "3-exclude-label",
        proves: "a node that is excluded from load balancers withdraws, unless a setting ignores that",
        short: false,
        needs_test_cluster: true,
        run: nodes::exclude_label,
    },
    // case: bgp-70, peers-65, peers-73
    Case {
        name: "3-speaker-pod-deleted",
        proves: "a speaker whose pod is deleted goes silently, and the next one takes its routes over",
        short: false,
        needs_test_cluster: true,
        run: nodes::speaker_pod_deleted,
    },
    Case {
        name: "3-node-shuts-down",
        proves: "a speaker whose pod is deleted because its node shuts down does so gracefully, then withdraws",
        short: false,
        needs_test_cluster: true,
        run: nodes::node_shuts_down,
    },
    // case: bgp-70
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
        name: "3-strict-arp",
        proves: "a node whose kernel answers ARP for kube-proxy's IPVS addresses is named, until strict ARP is on",
        short: false,
        needs_test_cluster: true,
        run: data_path::ipvs_without_strict_arp,
    },
    Case {
        name: "3-route-after-data-path",
        proves: "from the first route to a new Service on, every connection is answered, one Service after another and 30 at once",
        short: false,
        needs_test_cluster: true,
        run: publication::routes_never_lead_the_data_path,
    },
    // case: bgp-63
    Case {
        name: "3-aggregate",
        proves: "one prefix stands for the addresses of a pool, unused ones are refused without a loop, Local has its host routes",
        short: false,
        needs_test_cluster: true,
        run: aggregate::aggregate,
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
        proves: "three minutes without the API withdraw nothing, also where a speaker is killed meanwhile, which announces by a policy's module",
        short: false,
        needs_test_cluster: true,
        run: outage::api_is_away_for_three_minutes,
    },
    Case {
        name: "5-nodes-cut-off",
        proves: "nodes that are all cut off from the API withdraw nothing, nor when they hear that all are Unknown, and do what was asked meanwhile",
        short: false,
        needs_test_cluster: true,
        run: outage::every_node_is_cut_off,
    },
    // case: peers-65
    Case {
        name: "6-upgrade-under-traffic",
        proves: "helm upgrade replaces every pod, withdraws no route and fails no request",
        short: true,
        needs_test_cluster: true,
        run: upgrade::upgrade_under_traffic,
    },
    Case {
        name: "6-upgrade-from-before",
        proves: "helm upgrade from the chart of the version before withdraws no route and fails no request",
        short: true,
        needs_test_cluster: true,
        run: upgrade::upgrade_from_the_version_before,
    },
    Case {
        name: "7-classes",
        proves: "other load balancers' Services stay untouched, and those without a class are served in class-less mode alone",
        short: false,
        needs_test_cluster: true,
        run: services::classes,
    },
    Case {
        name: "7-type-changes",
        proves: "a Service that is no LoadBalancer any more loses address and route, and gets new ones when it is again",
        short: false,
        needs_test_cluster: true,
        run: services::type_changes,
    },
    Case {
        name: "7-deleted-while-away",
        proves: "Services deleted and made anew while no controller runs are withdrawn at once and put right later",
        short: false,
        needs_test_cluster: true,
        run: services::deleted_while_controllers_are_away,
    },
    Case {
        name: "7-namespace-deleted",
        proves: "a deleted namespace takes routes and claims with it, and waits for nobody",
        short: false,
        needs_test_cluster: true,
        run: services::namespace_is_deleted,
    },
    Case {
        name: "7-status-of-others",
        proves: "a status that somebody else wrote announces nothing, withdraws nothing and is corrected",
        short: false,
        needs_test_cluster: true,
        run: services::status_of_somebody_else,
    },
    Case {
        name: "7-claims-lost",
        proves: "claims that are deleted are made again for the same addresses, before anything new is allocated",
        short: false,
        needs_test_cluster: true,
        run: services::claims_are_lost,
    },
    Case {
        name: "7-claims-kind-lost",
        proves: "the kind of claims is deleted and brought back by the chart: no address changes and no route is withdrawn",
        short: false,
        needs_test_cluster: true,
        run: services::kind_of_claims_is_lost,
    },
    // case: bgp-70
    Case {
        name: "7-uninstall",
        proves: "helm uninstall says GRACEFUL_SHUTDOWN, withdraws, leaves CRDs and claims, and installing again adopts them",
        short: false,
        needs_test_cluster: true,
        run: uninstall::uninstall_and_install_again,
    },
    Case {
        name: "8-nothing-denied",
        proves: "started and used with the chart's own ServiceAccounts, controllers and speakers are denied nothing",
        short: false,
        needs_test_cluster: true,
        run: rbac::nothing_is_denied,
    },
    Case {
        name: "8-denied-verb",
        proves: "a right that is missing is named by verb and resource, and everything else goes on",
        short: false,
        needs_test_cluster: true,
        run: rbac::denied_verb_is_named,
    },
    Case {
        name: "8-helm-test",
        proves: "helm test passes, and fails while no controller leads",
        short: false,
        needs_test_cluster: true,
        run: rbac::helm_test,
    },
    Case {
        name: "8-metrics",
        proves: "every pod's metrics pass promtool",
        short: false,
        needs_test_cluster: false,
        run: metrics::metrics_are_well_formed,
    },
    Case {
        name: "8-alerts",
        proves: "on a healthy installation no alert fires, and whatever alerts and dashboard name is there to be scraped",
        short: false,
        needs_test_cluster: true,
        run: metrics::no_alert_fires,
    },
    Case {
        name: "8-kubectl-bellhop",
        proves: "kubectl bellhop shows an administrator everything, and a reader all but what needs exec",
        short: false,
        needs_test_cluster: true,
        run: rbac::kubectl_bellhop,
    },
    // case: peers-75
    Case {
        name: "9-password-secret",
        proves: "a BGPPeer that is there before its Secret waits, says what would be right, never goes without, and heals",
        short: false,
        needs_test_cluster: true,
        run: passwords::peer_waits_for_its_secret,
    },
    Case {
        name: "9-13-to-16-named-pools",
        proves: "Services get addresses of the pool that they name, with autoAssign and without, and keep them",
        short: false,
        needs_test_cluster: false,
        run: catalogue::assignment::named_pools,
    },
    Case {
        name: "9-39-foreign-class",
        proves: "a Service of another load balancer's class gets no address",
        short: false,
        needs_test_cluster: false,
        run: catalogue::assignment::foreign_class,
    },
    Case {
        name: "9-40-41-freed-for-pending",
        proves: "an address that a Service lets go of, or that went with it, goes to one that waits",
        short: false,
        needs_test_cluster: false,
        run: catalogue::assignment::freed_for_a_pending_service,
    },
    Case {
        name: "9-42-stable-over-restarts",
        proves: "five restarts of the controllers change no address while other Services wait",
        short: false,
        needs_test_cluster: false,
        run: catalogue::assignment::stable_over_restarts,
    },
    Case {
        name: "9-46-to-50-pool-selectors",
        proves: "namespaces, labels and priority say which pool serves a Service; the highest priority is first",
        short: false,
        needs_test_cluster: false,
        run: catalogue::selectors::pools_by_selector_and_priority,
    },
    // case: peers-98
    Case {
        name: "9-60-to-64-reachability",
        proves: "every node announces, in each family, also addresses that were asked for, and each answers",
        short: false,
        needs_test_cluster: true,
        run: catalogue::reachability::cluster_policy_and_asked_addresses,
    },
    Case {
        name: "9-67-network-unavailable",
        proves: "a node whose network is unavailable withdraws, and the others go on",
        short: false,
        needs_test_cluster: true,
        run: catalogue::reachability::network_unavailable,
    },
    Case {
        name: "9-68-local-follows-pods",
        proves: "with externalTrafficPolicy Local the node with the pod announces, and another after a move",
        short: false,
        needs_test_cluster: true,
        run: catalogue::reachability::local_policy_follows_pods,
    },
    Case {
        name: "9-70-shared-address",
        proves: "two Services that share an address both answer, and one goes on without the other",
        short: false,
        needs_test_cluster: true,
        run: catalogue::reachability::shared_address,
    },
    Case {
        name: "9-71-range-and-cidr",
        proves: "pools by range and by CIDR, of each family and of both, give addresses that answer",
        short: false,
        needs_test_cluster: true,
        run: catalogue::reachability::pools_by_range_and_cidr,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The page that lists the cases.
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/contributing/e2e.md");
    /// How its table begins.
    const HEAD: &str = "| case | proves | cluster | short |\n|---|---|---|---|\n";

    #[test]
    fn the_page_lists_every_case_as_the_code_has_it() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(HEAD).expect("the page has the table");
        let (found, after) = rest.split_once("\n## ").expect("a section follows the table");
        let wanted: String = ALL
            .iter()
            .map(|Case { name, proves, short, needs_test_cluster, .. }| {
                let cluster = if *needs_test_cluster { "the project's" } else { "any" };
                format!("| `{name}` | {proves} | {cluster} | {} |\n", if *short { "yes" } else { "" })
            })
            .collect();
        if std::env::var_os("BELLHOP_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, format!("{before}{HEAD}{wanted}\n## {after}")).unwrap();
            return;
        }
        assert_eq!(found, wanted, "BELLHOP_WRITE_DOCS=1 cargo test -p bellhop-e2e writes the table");
    }

    #[test]
    fn names_are_distinct_and_say_their_number_first() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in names {
            assert!(name.starts_with(|first: char| first.is_ascii_digit()), "{name}");
            let plain =
                |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
            assert!(name.chars().all(plain), "{name}");
        }
    }
}
