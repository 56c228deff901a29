//! What is wrong with an Advertisement beside the pools and peers that it names. What it does match is announced all the same.

use bellhop_api::Reason;
use bellhop_core::announce::aggregate;
use bellhop_core::objects::Advertisement;
use bellhop_core::{ObjectName, ObjectRef, Problem, World};

/// Names that nothing has come first, then aggregates that do not fit.
pub(super) fn problems(world: &World, advertisement: &Advertisement) -> Vec<Problem> {
    let object = ObjectRef::cluster("Advertisement", advertisement.name.clone());
    let unknown = |reason: Reason, field: &str, index: usize, name: &ObjectName, kind: &str| {
        let message = format!(
            "no {kind} of this name is in force; correct the name or make the {kind}; what else is named is announced"
        );
        Problem::new(object.clone(), reason.as_str(), format!("spec.{field}[{index}]"), &**name, message)
    };
    let pools = advertisement.pools.iter().enumerate().filter(|(_, name)| !world.pools().contains_key(*name));
    let peers = advertisement.peers.iter().enumerate().filter(|(_, name)| !world.peers().contains_key(*name));
    pools
        .map(|(index, name)| unknown(Reason::UnknownPool, "pools", index, name, "AddressPool"))
        .chain(peers.map(|(index, name)| unknown(Reason::UnknownPeer, "peers", index, name, "BGPPeer")))
        .chain(aggregate::problems(world, advertisement))
        .collect()
}
