//! EndpointSlice (discovery/v1).

use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::names::shared;
use bellhop_core::objects::{Endpoint, EndpointSlice};
use bellhop_core::{Family, ServiceKey};
use k8s_openapi::api::discovery::v1 as k8s;
use serde_json::Value;

use super::decode;
use super::metadata::Metadata;
use crate::report::Report;

/// Label that names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Why a slice is of no interest, if it is of none.
pub(crate) fn ignored(metadata: &Metadata, value: &Value) -> Option<&'static str> {
    if !metadata.labels.contains_key(SERVICE_NAME) {
        return Some("an EndpointSlice of no Service");
    }
    (value.get("addressType").and_then(Value::as_str) == Some("FQDN")).then_some("an EndpointSlice of names")
}

pub(crate) fn convert(metadata: &Metadata, value: Value, report: &mut Report) -> Option<Arc<EndpointSlice>> {
    let service = metadata.labels.get(SERVICE_NAME)?;
    let slice: k8s::EndpointSlice = decode(value, "", report)?;
    let endpoint = |endpoint: k8s::Endpoint| {
        let conditions = endpoint.conditions.unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        Endpoint {
            node: endpoint.node_name.as_deref().map(shared),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
        }
    };
    let family = match slice.address_type.as_str() {
        "IPv4" => Family::Ipv4,
        "IPv6" => Family::Ipv6,
        other => {
            report.wrong(Reason::InvalidValue, "addressType", other, "must be IPv4, IPv6 or FQDN");
            return None;
        }
    };
    Some(Arc::new(EndpointSlice {
        key: metadata.key(),
        family,
        service: ServiceKey::new(metadata.namespace.clone(), service.clone()),
        endpoints: slice.endpoints.into_iter().flatten().map(endpoint).collect(),
    }))
}
