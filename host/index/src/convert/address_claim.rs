//! AddressClaim.

use std::sync::Arc;

use bellhop_api::{AddressClaimSpec, PortProtocol, Reason};
use bellhop_core::ServiceKey;
use bellhop_core::names::shared;
use bellhop_core::objects::{AddressClaim, DecidedBy, Holder, Port, Protocol};

use super::fields;
use super::metadata::Metadata;
use crate::report::Report;

pub(crate) fn convert(
    metadata: &Metadata,
    spec: &AddressClaimSpec,
    report: &mut Report,
) -> Option<Arc<AddressClaim>> {
    let address = fields::address(&spec.address, "spec.address", report)?;
    let name = bellhop_api::claim_name(address);
    if *metadata.name != *name {
        let message = format!("must be {name}, the name of the claim of {address}");
        report.wrong(Reason::InvalidValue, "metadata.name", &*metadata.name, message);
    }
    let mut holders = Vec::with_capacity(spec.holders.len());
    for (index, holder) in spec.holders.iter().enumerate() {
        let service = ServiceKey::new(shared(&holder.namespace), shared(&holder.name));
        if holders.iter().any(|other: &Holder| other.service == service) {
            let message = "holds the address twice; name each Service once";
            report.wrong(
                Reason::InvalidValue,
                format!("spec.holders[{index}]"),
                service.to_string(),
                message,
            );
        }
        let port = |port: &bellhop_api::ClaimPort| Port {
            protocol: match port.protocol {
                PortProtocol::TCP => Protocol::Tcp,
                PortProtocol::UDP => Protocol::Udp,
                PortProtocol::SCTP => Protocol::Sctp,
            },
            port: port.port,
        };
        holders.push(Holder {
            service,
            uid: shared(&holder.uid),
            ports: holder.ports.iter().map(port).collect(),
            sharing_key: (!holder.sharing_key.is_empty()).then(|| holder.sharing_key.as_str().into()),
        });
    }
    let decided_by = spec.decided_by.as_ref().map(|decided| {
        Arc::new(DecidedBy {
            policy: shared(&decided.policy),
            digest: shared(&decided.digest),
            note: (!decided.note.is_empty()).then(|| decided.note.as_str().into()),
        })
    });
    Some(Arc::new(AddressClaim {
        address,
        pool: (!spec.pool.is_empty()).then(|| shared(&spec.pool)),
        holders,
        decided_by,
    }))
}
