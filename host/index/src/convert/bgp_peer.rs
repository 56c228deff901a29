//! BGPPeer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_api::{BGPPeerSpec, DynamicASN, IpFamily, Reason, RoleName};
use bellhop_core::Family;
use bellhop_core::objects::{BgpPeer, PeerBfd};
use bellhop_core::peer::{Neighbour, OwnRole, PeerAsn, Role};

use super::metadata::Metadata;
use super::{fields, selector};
use crate::report::Report;

/// AS_TRANS (RFC 6793 §9), a placeholder that no one may have.
const AS_TRANS: u32 = 23456;

/// The hold time is a 16-bit number of seconds (RFC 4271 §4.2).
const HOLD_TIME_MAX: Duration = Duration::from_secs(65535);

/// The restart time is a 12-bit number of seconds (RFC 4724 §3).
const RESTART_TIME_MAX: Duration = Duration::from_secs(4095);

/// Longest shutdown communication in octets (RFC 9003 §2).
const SHUTDOWN_TEXT_MAX: usize = 255;

pub(crate) fn convert(metadata: Metadata, spec: &BGPPeerSpec, report: &mut Report) -> Option<Arc<BgpPeer>> {
    let neighbour = neighbour(spec, report);
    let asn = peer_asn(spec, report);
    if let Some(asn) = spec.local_asn {
        check_asn(asn, "spec.localASN", report);
    }
    let source_address =
        spec.source_address.as_deref().and_then(|text| fields::address(text, "spec.sourceAddress", report));
    if let (Some(peer), Some(source)) = (neighbour.as_ref().and_then(Neighbour::address), source_address)
        && peer.is_ipv4() != source.is_ipv4()
    {
        let message = format!("must be of the family of spec.peerAddress ({})", Family::of(peer));
        report.wrong(Reason::ConflictingFields, "spec.sourceAddress", source.to_string(), message);
    }
    let second = Duration::from_secs(1);
    let hold_time =
        fields::duration(&spec.hold_time, "spec.holdTime", Duration::ZERO..=HOLD_TIME_MAX, report)?;
    if hold_time > Duration::ZERO && hold_time < Duration::from_secs(3) {
        let message = "must be 0s or from 3s to 65535s (RFC 4271 §4.2)";
        report.wrong(Reason::InvalidDuration, "spec.holdTime", &spec.hold_time, message);
    }
    let keepalive_time = match &spec.keepalive_time {
        Some(text) => fields::duration(text, "spec.keepaliveTime", second..=HOLD_TIME_MAX, report),
        None => None,
    };
    if keepalive_time.is_some_and(|keepalive| hold_time > Duration::ZERO && keepalive >= hold_time) {
        let message =
            format!("must be shorter than spec.holdTime ({}), by custom a third of it", spec.hold_time);
        report.wrong(
            Reason::ConflictingFields,
            "spec.keepaliveTime",
            spec.keepalive_time.as_deref().unwrap_or_default(),
            message,
        );
    }
    let graceful_restart = &spec.graceful_restart;
    let field = "spec.gracefulRestart.restartTime";
    let restart_time =
        fields::duration(&graceful_restart.restart_time, field, second..=RESTART_TIME_MAX, report);
    for (time, field, text) in [
        (Some(hold_time), "spec.holdTime", &spec.hold_time),
        (restart_time, field, &graceful_restart.restart_time),
    ] {
        if time.is_some_and(|time| time.subsec_nanos() != 0) {
            report.wrong(Reason::InvalidDuration, field, text, "must be whole seconds, as BGP sends it");
        }
    }
    let connect_retry_time =
        fields::duration(&spec.connect_retry_time, "spec.connectRetryTime", second..=HOLD_TIME_MAX, report);
    let hops = spec.next_hop.clone().unwrap_or_default();
    let next_hop_v4 =
        next_hop(hops.ipv4.as_ref(), "spec.nextHop.ipv4", Family::Ipv4, report).and_then(|hop| match hop {
            IpAddr::V4(hop) => Some(hop),
            IpAddr::V6(_) => None,
        });
    let next_hop_v6 =
        next_hop(hops.ipv6.as_ref(), "spec.nextHop.ipv6", Family::Ipv6, report).and_then(|hop| match hop {
            IpAddr::V6(hop) => Some(hop),
            IpAddr::V4(_) => None,
        });
    if let (Some(hops), Some(ttl)) = (spec.ttl_security, spec.ebgp_multi_hop) {
        let message = format!(
            "cannot stand beside spec.ebgpMultiHop ({ttl}): keep spec.ttlSecurity, which says over how many hops the \
             router may be away"
        );
        report.wrong(Reason::ConflictingFields, "spec.ttlSecurity", hops.to_string(), message);
    }
    let secret = spec.password_secret.as_deref();
    if let Some(name) = secret.filter(|name| !fields::is_subdomain(name)) {
        let message =
            "must be the name of a Secret in Bellhop's namespace: lower-case letters, digits, - and .";
        report.wrong(Reason::InvalidValue, BgpPeer::PASSWORD_FIELD, name, message);
    }
    if let Some(profile) =
        spec.bfd.as_ref().map(|bfd| &bfd.profile).filter(|name| !fields::is_subdomain(name))
    {
        let message = "must be the name of a BFDProfile: lower-case letters, digits, - and .";
        report.wrong(Reason::InvalidValue, "spec.bfd.profile", profile, message);
    }
    check_interface(spec.source_interface.as_deref(), "spec.sourceInterface", report);
    check_redirect(spec, report);
    if let Some(text) = spec.shutdown_text.as_deref().filter(|text| text.len() > SHUTDOWN_TEXT_MAX) {
        let message = format!("has {} octets of UTF-8 and may have at most {SHUTDOWN_TEXT_MAX}", text.len());
        report.wrong(Reason::TooLarge, "spec.shutdownText", text, message);
    }
    Some(Arc::new(BgpPeer {
        name: metadata.name,
        labels: metadata.labels,
        neighbour: neighbour?,
        port: spec.peer_port,
        asn: asn?,
        local_asn: spec.local_asn,
        source_address,
        source_interface: spec.source_interface.as_deref().map(Into::into),
        node_selector: selector::optional(spec.node_selector.as_ref(), "spec.nodeSelector", report)
            .unwrap_or_default(),
        hold_time,
        keepalive_time,
        connect_retry_time: connect_retry_time?,
        ebgp_multihop: spec.ebgp_multi_hop,
        ttl_security: spec.ttl_security,
        password_secret: secret.map(Into::into),
        password: None,
        passive: spec.passive,
        redirect_port: spec.redirect_port,
        families: spec
            .families
            .iter()
            .map(|family| match family {
                IpFamily::IPv4 => Family::Ipv4,
                IpFamily::IPv6 => Family::Ipv6,
            })
            .collect(),
        next_hop_v4,
        next_hop_v6,
        extended_next_hop: spec.extended_next_hop,
        role: spec.role.map(|role| OwnRole { role: role_of(role.name), strict: role.strict }),
        bfd: spec
            .bfd
            .as_ref()
            .map(|bfd| PeerBfd { profile: bfd.profile.as_str().into(), strict: bfd.strict }),
        prefix_limit: spec.prefix_limit,
        graceful_restart: restart_time.filter(|_| graceful_restart.enabled),
        restart_after_notifications: graceful_restart.notifications,
        shutdown_text: spec.shutdown_text.as_deref().map(Into::into),
        log_messages: spec.log_messages,
    }))
}

