//! The nodes that announce nothing, as the controller's ConfigMap tells them to the speakers.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellhop_core::{Delta, ObjectName};
use serde_json::Value;

/// The set that is in force: as it was seen last, or restored. While nothing is heard it stays.
#[derive(Debug, Default)]
pub(crate) struct SilentNodes {
    nodes: Arc<BTreeSet<ObjectName>>,
    /// It was in the list that is being read, or came since.
    seen: bool,
    /// A list was read whole; what was kept on the node is older.
    listed: bool,
}

impl SilentNodes {
    /// A list begins.
    pub(crate) fn relist(&mut self) {
        self.seen = false;
    }

    /// The list is whole: without the object, no node is silent.
    pub(crate) fn listed(&mut self) -> Option<Delta> {
        self.listed = true;
        if self.seen { None } else { self.set(BTreeSet::new()) }
    }

    /// The ConfigMap: each key of its data is the name of a node, each value the reason for people.
    pub(crate) fn apply(&mut self, value: &Value) -> Option<Delta> {
        self.seen = true;
        let nodes = value.get("data").and_then(Value::as_object).into_iter().flatten();
        self.set(nodes.map(|(name, _)| name.as_str().into()).collect())
    }

    /// The object is gone.
    pub(crate) fn gone(&mut self) -> Option<Delta> {
        self.set(BTreeSet::new())
    }

    /// What was kept on the node; passed over where something newer was seen.
    pub(crate) fn restore(&mut self, kept: &[Delta]) -> Option<Delta> {
        if self.seen || self.listed {
            return None;
        }
        let nodes = kept.iter().rev().find_map(|delta| match delta {
            Delta::SilentNodes(nodes) => Some(nodes),
            _ => None,
        });
        self.set((**nodes?).clone())
    }

    /// What is in force.
    pub(crate) fn snapshot(&self) -> Delta {
        Delta::SilentNodes(self.nodes.clone())
    }

    fn set(&mut self, nodes: BTreeSet<ObjectName>) -> Option<Delta> {
        if *self.nodes == nodes {
            return None;
        }
        self.nodes = Arc::new(nodes);
        Some(self.snapshot())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(names: &[&str]) -> Option<Delta> {
        Some(Delta::SilentNodes(Arc::new(names.iter().map(|name| (*name).into()).collect())))
    }

    fn object(names: &[&str]) -> Value {
        let data: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), json!("no session is up"))).collect();
        json!({"metadata": {"name": "bellhop-silent-nodes", "resourceVersion": "1"}, "data": data})
    }

    #[test]
    fn each_change_is_told_once_and_an_object_that_is_gone_silences_nobody() {
        let mut silent = SilentNodes::default();
        silent.relist();
        assert_eq!(silent.listed(), None, "there was none");
        assert_eq!(silent.apply(&object(&["a", "b"])), told(&["a", "b"]));
        silent.relist();
        assert_eq!(silent.apply(&object(&["a", "b"])), None);
        assert_eq!(silent.listed(), None);
        assert_eq!(silent.apply(&json!({"metadata": {}})), told(&[]));
        assert_eq!(silent.apply(&object(&["a"])), told(&["a"]));
        assert_eq!(silent.gone(), told(&[]));
        assert_eq!(silent.apply(&object(&["a"])), told(&["a"]));
        silent.relist();
        assert_eq!(silent.listed(), told(&[]), "a list anew has none");
    }

    #[test]
    fn what_was_kept_on_the_node_holds_until_something_is_heard() {
        let kept = [told(&["a"]).unwrap(), told(&["b"]).unwrap()];
        let mut silent = SilentNodes::default();
        assert_eq!(silent.restore(&kept), told(&["b"]));
        silent.relist();
        assert_eq!(silent.listed(), told(&[]));
        assert_eq!(silent.restore(&kept), None);
    }
}
