//! A claim as an object of the kind AddressClaim, and back.

use std::sync::Arc;

use bellhop_api as api;
use bellhop_api::claim_name;
use bellhop_core::names::NamespacedName;
use bellhop_core::objects::{AddressClaim, DecidedBy, Holder, Port, Protocol};

/// Longest `spec.decidedBy.note`, in characters, as the kind AddressClaim allows.
const NOTE_MAX: usize = 512;

/// Why an object is not a claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
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

/// The object of a claim, with its name and without any other metadata.
pub fn claim_object(claim: &AddressClaim) -> api::AddressClaim {
    let holders = claim.holders.iter().map(|holder| api::ClaimHolder {
        namespace: holder.service.namespace.to_string(),
        name: holder.service.name.to_string(),
        uid: holder.uid.to_string(),
        ports: holder.ports.iter().map(port_object).collect(),
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
    api::AddressClaim::new(&claim_name(claim.address), spec)
}

/// The claim of an object.
///
/// # Errors
/// What is wrong with it, and in which field.
pub fn claim_of(object: api::AddressClaim) -> Result<AddressClaim, ClaimError> {
    let spec = object.spec;
    let address = spec.address.parse().map_err(|_| ClaimError::Address(spec.address.clone()))?;
    let (found, expected) = (object.metadata.name.unwrap_or_default(), claim_name(address));
    if found != expected {
        return Err(ClaimError::Name { found, expected });
    }
    let present = |text: String| (!text.is_empty()).then(|| text.into());
    let holders = spec.holders.into_iter().map(|holder| Holder {
        service: NamespacedName::new(holder.namespace, holder.name),
        uid: holder.uid.into(),
        ports: holder.ports.iter().map(port_of).collect(),
        sharing_key: present(holder.sharing_key),
    });
    let decided_by = spec.decided_by.map(|by| {
        Arc::new(DecidedBy { policy: by.policy.into(), digest: by.digest.into(), note: present(by.note) })
    });
    Ok(AddressClaim { address, pool: present(spec.pool), holders: holders.collect(), decided_by })
}

fn port_object(port: &Port) -> api::ClaimPort {
    let protocol = match port.protocol {
        Protocol::Tcp => api::PortProtocol::TCP,
        Protocol::Udp => api::PortProtocol::UDP,
        Protocol::Sctp => api::PortProtocol::SCTP,
    };
    api::ClaimPort { protocol, port: port.port }
}

fn port_of(port: &api::ClaimPort) -> Port {
    let protocol = match port.protocol {
        api::PortProtocol::TCP => Protocol::Tcp,
        api::PortProtocol::UDP => Protocol::Udp,
        api::PortProtocol::SCTP => Protocol::Sctp,
    };
    Port { protocol, port: port.port }
}
