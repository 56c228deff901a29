//! The table of cases.

use anyhow::Result;

use crate::Site;

mod install;
mod leader;
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
