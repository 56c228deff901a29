//! When Services may hold one address together.

use std::net::IpAddr;

use bellhop_core::objects::{Service, TrafficPolicy};

/// Most holders of one address, as the kind AddressClaim allows.
pub const HOLDERS_MAX: usize = 64;

/// Whether `service` may hold an address together with `other`, or why it may not, in words that follow the name of
/// `other`.
///
/// They must be of one namespace, so that nobody's address is taken over from elsewhere; name the same sharing key;
/// have no port of one protocol in common; and both have `externalTrafficPolicy: Cluster`: with `Local` each node would
/// announce the address for the endpoints of one of them and draw the traffic of the other.
pub fn terms(address: IpAddr, service: &Service, other: &Service) -> Result<(), String> {
    if service.key.namespace != other.key.namespace {
        return Err("is of another namespace; only Services of one namespace may share an address".into());
    }
    match (&service.sharing_key, &other.sharing_key) {
        (Some(own), Some(others)) if own == others => {}
        (None, None) => return Err("shares with none; to share it both must name one sharing key".into()),
        (own, others) => {
            let shown = |key: &Option<std::sync::Arc<str>>| {
                key.as_ref().map_or("none".into(), |key| format!("\"{key}\""))
            };
            return Err(format!(
                "has sharing key {}, this Service {}; to share {address} both must name the same",
                shown(others),
                shown(own)
            ));
        }
    }
    for (one, policy) in [("this Service", service.traffic_policy), ("it", other.traffic_policy)] {
        if policy == TrafficPolicy::Local {
            return Err(format!(
                "shares {address} only while both have externalTrafficPolicy Cluster, and {one} has Local"
            ));
        }
    }
    match service.ports.iter().find(|port| other.ports.contains(port)) {
        Some(port) => {
            let protocol = match port.protocol {
                bellhop_core::objects::Protocol::Tcp => "TCP",
                bellhop_core::objects::Protocol::Udp => "UDP",
                bellhop_core::objects::Protocol::Sctp => "SCTP",
            };
            Err(format!(
                "serves {protocol} port {} on {address} too; sharing needs disjoint ports",
                port.port
            ))
        }
        None => Ok(()),
    }
}
