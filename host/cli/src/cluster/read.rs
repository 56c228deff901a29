//! Reading objects.

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_api::{
    AddressClaim, AddressPool, Advertisement, BFDProfile, BGPPeer, DecisionPolicy, SpeakerConfig,
    SpeakerState,
};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, Resource};
use serde::de::DeserializeOwned;

use super::{Cluster, cause};

/// How long one answer of the API server may take; it gives itself a minute, a person's patience is shorter.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects of a page of a list, as kubectl asks for them.
const PAGE: u32 = 500;

/// Why objects cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The user lacks a verb; the message is the API server's and names it with the resource.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// The server does not know the kind.
    #[error(
        "the server {server} does not know {resource}: Bellhop's CRDs are not installed there; install the chart, or \
         apply the files of `bellhop crds --dir crds`"
    )]
    NotInstalled {
        /// URL of the API server.
        server: String,
        /// Plural and group of the kind.
        resource: String,
    },
    /// The credentials are not accepted.
    #[error(
        "the server {server} does not accept the credentials of the kubeconfig (401 Unauthorized): log in again"
    )]
    Unauthorized {
        /// URL of the API server.
        server: String,
    },
    /// Nobody answers.
    #[error("the server {server} cannot be reached: {reason}")]
    Unreachable {
        /// URL of the API server.
        server: String,
        /// What was heard instead.
        reason: String,
    },
    /// The answer is an error of another kind.
    #[error("the server {server} answered: {message}")]
    Refused {
        /// URL of the API server.
        server: String,
        /// Its words.
        message: String,
    },
}

impl ReadError {
    /// An error of the client about a resource, in this crate's words.
    pub(crate) fn of(error: &kube::Error, server: &str, resource: &str) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::Unauthorized { server },
                403 => Self::Forbidden(status.message.clone()),
                // A list of a kind that is not there is a path that is not there.
                404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                    Self::NotInstalled { server, resource: resource.into() }
                }
                404 => Self::NotFound(status.message.clone()),
                _ => Self::Refused { server, message: status.message.clone() },
            },
            other => Self::Unreachable { server, reason: cause(other) },
        }
    }

    pub(super) fn late(server: &str) -> Self {
        let reason = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
        Self::Unreachable { server: server.into(), reason }
    }
}

/// What there is in the cluster, as far as the user may see it.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// AddressPools.
    pub pools: Vec<AddressPool>,
    /// AddressClaims.
    pub claims: Vec<AddressClaim>,
    /// BGPPeers.
    pub peers: Vec<BGPPeer>,
    /// BFDProfiles.
    pub profiles: Vec<BFDProfile>,
    /// Advertisements.
    pub advertisements: Vec<Advertisement>,
    /// SpeakerConfigs.
    pub configs: Vec<SpeakerConfig>,
    /// DecisionPolicies.
    pub policies: Vec<DecisionPolicy>,
    /// SpeakerStates.
    pub states: Vec<SpeakerState>,
    /// Services of type LoadBalancer, of every class.
    pub services: Vec<Service>,
    /// What the user may not see, a line each.
    pub not_shown: Vec<String>,
    /// Kinds of which the user may see none.
    pub hidden: BTreeSet<String>,
}

impl Objects {
    /// Everything that `status` shows.
    ///
    /// # Errors
    /// When the server does not answer, does not take the credentials, or has no CRDs; not when a list is forbidden.
    pub async fn read(cluster: &Cluster) -> Result<Self, ReadError> {
        let (pools, claims, peers, profiles, advertisements, configs, policies, states, services) = futures::join!(
            cluster.list::<AddressPool>(),
            cluster.list::<AddressClaim>(),
            cluster.list::<BGPPeer>(),
            cluster.list::<BFDProfile>(),
            cluster.list::<Advertisement>(),
            cluster.list::<SpeakerConfig>(),
            cluster.list::<DecisionPolicy>(),
            cluster.list::<SpeakerState>(),
            cluster.list::<Service>(),
        );
        let mut objects = Self::default();
        objects.services = objects.take(services)?;
        objects.services.retain(|service| {
            service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
        });
        objects.pools = objects.take(pools)?;
        objects.claims = objects.take(claims)?;
        objects.profiles = objects.take(profiles)?;
        objects.peers = objects.take(peers)?;
        objects.advertisements = objects.take(advertisements)?;
        objects.configs = objects.take(configs)?;
        objects.policies = objects.take(policies)?;
        objects.states = objects.take(states)?;
        Ok(objects)
    }

