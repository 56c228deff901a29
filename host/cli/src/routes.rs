//! `bellhop routes` for people.

use bellhop_core::report::RouteRow;
use bellhop_core::route::{ExtendedCommunity, RouteAttributes};

use crate::output::columns;

/// One line per peer and prefix.
pub fn table(rows: &[RouteRow]) -> String {
    columns(
        &["PEER", "PREFIX", "SENT", "ATTRIBUTES", "SERVICES"],
        rows.iter().map(cells).collect(),
        "no route is wanted",
    )
}

/// A route in cells.
pub(crate) fn cells(row: &RouteRow) -> Vec<String> {
    vec![
        row.peer.clone(),
        row.prefix.to_string(),
        match &row.withheld {
            Some(why) => format!("no: {why}"),
            None => if row.sent { "yes" } else { "no" }.into(),
        },
        attributes(&row.attributes),
        match &row.aggregate {
            Some(source) => {
                format!("{} addresses (Advertisement {})", source.addresses, source.advertisement)
            }
            None => row.services.join(","),
        },
    ]
}

/// Attributes in one line, `plain` where there are none beside the mandatory ones.
pub(crate) fn attributes(attributes: &RouteAttributes) -> String {
    let mut words = Vec::new();
    let mut list = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            words.push(format!("{name} {}", values.join(",")));
        }
    };
    list("community", attributes.communities.iter().map(ToString::to_string).collect());
    list("large", attributes.large_communities.iter().map(ToString::to_string).collect());
    list(
        "extended",
        attributes.extended_communities.iter().map(|value| ExtendedCommunity(*value).to_string()).collect(),
    );
    list("local-preference", attributes.local_preference.iter().map(ToString::to_string).collect());
    list("med", attributes.med.iter().map(ToString::to_string).collect());
    list("prepend", Some(attributes.prepend).filter(|n| *n > 0).iter().map(ToString::to_string).collect());
    list("bandwidth", attributes.link_bandwidth.iter().map(|value| format!("{value}B/s")).collect());
    list("next-hop", attributes.next_hop.iter().map(ToString::to_string).collect());
    if words.is_empty() { "plain".into() } else { words.join(" ") }
}