/// Where the router is: one of three fields says it.
fn neighbour(spec: &BGPPeerSpec, report: &mut Report) -> Option<Neighbour> {
    let neighbour = match (&spec.peer_address, &spec.peer_range, &spec.peer_interface) {
        (Some(text), None, None) => {
            let address = fields::address(text, "spec.peerAddress", report)?;
            let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if link_local && spec.source_interface.is_none() {
                let message = "is link-local and needs spec.sourceInterface, as sourceInterface: eth0, or \
                               spec.peerInterface in its place";
                report.wrong(Reason::MissingField, "spec.peerAddress", text, message);
            }
            return Some(Neighbour::Address(address));
        }
        (None, Some(range), None) => {
            let prefix = fields::prefix(&range.prefix, "spec.peerRange.prefix", report)?;
            Neighbour::Range { prefix, most: range.max_sessions }
        }
        (None, None, Some(interface)) => {
            check_interface(Some(interface), "spec.peerInterface", report);
            Neighbour::Interface(interface.as_str().into())
        }
        (address, range, interface) => {
            let given = [
                address.as_ref().map(|_| "spec.peerAddress"),
                range.as_ref().map(|_| "spec.peerRange"),
                interface.as_ref().map(|_| "spec.peerInterface"),
            ];
            let given: Vec<&str> = given.into_iter().flatten().collect();
            let reason = if given.is_empty() { Reason::MissingField } else { Reason::ConflictingFields };
            let message = "needs one of spec.peerAddress, as peerAddress: 192.0.2.1, spec.peerRange and spec.peerInterface";
            report.wrong(reason, "spec.peerAddress", given.join(" and "), message);
            return None;
        }
    };
    for (field, value) in
        [("spec.sourceAddress", &spec.source_address), ("spec.sourceInterface", &spec.source_interface)]
    {
        if let Some(value) = value {
            report.wrong(Reason::ConflictingFields, field, value, "stands beside spec.peerAddress alone");
        }
    }
    Some(neighbour)
}

