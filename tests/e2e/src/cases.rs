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
pub const ALL: &[Case] = &[Case {
    name: "1-install-and-serve",
    proves: "after helm install, Services get addresses, routes with every node as next hop, and answers",
    short: true,
    needs_test_cluster: true,
    run: install::install_and_serve,
}];
