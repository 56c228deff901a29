//! What is wrong with SpeakerConfigs taken together: speakers that routers cannot tell apart.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bellhop_api::Reason;
use bellhop_core::objects::{Node, SpeakerConfig};
use bellhop_core::settings::SpeakerSettings;
use bellhop_core::{ObjectName, ObjectRef, Problem, World};

use super::Planner;

impl Planner {
    /// Nodes or SpeakerConfigs changed: who has which router ID is looked at again.
    pub(super) fn mark_speaker_configs(&mut self) {
        let names: Vec<ObjectName> = self.world.speaker_configs().keys().cloned().collect();
        for name in names {
            self.mark_object(&ObjectRef::cluster("SpeakerConfig", name));
        }
    }
}

/// Two nodes with one router ID (RFC 6286 §2.1), of which this SpeakerConfig selects one at least.
pub(super) fn duplicate_router_id(world: &World, config: &SpeakerConfig) -> Option<Problem> {
    let mut nodes: BTreeMap<Ipv4Addr, Vec<&Node>> = BTreeMap::new();
    for node in world.nodes().values() {
        // What a speaker binds has no part in its router ID.
        nodes.entry(SpeakerSettings::of(world, node, false).router_id).or_default().push(node);
    }
    let selects =
        |node: &&Node| config.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels));
    let (router_id, same) = nodes.into_iter().find(|(_, same)| same.len() > 1 && same.iter().any(selects))?;
    let names: Vec<&str> = same.iter().take(2).map(|node| &*node.name).collect();
    let message = format!(
        "is the router ID of {} nodes, {} and {} among them; give each a SpeakerConfig with a routerID of its own",
        same.len(),
        names[0],
        names[1],
    );
    let object = ObjectRef::cluster("SpeakerConfig", config.name.clone());
    let reason = Reason::DuplicateRouterID.as_str();
    Some(Problem::new(object, reason, "spec.routerID", router_id.to_string(), message))
}