    /// What of a list can be shown; what cannot becomes a line.
    fn take<K: Resource<DynamicType = ()>>(
        &mut self,
        list: Result<Listed<K>, ReadError>,
    ) -> Result<Vec<K>, ReadError> {
        match list {
            Ok(listed) => {
                self.not_shown.extend(listed.unreadable);
                Ok(listed.objects)
            }
            Err(ReadError::Forbidden(message)) => {
                self.not_shown.push(message);
                self.hidden.insert(K::kind(&()).into_owned());
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// A list.
#[derive(Debug)]
pub struct Listed<K> {
    /// What could be read.
    pub objects: Vec<K>,
    /// A line for each object that this version cannot read.
    pub unreadable: Vec<String>,
}

impl Cluster {
    /// All objects of a kind, in all namespaces. An object that does not have the form that this version knows, because
    /// a newer one wrote it, is left out and told.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn list<K>(&self) -> Result<Listed<K>, ReadError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.list_from(|resource| Api::all_with(self.client.clone(), resource), &ListParams::default()).await
    }

    /// Objects of a kind in one namespace, selected.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn list_in<K>(&self, namespace: &str, params: &ListParams) -> Result<Listed<K>, ReadError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + DeserializeOwned,
    {
        let api = |resource: &ApiResource| Api::namespaced_with(self.client.clone(), namespace, resource);
        self.list_from(api, params).await
    }

    async fn list_from<K>(
        &self,
        api: impl Fn(&ApiResource) -> Api<DynamicObject>,
        params: &ListParams,
    ) -> Result<Listed<K>, ReadError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let resource = ApiResource::erase::<K>(&());
        let api = api(&resource);
        let mut listed = Listed { objects: Vec::new(), unreadable: Vec::new() };
        let mut params = params.clone().limit(PAGE);
        loop {
            let page = tokio::time::timeout(ANSWER_TIMEOUT, api.list(&params))
                .await
                .map_err(|_| ReadError::late(&self.server))?
                .map_err(|error| ReadError::of(&error, &self.server, &name(&resource)))?;
            for mut object in page.items {
                // A list leaves these out of its items.
                object.types.get_or_insert_with(|| kube::core::TypeMeta {
                    api_version: resource.api_version.clone(),
                    kind: resource.kind.clone(),
                });
                let named =
                    format!("{}/{}", resource.kind, object.metadata.name.as_deref().unwrap_or_default());
                let decoded = serde_json::to_value(object).and_then(serde_json::from_value);
                match decoded {
                    Ok(object) => listed.objects.push(object),
                    Err(error) => listed
                        .unreadable
                        .push(format!("{named} has a form that this version does not know: {error}")),
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(listed);
            }
        }
    }

    /// One object, or `None` where it is not there.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn get<K>(&self, api: Api<K>, name: &str) -> Result<Option<K>, ReadError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        match tokio::time::timeout(ANSWER_TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                Err(ReadError::of(&error, &self.server, &self::name(&ApiResource::erase::<K>(&()))))
            }
            Err(_) => Err(ReadError::late(&self.server)),
        }
    }
}

/// `addresspools.bellhop.dev`.
fn name(resource: &ApiResource) -> String {
    if resource.group.is_empty() {
        resource.plural.clone()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn said(status: serde_json::Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        ReadError::of(&kube::Error::Api(Box::new(status)), "https://s", "addresspools.bellhop.dev")
            .to_string()
    }

    #[test]
    fn each_refusal_says_who_refused_what_and_what_to_do() {
        let forbidden =
            "addresspools.bellhop.dev is forbidden: User \"u\" cannot list resource \"addresspools\"";
        for (status, wanted) in [
            (serde_json::json!({"code": 401}), "https://s does not accept the credentials"),
            (serde_json::json!({"code": 403, "message": forbidden}), forbidden),
            (
                serde_json::json!({"code": 404, "message": "404 page not found"}),
                "https://s does not know addresspools.bellhop.dev: Bellhop's CRDs are not installed",
            ),
            (
                serde_json::json!({"code": 404, "message": "not found: x", "details": {"name": "x"}}),
                "not found: x",
            ),
            (serde_json::json!({"code": 500, "message": "etcdserver: leader changed"}), "etcdserver: leader"),
        ] {
            let said = said(status.clone());
            assert!(said.contains(wanted), "{status}: {said}");
        }
    }
}
