//! Node (core/v1).

use std::sync::Arc;

use bellhop_core::objects::{Node, Readiness, Taint};
use k8s_openapi::api::core::v1 as k8s;
use serde_json::Value;

use super::metadata::Metadata;
use super::{decode, fields};
use crate::report::Report;

pub(crate) fn convert(metadata: Metadata, value: Value, report: &mut Report) -> Option<Arc<Node>> {
    let node: k8s::Node = decode(value, "", report)?;
    let spec = node.spec.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    let mut addresses = Vec::new();
    for (index, address) in status.addresses.iter().flatten().enumerate() {
        if matches!(address.type_.as_str(), "InternalIP" | "ExternalIP") {
            let field = format!("status.addresses[{index}].address");
            addresses.extend(fields::address(&address.address, &field, report));
        }
    }
    let taint = |taint: k8s::Taint| Taint {
        key: taint.key.into(),
        value: taint.value.unwrap_or_default().into(),
        effect: taint.effect.into(),
    };
    Some(Arc::new(Node {
        name: metadata.name,
        labels: metadata.labels,
        annotations: metadata.annotations,
        deleting: metadata.deleting,
        taints: spec.taints.into_iter().flatten().map(taint).collect(),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        ready: match condition("Ready").map(|condition| condition.status.as_str()) {
            None | Some("True") => Readiness::Ready,
            Some("False") => Readiness::NotReady,
            Some(_) => Readiness::Unknown,
        },
        network_unavailable: condition("NetworkUnavailable")
            .is_some_and(|condition| condition.status == "True"),
        addresses,
    }))
}
