//! What the cluster's benches write: Services, their endpoints, and what a controller makes of them.

use std::net::Ipv4Addr;

use bellhop_lab::Node;
use serde_json::{Value, json};

use super::api::{Meta, Write, Written};

/// Namespace of the Services.
pub const NAMESPACE: &str = "bench";
/// Collection of the Services.
pub const SERVICES: &str = "/api/v1/namespaces/bench/services";
/// Collection of the claims.
pub const CLAIMS: &str = "/apis/bellhop.dev/v1alpha1/addressclaims";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";

/// First address of the pool (RFC 2544; the lower half of that network marks places in recordings of routes).
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

/// Field manager of the controller, whose writes the bare client makes.
const FIELD_MANAGER: &str = "bellhop-controller";

/// Pool, router, speakers' settings and one Advertisement, as a small site has them; and the Services' namespace.
pub const BASE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {name: bench}
spec: {addresses: [198.19.0.0/16]}
---
apiVersion: bellhop.dev/v1alpha1
kind: SpeakerConfig
metadata: {name: default}
spec:
  asn: 64513
  drain: {wait: 1s}
  # No kube-proxy runs here.
  proxyHealth: {enabled: false}
---
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {peerAddress: 192.0.2.1, peerASN: 64512, connectRetryTime: 1s}
---
apiVersion: bellhop.dev/v1alpha1
kind: Advertisement
metadata: {name: everything}
spec:
  attributes: {communities: ['64513:1']}
";

fn name(number: u32) -> String {
    format!("service-{number:05}")
}

/// Makes a Service. Without node ports, of which a cluster has 2,768 for 10,000 Services, and without a selector: its
/// endpoints are made by hand.
pub fn service(number: u32) -> Write {
    let name = name(number);
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app.kubernetes.io/name": name, "tier": "gold"}},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "bellhop.dev/bellhop",
            "allocateLoadBalancerNodePorts": false, "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    Write::create(SERVICES, &object)
}

/// Deletes a Service.
pub fn no_service(number: u32) -> Write {
    Write::delete(format!("{SERVICES}/{}", name(number)))
}

/// Makes one of a Service's EndpointSlices (`part` from 0), with a ready endpoint on two nodes.
pub fn slice(number: u32, part: u32) -> Write {
    let name = name(number);
    let endpoint = |node: Node| {
        let [low, high] = [number % 250 + 1, number / 250 % 250];
        json!({
            "addresses": [format!("10.{}.{high}.{low}", 100 + part)], "nodeName": node.name(), "zone": "a",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": format!("{name}-{part}-{}", node.name())},
        })
    };
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE, "name": format!("{name}-{part}"),
            "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "bench"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [endpoint(Node::ALL[0]), endpoint(Node::ALL[1])],
    });
    Write::create(SLICES, &object)
}

/// Deletes one of a Service's EndpointSlices.
pub fn no_slice(number: u32, part: u32) -> Write {
    Write::delete(format!("{SLICES}/{}-{part}", name(number)))
}

/// What a controller writes to give a Service an address: the claim, then the status.
pub fn allocation(number: u32, service: &Written) -> Vec<Write> {
    let Meta { name, uid, resource_version } = &service.metadata;
    let address = Ipv4Addr::from(u32::from(FIRST) + number).to_string();
    let claim = json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "AddressClaim",
        "metadata": {"name": address},
        "spec": {
            "address": address, "pool": "bench",
            "holders": [{
                "namespace": NAMESPACE, "name": name, "uid": uid, "ports": [{"protocol": "TCP", "port": 80}],
            }],
        },
    });
    let status = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": uid, "resourceVersion": resource_version},
        "status": {
            "loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]},
            "conditions": [{
                "type": "bellhop.dev/Allocated", "status": "True", "observedGeneration": 0,
                "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Allocated",
                "message": format!("has {address}"),
            }],
        },
    });
    vec![
        Write::create(format!("{CLAIMS}?fieldManager={FIELD_MANAGER}"), &claim),
        Write::apply_status(&format!("{SERVICES}/{name}"), FIELD_MANAGER, &status),
    ]
}

/// What is read of a Service.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Service {
    metadata: Meta,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Value>,
}

impl Service {
    /// Its name, once it has an address.
    pub fn with_address(&self) -> Option<String> {
        (!self.status.load_balancer.ingress.is_empty()).then(|| self.metadata.name.clone())
    }
}
