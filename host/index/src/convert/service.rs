//! Service (core/v1).

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_api::annotations::{ADDRESS_REQUESTS, AddressSyntax, POOL_REQUESTS, SHARING_KEYS};
use bellhop_api::{LOAD_BALANCER_CLASS, Reason};
use bellhop_core::Family;
use bellhop_core::labels::Labels;
use bellhop_core::objects::{FamilyPolicy, Port, Protocol, Service, TrafficPolicy};
use k8s_openapi::api::core::v1 as k8s;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::metadata::Metadata;
use super::{Options, decode, fields};
use crate::report::Report;

/// Most addresses that one Service may ask for.
const REQUESTED_MAX: usize = 8;

/// Most ports of one Service, and longest UID: what the AddressClaim that names the Service can hold.
const PORTS_MAX: usize = 256;
const UID_MAX: usize = 64;

/// Most addresses that are taken from a status: far more than one Service holds.
const PUBLISHED_MAX: usize = 64;

/// Longest sharing key: what AddressClaim can hold.
const SHARING_KEY_MAX: usize = 253;

pub(crate) fn convert(
    metadata: Metadata,
    mut value: Value,
    options: &Options,
    report: &mut Report,
) -> Option<Arc<Service>> {
    // Apart from the rest, as nothing that others write there may spoil the Service.
    let status = value.as_object_mut().and_then(|fields| fields.remove("status"));
    let service: k8s::Service = decode(value, "", report)?;
    let spec = service.spec.unwrap_or_default();
    let key = metadata.key();
    let class = spec.load_balancer_class.as_deref().filter(|class| !class.is_empty());
    let ours = class.map_or(options.classless, |class| class == LOAD_BALANCER_CLASS);
    let wants_address = spec.type_.as_deref() == Some("LoadBalancer") && ours;
    if !wants_address {
        // A Service that is none of ours may say what it likes; only its existence counts.
        return Some(Arc::new(unserved(metadata)));
    }
    if let Some(uid) = metadata.uid.as_deref().filter(|uid| uid.len() > UID_MAX) {
        let message = format!("has {} bytes and may have at most {UID_MAX}", uid.len());
        report.wrong(Reason::TooLarge, "metadata.uid", uid, message);
    }
    let requested_addresses = requested_addresses(&spec, &metadata.annotations, report);
    let (families, family_policy) = families(&spec, &requested_addresses, report);
    let sharing_key = first(&metadata.annotations, &SHARING_KEYS);
    if let Some((annotation, key)) = sharing_key.filter(|(_, key)| key.len() > SHARING_KEY_MAX) {
        let message = format!("has {} bytes and may have at most {SHARING_KEY_MAX}", key.len());
        report.wrong(Reason::TooLarge, field_of(annotation), key, message);
    }
    let requested_pool = first(&metadata.annotations, &POOL_REQUESTS);
    if let Some((annotation, pool)) = requested_pool.filter(|(_, pool)| !fields::is_subdomain(pool)) {
        report.wrong(Reason::InvalidValue, field_of(annotation), pool, "must be the name of an AddressPool");
    }
    Some(Arc::new(Service {
        uid: metadata.uid.clone().unwrap_or_else(|| derived_uid(&key.namespace, &key.name)),
        key,
        wants_address,
        families,
        family_policy,
        requested_addresses,
        requested_pool: requested_pool.map(|(_, pool)| pool.clone()),
        sharing_key: sharing_key.map(|(_, key)| key.clone()),
        traffic_policy: match spec.external_traffic_policy.as_deref() {
            None | Some("" | "Cluster") => TrafficPolicy::Cluster,
            Some("Local") => TrafficPolicy::Local,
            Some(other) => {
                let message = "must be Cluster or Local";
                report.wrong(Reason::InvalidValue, "spec.externalTrafficPolicy", other, message);
                TrafficPolicy::Cluster
            }
        },
        health_check_node_port: spec
            .health_check_node_port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        ports: ports(spec.ports.as_deref().unwrap_or_default(), report),
        published: published(status.as_ref()),
        labels: metadata.labels,
        annotations: metadata.annotations,
        created: metadata.created,
        deleting: metadata.deleting,
    }))
}

/// A Service that asks nothing of Bellhop.
fn unserved(metadata: Metadata) -> Service {
    let key = metadata.key();
    Service {
        uid: metadata.uid.unwrap_or_else(|| derived_uid(&key.namespace, &key.name)),
        key,
        labels: metadata.labels,
        annotations: metadata.annotations,
        created: metadata.created,
        deleting: metadata.deleting,
        wants_address: false,
        families: vec![Family::Ipv4],
        family_policy: FamilyPolicy::SingleStack,
        requested_addresses: Vec::new(),
        requested_pool: None,
        sharing_key: None,
        traffic_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        ports: Vec::new(),
        published: Vec::new(),
    }
}

/// What of the status kube-proxy serves. Whoever wrote it, nothing of it is judged: it gives nobody an address.
fn published(status: Option<&Value>) -> Vec<IpAddr> {
    let ingress = status.and_then(|status| status.pointer("/loadBalancer/ingress")?.as_array());
    let served = ingress.into_iter().flatten().filter(|entry| entry["ipMode"] != "Proxy");
    let mut published: Vec<IpAddr> =
        served.filter_map(|entry| entry["ip"].as_str()?.parse().ok()).take(PUBLISHED_MAX).collect();
    published.sort_unstable();
    published.dedup();
    published
}

