//! `bellhop routes` of a cluster: what each node tells each peer.

use bellhop_core::report::RouteRow;
use serde::Serialize;

use super::speakers::{AskError, Said, forbidden};
use crate::output::columns;
use crate::routes::cells;

/// A route of a node.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRoute {
    /// The node that announces it.
    pub node: String,
    /// The route.
    #[serde(flatten)]
    pub route: RouteRow,
}

/// The routes of all nodes that answered, and a line for each that did not.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRoutes {
    /// Routes by node and peer.
    pub routes: Vec<NodeRoute>,
    /// What cannot be shown, and why.
    pub not_shown: Vec<String>,
    /// Nodes that answered.
    #[serde(skip)]
    pub answered: usize,
}

/// Puts together what the speakers said.
pub fn merge(answers: Vec<Said<Vec<RouteRow>>>) -> ClusterRoutes {
    let mut merged =
        ClusterRoutes { not_shown: forbidden(&answers).into_iter().collect(), ..Default::default() };
    for (speaker, answer) in answers {
        match answer {
            Ok(rows) => {
                merged.answered += 1;
                merged
                    .routes
                    .extend(rows.into_iter().map(|route| NodeRoute { node: speaker.node.clone(), route }));
            }
            Err(AskError::Forbidden(_)) => {}
            Err(error) => merged.not_shown.push(format!("node {}: {error}", speaker.node)),
        }
    }
    merged
}

/// One line per node, peer and prefix.
pub fn table(routes: &ClusterRoutes) -> String {
    let rows = routes.routes.iter().map(|row| {
        let mut cells = cells(&row.route);
        cells.insert(0, row.node.clone());
        cells
    });
    let mut text = columns(
        &["NODE", "PEER", "PREFIX", "SENT", "ATTRIBUTES", "SERVICES"],
        rows.collect(),
        "no route is wanted",
    );
    if !routes.not_shown.is_empty() {
        text += "\nNOT SHOWN\n";
        text.extend(routes.not_shown.iter().map(|line| format!("{line}\n")));
    }
    text
}
