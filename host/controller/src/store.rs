//! The API server as a [`Store`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_api::conditions::{ALLOCATED, ANNOUNCED};
use bellhop_api::{
    AddressClaimSpec, ClaimDecidedBy, ClaimHolder, ClaimPort, PortProtocol, SILENT_NODES, claim_name,
};
use bellhop_core::objects::{AddressClaim, Protocol};
use bellhop_core::{Delta, ObjectName, ObjectRef, ServiceKey};
use bellhop_index::{Index, Options};
use bellhop_kubernetes::{Condition, Stored, WriteError, Writer};
use serde_json::{Value, json};

use crate::membership;
use crate::versions::POLICY_LABEL;
use crate::write::{Answer, Leaving, ReadClaim, Store, Write};

/// Writes by a [`Writer`], which is fenced by the Lease.
#[derive(Clone, Debug)]
pub struct ApiServer {
    writer: Writer,
    namespace: Arc<str>,
}

impl ApiServer {
    /// A store whose ConfigMaps and Secrets are those of `namespace`.
    pub fn new(writer: Writer, namespace: Arc<str>) -> Self {
        Self { writer, namespace }
    }

    fn own(&self, kind: &str, name: &str) -> ObjectRef {
        ObjectRef { kind: kind.into(), namespace: Some(self.namespace.clone()), name: name.into() }
    }

    /// The first of these holders that must keep the address, by a read of the store itself.
    async fn staying(
        &self,
        address: IpAddr,
        leaving: Vec<Leaving>,
    ) -> Result<Option<ServiceKey>, WriteError> {
        for holder in leaving {
            let service = self.writer.read(&ObjectRef::namespaced("Service", &holder.service)).await?;
            let listed = service.as_ref().map(listed).unwrap_or_default();
            let uid = service.as_ref().and_then(|service| service["metadata"]["uid"].as_str());
            if holder.keeps(address, uid.map(|uid| (uid, &*listed))) {
                return Ok(Some(holder.service));
            }
        }
        Ok(None)
    }

    /// Replaces the spec of a claim; labels and annotations that people put there stay.
    async fn update(&self, claim: &AddressClaim, at: &Condition) -> Result<Answer, WriteError> {
        let object = claim_ref(claim.address);
        let Some(before) = self.writer.read(&object).await? else { return Ok(Answer::Claim(None)) };
        if stored(&before).is_none_or(|stored| Condition::from(&stored) != *at) {
            return Ok(Answer::Claim(read(&before)));
        }
        let mut metadata = serde_json::Map::new();
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            if let Some(value) = before["metadata"].get(field) {
                metadata.insert(field.into(), value.clone());
            }
        }
        let manifest = json!({ "metadata": metadata, "spec": spec(claim) });
        self.writer.replace(&object, at, &manifest).await.map(Answer::Stored)
    }

    async fn delete_copy(&self, name: &str, policy: &str) -> Result<Answer, WriteError> {
        let object = self.own("ConfigMap", name);
        let Some(copy) = self.writer.read(&object).await? else { return Ok(Answer::Gone) };
        let label = copy["metadata"]["labels"][POLICY_LABEL].as_str();
        let ours = label.is_some_and(|label| !label.is_empty() && policy.starts_with(label));
        let Some(stored) = stored(&copy).filter(|_| ours) else {
            tracing::warn!(%object, "not deleted: it is named like a copy of a policy's version and not labelled as one");
            return Ok(Answer::Gone);
        };
        self.writer.delete(&object, &Condition::from(&stored)).await.map(|()| Answer::Gone)
    }

    async fn tell_silent(&self, nodes: &BTreeMap<ObjectName, &'static str>) -> Result<Answer, WriteError> {
        let object = self.own("ConfigMap", SILENT_NODES);
        let before = self.writer.read(&object).await?;
        let data = json!(nodes.iter().map(|(node, why)| (&**node, *why)).collect::<BTreeMap<_, _>>());
        let manifest = json!({
            "metadata": { "labels": { "app.kubernetes.io/part-of": "bellhop" } },
            "data": data,
        });
        match before {
            None if nodes.is_empty() => Ok(Answer::Gone),
            None => self.writer.create(&object, &manifest).await.map(Answer::Stored),
            Some(before) => {
                let Some(stored) = stored(&before) else { return Ok(Answer::Gone) };
                let stands = before.get("data").unwrap_or(&json!({})) == &data;
                if stands {
                    return Ok(Answer::Stored(stored));
                }
                let at = Condition::from(&stored);
                self.writer.replace(&object, &at, &manifest).await.map(Answer::Stored)
            }
        }
    }

    async fn create_membership_key(&self) -> Result<Answer, WriteError> {
        let object = self.own("Secret", membership::SECRET);
        if let Some(secret) = self.writer.read(&object).await? {
            return membership::check(&object, &secret).map(|()| Answer::Gone);
        }
        let manifest = membership::manifest(&object)?;
        self.writer.create(&object, &manifest).await.map(Answer::Stored)
    }
}

