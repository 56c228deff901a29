//! SpeakerConfig.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_api::{Reason, SpeakerConfigSpec};
use bellhop_core::objects::SpeakerConfig;

use super::metadata::Metadata;
use super::{bgp_peer, fields, selector};
use crate::report::Report;

/// Longest drain: past an hour the routes are not draining, they are there.
const DRAIN_MAX: Duration = Duration::from_secs(3600);

pub(crate) fn convert(
    metadata: &Metadata,
    spec: &SpeakerConfigSpec,
    report: &mut Report,
) -> Option<Arc<SpeakerConfig>> {
    if let Some(asn) = spec.asn {
        bgp_peer::check_asn(asn, "spec.asn", report);
    }
    let router_id = spec.router_id.as_deref().and_then(|text| {
        let found = text.parse::<Ipv4Addr>().ok().filter(|id| !id.is_unspecified());
        if found.is_none() {
            let message = "must be an IPv4 address other than 0.0.0.0, as 192.0.2.1 (RFC 6286)";
            report.wrong(Reason::InvalidAddress, "spec.routerID", text, message);
        }
        found
    });
    let listen = spec.listen.clone().unwrap_or_default();
    let listen_addresses = listen.addresses.as_ref().map(|texts| {
        let each = |(index, text): (usize, &String)| {
            fields::address(text, &format!("spec.listen.addresses[{index}]"), report)
        };
        texts.iter().enumerate().filter_map(each).collect()
    });
    let drain_wait = spec.drain.as_ref().and_then(|drain| {
        fields::duration(&drain.wait, "spec.drain.wait", Duration::ZERO..=DRAIN_MAX, report)
    });
    Some(Arc::new(SpeakerConfig {
        name: metadata.name.clone(),
        node_selector: selector::optional(spec.node_selector.as_ref(), "spec.nodeSelector", report),
        priority: spec.priority,
        asn: spec.asn,
        router_id,
        listen_port: listen.port,
        listen_addresses,
        drain_wait,
        bind_addresses: spec.bind_addresses,
        echo_reply: spec.echo_reply,
        ignore_exclude_label: spec.ignore_exclude_label,
        proxy_health: spec.proxy_health.as_ref().and_then(|proxy| proxy.enabled),
        proxy_health_port: spec.proxy_health.as_ref().and_then(|proxy| proxy.port),
    }))
}
