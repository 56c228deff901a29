//! `bellhop status` for people.

use bellhop_core::report::{AllocationRole, Condition, PeerRow, Phase, PolicyRow, ServiceRow, Status};

use crate::output::{columns, hanging};

/// State of a session that is up (RFC 4271 §8.2.2), as reports have it.
pub(crate) const ESTABLISHED: &str = "Established";

/// True where nothing is wrong with what a node says of itself: it is ready, its sessions are up, its Services have their
/// addresses, and no object has a problem. Which addresses it does not announce is no matter here: others may.
pub fn is_well(status: &Status) -> bool {
    status.phase == Phase::Ready
        && status.problems.is_empty()
        && status.peers.iter().all(|peer| peer.state == ESTABLISHED)
        && status.services.iter().all(|service| service.allocated.status)
}

/// The state of a node as text. The tables fit 100 columns with names of ordinary length; what is long stands below
/// them, a line each, folded to `width` columns where one is given.
pub fn table(status: &Status, width: Option<usize>) -> String {
    let phase = match status.phase {
        Phase::Reading => "reading manifests",
        Phase::LoadingPolicies => {
            "loading policies; nothing is announced before each is active or has failed"
        }
        Phase::Binding => "binding addresses before the first announcement",
        Phase::Ready => "ready",
    };
    let role = match status.allocation {
        AllocationRole::Writer => "allocates addresses",
        AllocationRole::Standby => "stands by: another process holds the state directory's lock",
        AllocationRole::Controller => "announces; the controller allocates",
        AllocationRole::RequestedOnly => "serves only addresses that Services ask for (no --allocate)",
    };
    let mut text = format!("Node {}: {phase}; {role} (bellhop {})\n", status.node, status.version);
    text += "\nPEERS\n";
    text += &columns(
        &["NAME", "ADDRESS", "ASN", "LOCAL", "STATE", "UP", "FAMILIES", "ROUTES", "UPDATES"],
        status.peers.iter().map(peer).collect(),
        "no BGPPeer selects this node",
    );
    let sessions: Vec<String> = status.peers.iter().filter_map(session).collect();
    if !sessions.is_empty() {
        text += "\nSESSIONS\n";
        text.extend(sessions.iter().map(|line| hanging(line, width)));
    }
    text += "\nSERVICES\n";
    text += &columns(
        &["SERVICE", "ADDRESSES", "ALLOCATED", "ANNOUNCED"],
        status.services.iter().map(service).collect(),
        "no Service of type LoadBalancer",
    );
    text += "\nPOOLS\n";
    text += &columns(
        &["NAME", "RANGES", "USED/FREE"],
        status
            .pools
            .iter()
            .map(|row| {
                let usage: Vec<String> =
                    row.usage.iter().map(|(family, used, free)| format!("{family} {used}/{free}")).collect();
                vec![row.name.clone(), row.ranges.join("\n"), usage.join("\n")]
            })
            .collect(),
        "no AddressPool",
    );
    text += "\nPOLICIES\n";
    text += &columns(
        &["NAME", "HOOK", "STEP", "ACTIVE", "CANDIDATE", "CALLS", "MEMO", "FAILED"],
        status.policies.iter().map(policy).collect(),
        "no DecisionPolicy: built-in decisions",
    );
    let problems: Vec<String> = status.problems.iter().map(ToString::to_string).collect();
    let notes: Vec<String> = status
        .services
        .iter()
        .flat_map(service_notes)
        .chain(status.peers.iter().flat_map(peer_notes))
        .collect();
    for (heading, lines) in [("PROBLEMS", problems), ("NOTES", notes)] {
        if !lines.is_empty() {
            text += &format!("\n{heading}\n");
            text.extend(lines.iter().map(|line| hanging(line, width)));
        }
    }
    text
}

fn peer(row: &PeerRow) -> Vec<String> {
    let families: Vec<String> = row.families.iter().map(ToString::to_string).collect();
    vec![
        row.name.clone(),
        row.address.map(|address| address.to_string()).unwrap_or_default(),
        row.peer_asn.to_string(),
        row.local_asn.to_string(),
        row.state.clone(),
        row.up_seconds.map(duration).unwrap_or_default(),
        families.join(","),
        format!("{}/{}", row.sent, row.wanted),
        row.updates_sent.to_string(),
    ]
}

/// What a session that is up agreed on, and how much was said over it.
fn session(row: &PeerRow) -> Option<String> {
    let router = row.router_id?;
    Some(format!(
        "{}: router ID {router}; hold time {} s; {}; {} messages sent, {} received",
        row.name,
        row.hold_time,
        row.capabilities.join(", "),
        row.messages_sent,
        row.messages_received
    ))
}

/// What ended a session, which may be long: below the table.
fn peer_notes(row: &PeerRow) -> impl Iterator<Item = String> {
    let error = row.last_error.as_ref();
    let error = error.map(|error| format!("BGPPeer/{}: {}; last error: {error}", row.name, row.state));
    let bfd = row.bfd.as_ref().filter(|bfd| *bfd != "Up");
    error.into_iter().chain(bfd.map(|bfd| format!("BGPPeer/{}: BFD is {bfd}", row.name)))
}

fn service(row: &ServiceRow) -> Vec<String> {
    let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
    let brief = |condition: &Condition| match condition.status {
        true if condition.reason == "Draining" => "True Draining".to_owned(),
        true => "True".to_owned(),
        false => format!("False {}", condition.reason),
    };
    vec![
        format!("{}/{}", row.namespace, row.name),
        addresses.join("\n"),
        brief(&row.allocated),
        brief(&row.announced),
    ]
}

