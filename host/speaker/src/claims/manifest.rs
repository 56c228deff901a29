//! A claim as the manifest of an AddressClaim, and back.

use std::sync::Arc;

use bellhop_api as api;
use bellhop_api::claim_name;
use bellhop_core::names::NamespacedName;
use bellhop_core::objects::{AddressClaim, DecidedBy, Holder, Port, Protocol};

/// Longest `spec.decidedBy.note`, in characters, as the kind AddressClaim allows.
const NOTE_MAX: usize = 512;

/// Why a text is not the manifest of a claim.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML, or not of this kind.
    #[error("is no AddressClaim: {0}")]
    Syntax(String),
    /// `spec.address` is no address.
    #[error("spec.address: \"{0}\" is no IP address")]
    Address(String),
    /// `metadata.name` does not fit `spec.address`.
    #[error("metadata.name: \"{found}\" does not fit spec.address, whose claim is named \"{expected}\"")]
    Name {
        /// What stands there.
        found: String,
        /// What would be right.
        expected: String,
    },
}

/// A claim as YAML.
///
/// # Errors
/// What the encoder said.
pub fn claim_to_yaml(claim: &AddressClaim) -> Result<String, ManifestError> {
    let holders = claim.holders.iter().map(|holder| api::ClaimHolder {
        namespace: holder.service.namespace.to_string(),
        name: holder.service.name.to_string(),
        uid: holder.uid.to_string(),
        ports: holder.ports.iter().map(port_to_api).collect(),
        sharing_key: holder.sharing_key.as_deref().unwrap_or_default().to_owned(),
    });
    let decided_by = claim.decided_by.as_ref().map(|by| api::ClaimDecidedBy {
        policy: by.policy.to_string(),
        digest: by.digest.to_string(),
        note: by.note.as_deref().unwrap_or_default().chars().take(NOTE_MAX).collect(),
    });
    let spec = api::AddressClaimSpec {
        address: claim.address.to_string(),
        pool: claim.pool.as_deref().unwrap_or_default().to_owned(),
        holders: holders.collect(),
        decided_by,
    };
    let claim = api::AddressClaim::new(&claim_name(claim.address), spec);
    serde_saphyr::to_string(&claim).map_err(|error| ManifestError::Syntax(error.to_string()))
}

/// A claim from YAML.
///
/// # Errors
/// What is wrong with it, and in which field.
pub fn claim_from_yaml(text: &str) -> Result<AddressClaim, ManifestError> {
    let claim: api::AddressClaim =
        serde_saphyr::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
    let spec = claim.spec;
    let address = spec.address.parse().map_err(|_| ManifestError::Address(spec.address.clone()))?;
    let (found, expected) = (claim.metadata.name.unwrap_or_default(), claim_name(address));
    if found != expected {
        return Err(ManifestError::Name { found, expected });
    }
    let present = |text: String| (!text.is_empty()).then(|| text.into());
    let holders = spec.holders.into_iter().map(|holder| Holder {
        service: NamespacedName::new(holder.namespace, holder.name),
        uid: holder.uid.into(),
        ports: holder.ports.iter().map(port_from_api).collect(),
        sharing_key: present(holder.sharing_key),
    });
    let decided_by = spec.decided_by.map(|by| {
        Arc::new(DecidedBy { policy: by.policy.into(), digest: by.digest.into(), note: present(by.note) })
    });
    Ok(AddressClaim { address, pool: present(spec.pool), holders: holders.collect(), decided_by })
}

fn port_to_api(port: &Port) -> api::ClaimPort {
    let protocol = match port.protocol {
        Protocol::Tcp => api::PortProtocol::TCP,
        Protocol::Udp => api::PortProtocol::UDP,
        Protocol::Sctp => api::PortProtocol::SCTP,
    };
    api::ClaimPort { protocol, port: port.port }
}

fn port_from_api(port: &api::ClaimPort) -> Port {
    let protocol = match port.protocol {
        api::PortProtocol::TCP => Protocol::Tcp,
        api::PortProtocol::UDP => Protocol::Udp,
        api::PortProtocol::SCTP => Protocol::Sctp,
    };
    Port { protocol, port: port.port }
}
