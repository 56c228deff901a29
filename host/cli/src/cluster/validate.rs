//! `bellhop validate` without a folder: the objects of a cluster, looked at together as a folder of them would be.

use std::fs;
use std::io;
use std::path::Path;

use bellhop_api::{
    AddressClaim, AddressPool, Advertisement, BFDProfile, BGPPeer, DecisionPolicy, SpeakerConfig,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Service};
use kube::api::Api;
use kube::core::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cluster;
use super::read::ReadError;

/// Why a cluster's objects cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They cannot be put down.
    #[error("cannot write to the folder for temporary files: {0}")]
    Write(#[from] io::Error),
}

/// A folder with the cluster's objects, which is removed when this is dropped.
#[derive(Debug)]
pub struct Collected {
    /// The folder.
    pub folder: tempfile::TempDir,
    /// What the user may not see.
    pub not_shown: Vec<String>,
}

/// Puts what a speaker and the controller would read into a folder, one file for each object.
///
/// # Errors
/// When the server cannot be asked, or the files cannot be written; not when a list is forbidden.
pub async fn collect(cluster: &Cluster) -> Result<Collected, CollectError> {
    let mut collected = Collected { folder: tempfile::tempdir()?, not_shown: Vec::new() };
    collected.put::<Namespace>(cluster).await?;
    collected.put::<Node>(cluster).await?;
    collected.put::<Service>(cluster).await?;
    collected.put::<AddressPool>(cluster).await?;
    collected.put::<AddressClaim>(cluster).await?;
    collected.put::<BGPPeer>(cluster).await?;
    collected.put::<BFDProfile>(cluster).await?;
    collected.put::<Advertisement>(cluster).await?;
    collected.put::<SpeakerConfig>(cluster).await?;
    let policies = collected.put::<DecisionPolicy>(cluster).await?;
    collected.put_modules(cluster, &policies).await?;
    Ok(collected)
}

impl Collected {
    async fn put<K>(&mut self, cluster: &Cluster) -> Result<Vec<K>, CollectError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    {
        let listed = match cluster.list::<K>().await {
            Ok(listed) => listed,
            Err(ReadError::Forbidden(message)) => {
                self.not_shown.push(message);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        self.not_shown.extend(listed.unreadable);
        let folder = self.folder.path().join(&*K::kind(&()));
        fs::create_dir(&folder)?;
        for (index, object) in listed.objects.iter().enumerate() {
            write(&folder.join(format!("{index}.json")), object)?;
        }
        Ok(listed.objects)
    }

    /// The ConfigMaps that policies name, and no others: what else is in them is nobody's business here.
    async fn put_modules(
        &mut self,
        cluster: &Cluster,
        policies: &[DecisionPolicy],
    ) -> Result<(), CollectError> {
        let mut names: Vec<&str> =
            policies.iter().map(|policy| policy.spec.plugin.config_map.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let api = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
            match cluster.get(api, name).await {
                Ok(Some(config_map)) => {
                    write(&self.folder.path().join(format!("ConfigMap-{name}.json")), &config_map)?;
                }
                Ok(None) => {}
                Err(ReadError::Forbidden(message)) => self.not_shown.push(message),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn write(path: &Path, object: &impl Serialize) -> io::Result<()> {
    fs::write(path, serde_json::to_vec(object)?)
}
