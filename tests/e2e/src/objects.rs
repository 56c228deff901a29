//! Objects that cases make: namespaces, backends, Services, and what is read from them.

use std::net::IpAddr;

use anyhow::Result;
use bellhop_test_cluster::wait_for;
use serde_json::Value;

use crate::routes::PORT;
use crate::site::{CASE_LABEL, PODS, SOON, Site, expect_condition};

/// Image of the backends, which every node of the test cluster has.
pub const BACKEND_IMAGE: &str = "localhost/bellhop/test-pod:1";
/// Condition of a Service that has its addresses.
pub const ALLOCATED: &str = "bellhop.dev/Allocated";
/// Condition of a Service that some node announces.
pub const ANNOUNCED: &str = "bellhop.dev/Announced";

/// A Service of a case; every field is one of the API's.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `spec.loadBalancerClass`; `None` leaves it out.
    pub class: Option<&'a str>,
    /// More fields of `spec`, as YAML in flow style without the braces, for example `externalTrafficPolicy: Local`.
    pub spec: &'a str,
    /// `metadata.annotations`, likewise.
    pub annotations: &'a str,
    /// `metadata.labels`, likewise.
    pub labels: &'a str,
    /// `spec.ports[0].port`.
    pub port: u16,
}

impl<'a> Service<'a> {
    /// A Service of Bellhop's class in front of the backend of its namespace.
    pub const fn new(namespace: &'a str, name: &'a str) -> Self {
        let class = Some("bellhop.dev/bellhop");
        Self { namespace, name, class, spec: "", annotations: "", labels: "", port: PORT }
    }

    /// As YAML.
    pub fn manifest(&self) -> String {
        let Self { namespace, name, class, spec, annotations, labels, port } = self;
        let class = class.map(|class| format!("loadBalancerClass: {class}, ")).unwrap_or_default();
        let spec = if spec.is_empty() { String::new() } else { format!("{spec}, ") };
        format!(
            "apiVersion: v1
kind: Service
metadata: {{namespace: {namespace}, name: {name}, annotations: {{{annotations}}}, labels: {{{labels}}}}}
spec: {{type: LoadBalancer, {class}{spec}selector: {{app: web}}, ports: [{{name: http, port: {port}, targetPort: 8080}}]}}
"
        )
    }
}

impl Site {
    /// Makes a namespace for a case; [`Site::reset`] removes it.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn namespace(&self, name: &str) -> Result<()> {
        let (key, value) = CASE_LABEL.split_once('=').unwrap_or((CASE_LABEL, ""));
        self.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{key}: {value}}}}}\n"
        ))
    }

    /// Makes a namespace with a backend: one ready pod `app=web` on every node, which answers with its name and node.
    ///
    /// # Errors
    /// When the pods do not become ready.
    pub fn backend(&self, namespace: &str) -> Result<()> {
        self.namespace(namespace)?;
        self.apply(&format!(
            "apiVersion: apps/v1
kind: DaemonSet
metadata: {{namespace: {namespace}, name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template: {}
",
            backend_pod("")
        ))?;
        self.rolled_out(namespace, "daemonset/web")
    }

    /// Makes a Deployment `web` of ready pods `app=web` in a namespace that stands, or changes the one that is there, pod by
    /// pod. `placement`: more fields of the pod's spec, as YAML in flow style without the braces.
    ///
    /// # Errors
    /// When the pods do not become ready.
    pub fn deployment(&self, namespace: &str, replicas: u32, placement: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{namespace: {namespace}, name: web}}
spec:
  replicas: {replicas}
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}
  selector: {{matchLabels: {{app: web}}}}
  template: {}
",
            backend_pod(placement)
        ))?;
        self.rolled_out(namespace, "deployment/web")
    }

    /// Waits until the pods of a workload are the wanted ones, ready.
    ///
    /// # Errors
    /// With how far it is.
    pub fn rolled_out(&self, namespace: &str, workload: &str) -> Result<()> {
        let timeout = format!("--timeout={}s", PODS.as_secs());
        self.kubectl(&["-n", namespace, "rollout", "status", workload, &timeout]).map(drop)
    }

    /// A Service as the API has it.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, namespace: &str, name: &str) -> Result<Value> {
        self.json(&["-n", namespace, "get", "service", name])
    }

    /// Waits until a Service has `count` addresses and says that it is allocated; returns them in the status's order.
    ///
    /// # Errors
    /// With what the Service says instead.
    pub fn addresses(&self, namespace: &str, name: &str, count: usize) -> Result<Vec<IpAddr>> {
        let what = format!("Service {namespace}/{name} has {count} addresses");
        Ok(wait_for(&what, SOON, || {
            let service = self.service(namespace, name).map_err(|error| format!("{error:#}"))?;
            let found = ingress(&service);
            if found.len() != count {
                return Err(format!("{found:?}; {}", service["status"]));
            }
            expect_condition(&service, ALLOCATED, "True").map_err(|error| format!("{error:#}"))?;
            Ok(found)
        })?)
    }

    /// Waits until a Service has the condition with this status; returns `status/reason: message`.
    ///
    /// # Errors
    /// With what the Service says instead.
    pub fn service_condition(&self, namespace: &str, name: &str, kind: &str, status: &str) -> Result<String> {
        Ok(wait_for(&format!("Service {namespace}/{name} is {kind}={status}"), SOON, || {
            let service = self.service(namespace, name).map_err(|error| format!("{error:#}"))?;
            expect_condition(&service, kind, status).map_err(|error| format!("{error:#}"))
        })?)
    }
}

/// The pod of a backend: answers with its name and node, and for three seconds after it was told to end.
fn backend_pod(placement: &str) -> String {
    let placement = if placement.is_empty() { String::new() } else { format!("{placement}, ") };
    format!(
        "{{metadata: {{labels: {{app: web}}}}, spec: {{{placement}terminationGracePeriodSeconds: 5, containers: [{{name: web, \
         image: {BACKEND_IMAGE}, args: [serve, -port, '8080', -linger, 3s], env: [{{name: POD_NAME, valueFrom: \
         {{fieldRef: {{fieldPath: metadata.name}}}}}}, {{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: \
         spec.nodeName}}}}}}], readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}}}]}}}}"
    )
}

/// `status.loadBalancer.ingress[].ip` of a Service.
pub fn ingress(service: &Value) -> Vec<IpAddr> {
    let entries = service["status"]["loadBalancer"]["ingress"].as_array();
    entries.into_iter().flatten().filter_map(|entry| entry["ip"].as_str()?.parse().ok()).collect()
}