/// The UID of a Service whose manifest has none: the same on every node, and after every restart.
///
/// A UUID of version 8 (RFC 9562 §5.8) over SHA-256 of namespace and name.
fn derived_uid(namespace: &str, name: &str) -> Arc<str> {
    let digest = Sha256::digest(format!("bellhop.dev/Service/{namespace}/{name}"));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into()
}

/// The first of `keys` that is set to something.
fn first<'a>(annotations: &'a Labels, keys: &[&'static str]) -> Option<(&'static str, &'a Arc<str>)> {
    keys.iter()
        .find_map(|key| annotations.get(*key).filter(|value| !value.is_empty()).map(|value| (*key, value)))
}

fn field_of(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

/// Addresses asked for: `spec.loadBalancerIP`, then the strongest annotation that asks for any; each once.
fn requested_addresses(spec: &k8s::ServiceSpec, annotations: &Labels, report: &mut Report) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut add = |text: &str, field: &str, report: &mut Report| {
        if let Some(address) = fields::address(text.trim(), field, report)
            && !found.contains(&address)
        {
            found.push(address);
        }
    };
    if let Some(text) = spec.load_balancer_ip.as_deref().filter(|text| !text.is_empty()) {
        add(text, "spec.loadBalancerIP", report);
    }
    let annotation = ADDRESS_REQUESTS.iter().find_map(|(key, syntax)| {
        Some((*key, *syntax, annotations.get(*key).filter(|text| !text.is_empty())?))
    });
    if let Some((key, syntax, text)) = annotation {
        let field = field_of(key);
        match syntax {
            AddressSyntax::CommaSeparated => text.split(',').for_each(|text| add(text, &field, report)),
            AddressSyntax::JsonList => match serde_json::from_str::<Vec<String>>(text) {
                Ok(texts) => texts.iter().for_each(|text| add(text, &field, report)),
                Err(_) => {
                    let message = "must be a JSON list of addresses as [\"203.0.113.7\"]";
                    report.wrong(Reason::InvalidAddress, field, text, message);
                }
            },
        }
        if found.len() > REQUESTED_MAX {
            let message =
                format!("asks for {} addresses and may ask for at most {REQUESTED_MAX}", found.len());
            report.wrong(Reason::TooLarge, field_of(key), text, message);
            found.truncate(REQUESTED_MAX);
        }
    }
    found
}

/// Families and family policy. The API server fills `ipFamilies` in; a manifest in a folder may leave it out, and then
/// has the families of the addresses that it asks for, else those of its policy, IPv4 first.
fn families(
    spec: &k8s::ServiceSpec,
    requested: &[IpAddr],
    report: &mut Report,
) -> (Vec<Family>, FamilyPolicy) {
    let mut families = Vec::new();
    for (index, text) in spec.ip_families.iter().flatten().enumerate() {
        let family = match text.as_str() {
            "IPv4" => Family::Ipv4,
            "IPv6" => Family::Ipv6,
            other => {
                let field = format!("spec.ipFamilies[{index}]");
                report.wrong(Reason::InvalidValue, field, other, "must be IPv4 or IPv6");
                continue;
            }
        };
        if families.contains(&family) {
            let field = format!("spec.ipFamilies[{index}]");
            report.wrong(Reason::InvalidValue, field, text, "stands twice in the list");
        } else {
            families.push(family);
        }
    }
    let given = !families.is_empty();
    if !given {
        for family in requested.iter().map(|address| Family::of(*address)) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
    }
    let policy = match spec.ip_family_policy.as_deref() {
        // As the API server: two families without a policy are both required.
        None | Some("") if families.len() == 2 => FamilyPolicy::RequireDualStack,
        None | Some("" | "SingleStack") => FamilyPolicy::SingleStack,
        Some("PreferDualStack") => FamilyPolicy::PreferDualStack,
        Some("RequireDualStack") => FamilyPolicy::RequireDualStack,
        Some(other) => {
            let message = "must be SingleStack, PreferDualStack or RequireDualStack";
            report.wrong(Reason::InvalidValue, "spec.ipFamilyPolicy", other, message);
            FamilyPolicy::SingleStack
        }
    };
    if families.is_empty() {
        families.push(Family::Ipv4);
    }
    if policy == FamilyPolicy::SingleStack && families.len() > 1 {
        let message =
            "is SingleStack and two families are asked for; use PreferDualStack or RequireDualStack";
        report.wrong(Reason::ConflictingFields, "spec.ipFamilyPolicy", "SingleStack", message);
    }
    if policy != FamilyPolicy::SingleStack {
        let missing: Vec<Family> =
            Family::ALL.into_iter().filter(|family| !families.contains(family)).collect();
        families.extend(missing);
    }
    (families, policy)
}

fn ports(ports: &[k8s::ServicePort], report: &mut Report) -> Vec<Port> {
    if ports.len() > PORTS_MAX {
        let message = format!("has {} entries and may have at most {PORTS_MAX}", ports.len());
        report.wrong(Reason::TooLarge, "spec.ports", "", message);
        return Vec::new();
    }
    let mut found = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let protocol = match port.protocol.as_deref() {
            None | Some("" | "TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(other) => {
                let field = format!("spec.ports[{index}].protocol");
                report.wrong(Reason::InvalidValue, field, other, "must be TCP, UDP or SCTP");
                continue;
            }
        };
        match u16::try_from(port.port) {
            Ok(number) if number > 0 => found.push(Port { protocol, port: number }),
            _ => {
                let field = format!("spec.ports[{index}].port");
                report.wrong(Reason::InvalidValue, field, port.port.to_string(), "must be from 1 to 65535");
            }
        }
    }
    found
}