impl Store for ApiServer {
    async fn execute(&self, write: Write) -> Result<Answer, WriteError> {
        match write {
            Write::CreateClaim(claim) => {
                let manifest = json!({ "spec": spec(&claim) });
                self.writer.create(&claim_ref(claim.address), &manifest).await.map(Answer::Stored)
            }
            Write::UpdateClaim { claim, at, leaving } => match self.staying(claim.address, leaving).await? {
                Some(service) => Ok(Answer::HolderLives(service)),
                None => self.update(&claim, &at).await,
            },
            Write::ReleaseClaim { address, at, leaving } => match self.staying(address, leaving).await? {
                Some(service) => Ok(Answer::HolderLives(service)),
                None => self.writer.delete(&claim_ref(address), &at).await.map(|()| Answer::Gone),
            },
            Write::ReadClaim(address) => {
                let claim = self.writer.read(&claim_ref(address)).await?;
                Ok(Answer::Claim(claim.as_ref().and_then(read)))
            }
            Write::Status { object, at, status } => {
                self.writer.apply_status(&object, &at, &status).await.map(Answer::Stored)
            }
            Write::CreateCopy { name, manifest } => {
                self.writer.create(&self.own("ConfigMap", &name), &*manifest).await.map(Answer::Stored)
            }
            Write::DeleteCopy { name, policy } => self.delete_copy(&name, &policy).await,
            Write::CreateMembershipKey => self.create_membership_key().await,
            Write::SilentNodes(nodes) => self.tell_silent(&nodes).await,
        }
    }
}

fn claim_ref(address: IpAddr) -> ObjectRef {
    ObjectRef::cluster("AddressClaim", claim_name(address))
}

/// The addresses that a status of ours lists.
fn listed(service: &Value) -> Vec<IpAddr> {
    let entries = |pointer: &str| service.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let mut types = entries("/status/conditions").filter_map(|condition| condition["type"].as_str());
    if !types.any(|type_| [ALLOCATED, ANNOUNCED].contains(&type_)) {
        return Vec::new();
    }
    let ingress = entries("/status/loadBalancer/ingress").filter_map(|entry| entry["ip"].as_str());
    ingress.filter_map(|ip| ip.parse().ok()).collect()
}

/// Identity and version of an object that was read.
fn stored(object: &Value) -> Option<Stored> {
    let metadata = &object["metadata"];
    Some(Stored {
        uid: metadata["uid"].as_str()?.into(),
        resource_version: metadata["resourceVersion"].as_str()?.into(),
        generation: metadata["generation"].as_i64().unwrap_or(0),
    })
}

/// A claim that was read.
fn read(object: &Value) -> Option<ReadClaim> {
    let deltas = Index::new(Options::default()).apply("claim.json", object.to_string().as_bytes());
    let claim = deltas.into_iter().find_map(|delta| match delta {
        Delta::Claim(_, claim) => claim,
        _ => None,
    });
    Some(ReadClaim { stored: stored(object)?, claim })
}

/// A claim as the API server stores it.
fn spec(claim: &AddressClaim) -> AddressClaimSpec {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let holders = claim.holders.iter().map(|holder| ClaimHolder {
        namespace: holder.service.namespace.to_string(),
        name: holder.service.name.to_string(),
        uid: holder.uid.to_string(),
        ports: holder
            .ports
            .iter()
            .map(|port| ClaimPort {
                protocol: match port.protocol {
                    Protocol::Tcp => PortProtocol::TCP,
                    Protocol::Udp => PortProtocol::UDP,
                    Protocol::Sctp => PortProtocol::SCTP,
                },
                port: port.port,
            })
            .collect(),
        sharing_key: text(&holder.sharing_key),
    });
    AddressClaimSpec {
        address: claim.address.to_string(),
        pool: text(&claim.pool),
        holders: holders.collect(),
        decided_by: claim.decided_by.as_ref().map(|decided| ClaimDecidedBy {
            policy: decided.policy.to_string(),
            digest: decided.digest.to_string(),
            note: text(&decided.note),
        }),
    }
}

#[cfg(test)]
mod tests {
    use bellhop_core::objects::{DecidedBy, Holder, Port};

    use super::*;

    #[test]
    fn only_a_status_of_ours_is_said_to_list_addresses() {
        let service = |type_: &str| {
            json!({ "status": {
                "conditions": [{ "type": type_ }],
                "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }, { "hostname": "x" }] },
            } })
        };
        assert_eq!(listed(&service(ALLOCATED)), ["203.0.113.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(listed(&service("other.example/Ready")), [] as [IpAddr; 0]);
        assert_eq!(listed(&json!({})), [] as [IpAddr; 0]);
    }

    #[test]
    fn a_claim_that_was_written_is_read_as_it_was() {
        let address = "2001:db8::7".parse().unwrap();
        let claim = AddressClaim {
            address,
            pool: Some("public".into()),
            holders: vec![Holder {
                service: ServiceKey::new("web", "shop"),
                uid: "1".into(),
                ports: vec![Port { protocol: Protocol::Udp, port: 53 }],
                sharing_key: Some("x".into()),
            }],
            decided_by: Some(Arc::new(DecidedBy {
                policy: "p".into(),
                digest: "ab".repeat(32).into(),
                note: Some("suffix".into()),
            })),
        };
        let object = json!({
            "apiVersion": bellhop_api::API_VERSION,
            "kind": "AddressClaim",
            "metadata": { "name": claim_name(address), "uid": "u", "resourceVersion": "7" },
            "spec": spec(&claim),
        });
        assert_eq!(read(&object).unwrap().claim, Some(Arc::new(claim)));
    }
}