/// Where connections of the router may be redirected.
fn check_redirect(spec: &BGPPeerSpec, report: &mut Report) {
    let Some(port) = spec.redirect_port else { return };
    let why = match () {
        () if spec.password_secret.is_some() => {
            "cannot stand beside spec.passwordSecret: the password signs the port that the router dialled (RFC 2385)"
        }
        () if spec.peer_interface.is_some() => "cannot stand beside spec.peerInterface, where the nodes dial",
        () => return,
    };
    report.wrong(Reason::ConflictingFields, "spec.redirectPort", port.to_string(), why);
}

fn check_interface(name: Option<&str>, field: &str, report: &mut Report) {
    if let Some(interface) = name.filter(|name| !is_interface(name)) {
        let message = "must be the name of an interface, as eth0 or bond0.100: at most 15 characters without spaces, / and :";
        report.wrong(Reason::InvalidValue, field, interface, message);
    }
}

/// Which AS number the router must have: one of the two fields says it.
fn peer_asn(spec: &BGPPeerSpec, report: &mut Report) -> Option<PeerAsn> {
    let asn = match (spec.peer_asn, spec.dynamic_asn) {
        (Some(asn), None) => {
            check_asn(asn, "spec.peerASN", report);
            PeerAsn::Exactly(asn)
        }
        (None, Some(DynamicASN::Internal)) => PeerAsn::Internal,
        (None, Some(DynamicASN::External)) => PeerAsn::External,
        (both, _) => {
            let (reason, value) = match both {
                Some(asn) => (Reason::ConflictingFields, asn.to_string()),
                None => (Reason::MissingField, String::new()),
            };
            let message =
                "needs either spec.peerASN, as peerASN: 64496, or spec.dynamicASN: internal or external";
            report.wrong(reason, "spec.peerASN", value, message);
            return None;
        }
    };
    if spec.role.is_some() && asn == PeerAsn::Internal {
        let message =
            "cannot stand beside spec.dynamicASN: internal, as roles are between AS numbers (RFC 9234)";
        report.wrong(Reason::ConflictingFields, "spec.role", String::new(), message);
    }
    Some(asn)
}

fn role_of(name: RoleName) -> Role {
    match name {
        RoleName::Provider => Role::Provider,
        RoleName::RouteServer => Role::RouteServer,
        RoleName::RouteServerClient => Role::RouteServerClient,
        RoleName::Customer => Role::Customer,
        RoleName::Peer => Role::Peer,
    }
}

/// What Linux takes as the name of an interface (`dev_valid_name`), but for non-ASCII characters.
fn is_interface(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(fits)
}

/// A next hop of a family.
fn next_hop(text: Option<&String>, field: &str, family: Family, report: &mut Report) -> Option<IpAddr> {
    let address = fields::address(text?, field, report)?;
    if Family::of(address) != family {
        report.wrong(
            Reason::InvalidAddress,
            field,
            address.to_string(),
            format!("must be an {family} address"),
        );
    }
    Some(address)
}

/// AS numbers that no speaker may have: AS_TRANS, and the last ones of 16 and 32 bits (RFC 7300).
pub(crate) fn check_asn(asn: u32, field: &str, report: &mut Report) {
    if matches!(asn, AS_TRANS | 65535 | 0 | u32::MAX) {
        let message = "is reserved (RFC 6793, RFC 7300, RFC 7607); private ones are 64512 to 65534 and 4200000000 to 4294967294";
        report.wrong(Reason::InvalidASN, field, asn.to_string(), message);
    }
}