/// What the conditions of a Service say that no problem says: why it waits, why it is not announced.
fn service_notes(row: &ServiceRow) -> Vec<String> {
    let pending = row.allocated.reason == "Pending";
    let silent = row.announced.reason != "NoAddress";
    [(&row.allocated, pending), (&row.announced, silent)]
        .into_iter()
        .filter(|(condition, told)| *told && !condition.message.is_empty())
        .map(|(condition, _)| {
            format!("Service/{}/{}: {} ({})", row.namespace, row.name, condition.message, condition.reason)
        })
        .collect()
}

fn policy(row: &PolicyRow) -> Vec<String> {
    let step = match &row.stage {
        Some(stage) => format!("{} at {stage}", row.step),
        None => row.step.clone(),
    };
    vec![
        row.name.clone(),
        row.hook.clone(),
        step,
        row.active.clone().unwrap_or_default(),
        row.candidate.clone().unwrap_or_default(),
        row.calls.to_string(),
        row.memo_hits.to_string(),
        row.failures.to_string(),
    ]
}

pub(crate) fn condition(condition: &Condition) -> String {
    let status = if condition.status { "True" } else { "False" };
    if condition.status && condition.message.is_empty() {
        status.into()
    } else if condition.message.is_empty() {
        format!("{status} {}", condition.reason)
    } else {
        format!("{status} {}: {}", condition.reason, condition.message)
    }
}

/// `45s`, `3m10s`, `2h5m`, `3d4h`, as kubectl shows ages.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m{}s", seconds / 60, seconds % 60),
        7200..=172_799 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use bellhop_core::route::Family;
    use bellhop_core::{ObjectRef, Problem};

    use super::*;

    fn condition(status: bool, reason: &str, message: &str) -> Condition {
        Condition { status, reason: reason.into(), message: message.into() }
    }

    /// A node with something wrong everywhere.
    fn troubled() -> Status {
        let long =
            "is held by Service/shop/web, which shares with none; to share it both must name one sharing key";
        Status {
            node: "node-1".into(),
            version: "0.1.0".into(),
            phase: Phase::Ready,
            allocation: AllocationRole::Writer,
            peers: vec![PeerRow {
                name: "router-a".into(),
                address: Some("2001:db8:0:1::1".parse().unwrap()),
                router_id: None,
                hold_time: 90,
                capabilities: Vec::new(),
                messages_sent: 40,
                messages_received: 12,
                peer_asn: 4_200_000_001,
                local_asn: 64500,
                state: "OpenConfirm".into(),
                up_seconds: Some(187_000),
                families: Family::ALL.to_vec(),
                wanted: 11_000,
                sent: 10_000,
                updates_sent: 25,
                last_error: Some("connecting to [2001:db8:0:1::1]:179: Network is unreachable".into()),
                bfd: Some("Down (nothing is heard of 2001:db8:0:1::1)".into()),
            }],
            services: vec![ServiceRow {
                namespace: "shop".into(),
                name: "late".into(),
                addresses: vec!["203.0.113.10".parse().unwrap(), "2001:db8:53::10".parse().unwrap()],
                allocated: condition(false, "AddressOutsidePools", long),
                announced: condition(false, "NoEndpoints", "no endpoint of the Service takes traffic"),
            }],
            pools: vec![bellhop_core::report::PoolRow {
                name: "public".into(),
                ranges: vec!["203.0.113.10-203.0.113.99".into(), "2001:db8:53::10-2001:db8:53::ff".into()],
                usage: vec![(Family::Ipv4, 1, 89), (Family::Ipv6, 1, 239)],
            }],
            policies: vec![PolicyRow {
                name: "attributes".into(),
                hook: "Route".into(),
                active: Some("0123456789ab".into()),
                candidate: Some("ba9876543210".into()),
                step: "Rejected".into(),
                stage: Some("SelfTested".into()),
                reason: Some("SelfTest".into()),
                message: Some(long.into()),
                calls: 123_456,
                memo_hits: 1_234_567,
                failures: 12_345,
                failures_by_category: Default::default(),
                fuel_max: 0,
            }],
            problems: vec![Problem::new(
                ObjectRef::cluster("AddressPool", "second"),
                "OverlappingRange",
                "spec.addresses[1]",
                "203.0.113.90-203.0.113.120",
                long,
            )],
        }
    }

    #[test]
    fn a_node_is_well_when_it_is_ready_with_its_sessions_up_its_services_served_and_no_problem() {
        let mut well = troubled();
        well.problems.clear();
        well.peers[0].state = ESTABLISHED.into();
        well.services[0].allocated = condition(true, "Allocated", "");
        assert!(is_well(&well), "that another node announces a Service is no trouble");
        let breaks: [fn(&mut Status); 4] = [
            |status| status.problems = troubled().problems,
            |status| status.peers = troubled().peers,
            |status| status.services = troubled().services,
            |status| status.phase = Phase::Binding,
        ];
        for (number, break_it) in breaks.into_iter().enumerate() {
            let mut broken = well.clone();
            break_it(&mut broken);
            assert!(!is_well(&broken), "{number}");
        }
    }

    #[test]
    fn a_troubled_node_fits_a_terminal_of_100_columns() {
        let text = table(&troubled(), Some(100));
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}\n{text}", line.chars().count());
        }
    }

    #[test]
    fn every_problem_is_a_line_of_its_own_where_nothing_is_folded() {
        let text = table(&troubled(), None);
        let problem = text.lines().find(|line| line.starts_with("AddressPool/second: spec.addresses[1]: "));
        assert!(problem.is_some_and(|line| line.ends_with("(OverlappingRange)")), "{text}");
        assert!(
            text.contains("\nService/shop/late: no endpoint of the Service takes traffic (NoEndpoints)\n"),
            "{text}"
        );
        assert!(text.contains("\nBGPPeer/router-a: OpenConfirm; last error: connecting to "), "{text}");
    }
}
