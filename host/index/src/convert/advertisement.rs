//! Advertisement.

use std::str::FromStr;
use std::sync::Arc;

use bellhop_api::{AdvertisementSpec, Attributes, Reason};
use bellhop_core::objects::{Advertisement, Aggregation};
use bellhop_core::route::ExtendedCommunity;
use bellhop_core::{ObjectName, RouteAttributes};

use super::metadata::Metadata;
use super::{fields, selector};
use crate::report::Report;

/// A million bits.
const BYTES_PER_MEGABIT: u64 = 1_000_000 / 8;

pub(crate) fn convert(
    metadata: &Metadata,
    spec: &AdvertisementSpec,
    report: &mut Report,
) -> Option<Arc<Advertisement>> {
    let either = [
        (spec.pools.is_empty(), spec.pool_selector.is_none(), "spec.poolSelector", "spec.pools"),
        (spec.peers.is_empty(), spec.peer_selector.is_none(), "spec.peerSelector", "spec.peers"),
    ];
    for (no_names, no_selector, field, names) in either {
        if !no_names && !no_selector {
            report.wrong(
                Reason::ConflictingFields,
                field,
                "",
                format!("cannot stand beside {names}; use one of them"),
            );
        }
    }
    let mut select = |selector: Option<&bellhop_api::LabelSelector>, field: &str| {
        selector::optional(selector, field, report)
    };
    let (pool_selector, peer_selector) = (
        select(spec.pool_selector.as_ref(), "spec.poolSelector"),
        select(spec.peer_selector.as_ref(), "spec.peerSelector"),
    );
    let (service_selector, namespace_selector) = (
        select(spec.service_selector.as_ref(), "spec.serviceSelector"),
        select(spec.namespace_selector.as_ref(), "spec.namespaceSelector"),
    );
    let node_selector = select(spec.node_selector.as_ref(), "spec.nodeSelector");
    Some(Arc::new(Advertisement {
        name: metadata.name.clone(),
        pools: names(&spec.pools, "spec.pools", "an AddressPool", report),
        pool_selector,
        service_selector,
        namespace_selector,
        node_selector,
        peers: names(&spec.peers, "spec.peers", "a BGPPeer", report),
        peer_selector,
        priority: spec.priority,
        max_nodes: spec.max_nodes,
        attributes: Arc::new(attributes(&spec.attributes, report)),
        aggregation: spec.aggregation.as_ref().map(|api| aggregation(api, report)).unwrap_or_default(),
    }))
}

fn aggregation(api: &bellhop_api::Aggregation, report: &mut Report) -> Aggregation {
    if api.ipv4_length.is_none() && api.ipv6_length.is_none() {
        report.wrong(
            Reason::MissingField,
            "spec.aggregation",
            "",
            "needs ipv4Length, ipv6Length or both, as ipv4Length: 24",
        );
    }
    Aggregation { ipv4: api.ipv4_length, ipv6: api.ipv6_length, exact_routes: api.exact_routes }
}

fn names(texts: &[String], field: &str, kind: &str, report: &mut Report) -> Vec<ObjectName> {
    for (index, text) in texts.iter().enumerate().filter(|(_, text)| !fields::is_subdomain(text)) {
        report.wrong(
            Reason::InvalidValue,
            format!("{field}[{index}]"),
            text,
            format!("must be the name of {kind}"),
        );
    }
    texts.iter().map(|text| text.as_str().into()).collect()
}

fn attributes(api: &Attributes, report: &mut Report) -> RouteAttributes {
    RouteAttributes {
        communities: communities(&api.communities, "spec.attributes.communities", report),
        large_communities: communities(&api.large_communities, "spec.attributes.largeCommunities", report),
        extended_communities: communities::<ExtendedCommunity>(
            &api.extended_communities,
            "spec.attributes.extendedCommunities",
            report,
        )
        .into_iter()
        .map(|community| community.0)
        .collect(),
        link_bandwidth: api.link_bandwidth_mbps.map(|mbps| u64::from(mbps) * BYTES_PER_MEGABIT),
        local_preference: api.local_preference,
        med: api.med,
        prepend: api.prepend,
        ..RouteAttributes::default()
    }
    .normalised()
}

fn communities<C: FromStr<Err: std::fmt::Display>>(
    texts: &[String],
    field: &str,
    report: &mut Report,
) -> Vec<C> {
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(community) => found.push(community),
            Err(error) => {
                let said: C::Err = error;
                let said = said.to_string();
                // The error begins with the value, which the problem shows already.
                let message = said.split_once(" is not ").map_or(said.as_str(), |(_, expected)| expected);
                report.wrong(
                    Reason::InvalidCommunity,
                    format!("{field}[{index}]"),
                    text,
                    format!("must be {message}"),
                );
            }
        }
    }
    found
}
