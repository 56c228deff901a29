//! `bellhop status` for people.

use bellhop_core::report::{AllocationRole, Condition, Phase, Status};

use crate::output::columns;

/// The state of a node as text.
pub fn table(status: &Status) -> String {
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
        AllocationRole::RequestedOnly => "serves only addresses that Services ask for (no --allocate)",
    };
    let mut text = format!("Node {}: {phase}; {role} (bellhop {})\n", status.node, status.version);
    text += "\nPEERS\n";
    text += &columns(
        &["NAME", "ADDRESS", "ASN", "LOCAL", "STATE", "UP", "FAMILIES", "ROUTES", "UPDATES", "LAST ERROR"],
        status.peers.iter().map(peer).collect(),
        "no BGPPeer selects this node",
    );
    text += "\nSERVICES\n";
    text += &columns(
        &["SERVICE", "ADDRESSES", "ALLOCATED", "ANNOUNCED"],
        status
            .services
            .iter()
            .map(|row| {
                let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
                vec![
                    format!("{}/{}", row.namespace, row.name),
                    addresses.join(","),
                    condition(&row.allocated),
                    condition(&row.announced),
                ]
            })
            .collect(),
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
                vec![row.name.clone(), row.ranges.join(","), usage.join(", ")]
            })
            .collect(),
        "no AddressPool",
    );
    text += "\nPOLICIES\n";
    text += &columns(
        &["NAME", "HOOK", "STEP", "ACTIVE", "CANDIDATE", "CALLS", "MEMO", "FAILED", "WHY"],
        status.policies.iter().map(policy).collect(),
        "no DecisionPolicy: built-in decisions",
    );
    if !status.problems.is_empty() {
        text += "\nPROBLEMS\n";
        for problem in &status.problems {
            text += &format!("{problem}\n");
        }
    }
    text
}

fn peer(row: &bellhop_core::report::PeerRow) -> Vec<String> {
    let families: Vec<String> = row.families.iter().map(ToString::to_string).collect();
    vec![
        row.name.clone(),
        row.address.to_string(),
        row.peer_asn.to_string(),
        row.local_asn.to_string(),
        row.state.clone(),
        row.up_seconds.map(duration).unwrap_or_default(),
        families.join(","),
        format!("{}/{}", row.sent, row.wanted),
        row.updates_sent.to_string(),
        row.last_error.clone().unwrap_or_default(),
    ]
}

fn policy(row: &bellhop_core::report::PolicyRow) -> Vec<String> {
    let step = match &row.stage {
        Some(stage) => format!("{} at {stage}", row.step),
        None => row.step.clone(),
    };
    let why = match (&row.reason, &row.message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (reason, message) => reason.clone().or_else(|| message.clone()).unwrap_or_default(),
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
        why,
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
