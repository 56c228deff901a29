//! The index of watched objects: which version of each is in force, and what changed.

mod copies;
mod passwords;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::names::{NamespacedName, shared};
use bellhop_core::{Delta, ObjectName, ObjectRef, Problem, labels};
use serde_json::Value;

use crate::convert::{self, Identity, Kind, Options, Outcome, Projection};
use crate::endpoints::{Endpoints, endpoint_of};
use crate::secrets::Known;

/// Where the content of a DecisionPolicy is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policies {
    /// From its `spec`: for who moves versions.
    Specs,
    /// From `policy.json` in the ConfigMap that `status.active.configMap` names: for who acts on the version in force.
    Copies,
}

/// Objects as the events of watches have them.
///
/// - Fields of Bellhop's kinds that are not known are of a newer version and passed over; values that are not known are
///   problems.
/// - A version with problems is not taken; the one before stays in force, and the problems are told.
/// - A list anew ([`Watched::relist`] to [`Watched::relisted`]) deletes what is not in it, and says nothing of what did
///   not change.
/// - Of two BGPPeers with the same address the one that was there first stays.
/// - A Service that asks nothing of Bellhop is kept without labels and annotations: only its existence counts.
/// - A BGPPeer has the password of the Secret that it names; while that Secret is missing or wrong, the password known last.
///   Only who acts on versions needs it: with [`Policies::Specs`] no Secret is asked for.
/// - ConfigMaps are given in as they are referred to ([`Watched::referenced`]), and dropped when they no longer are.
#[derive(Debug)]
pub struct Watched {
    options: Options,
    policies: Policies,
    kinds: BTreeMap<Kind, Kept>,
    endpoints: Endpoints,
    /// BGPPeers as they were seen: without regard to others, and to the Secrets that they name.
    peers: BTreeMap<ObjectRef, (Option<Projection>, Vec<Problem>)>,
    /// What is known of the Secrets that BGPPeers name.
    secrets: BTreeMap<ObjectName, Known>,
    /// BGPPeers to be decided again.
    again: BTreeSet<ObjectRef>,
    /// `status.active.configMap` of each DecisionPolicy seen.
    active: BTreeMap<ObjectName, Option<ObjectName>>,
    /// ConfigMaps that are referred to and do not exist.
    gone: BTreeSet<ObjectName>,
}

/// The objects of a kind.
#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<NamespacedName, Entry>,
    /// Number of the list that is being read, or was read last; 0 before the first.
    list: u32,
    /// A list was read whole.
    listed: bool,
}

/// One object.
#[derive(Debug, Default)]
struct Entry {
    in_force: Option<Projection>,
    problems: Vec<Problem>,
    /// The list in which it was seen last, or after which; 0 for one that was restored and not seen.
    list: u32,
}

impl Watched {
    /// Without objects.
    pub fn new(options: Options, policies: Policies) -> Self {
        Self {
            options,
            policies,
            kinds: BTreeMap::new(),
            endpoints: Endpoints::default(),
            peers: BTreeMap::new(),
            secrets: BTreeMap::new(),
            again: BTreeSet::new(),
            active: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    /// An object was seen, in a list or an event. `value` may lack `apiVersion` and `kind`, as items of lists do.
    pub fn apply(&mut self, kind: Kind, mut value: Value) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if let Value::Object(fields) = &mut value {
            fields.insert("apiVersion".into(), kind.api_version().into());
            fields.insert("kind".into(), kind.as_str().into());
            if kind == Kind::Service && self.policies == Policies::Specs {
                // Who writes it need not be told of its own writes.
                fields.remove("status");
            }
        }
        match convert::identify(&value, &self.options) {
            Identity::Known(found, object) if found == kind => {
                if kind == Kind::DecisionPolicy {
                    self.apply_policy(&object, value, &mut deltas);
                } else {
                    self.apply_object(kind, &object, value, &mut deltas);
                }
            }
            other => tracing::debug!(kind = kind.as_str(), ?other, "ignored: not an object of its kind"),
        }
        self.settle(&mut deltas);
        deltas
    }

    /// An object was seen that is no JSON that can be read. Its last good version stays in force.
    pub fn apply_unreadable(
        &mut self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        why: &str,
    ) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let key = NamespacedName::new(shared(namespace.unwrap_or_default()), name);
        let object = object_ref(kind, &key);
        let problem = Problem::new(object.clone(), Reason::InvalidSyntax.as_str(), "", "", why);
        self.put(kind, &object, None, vec![problem], &mut deltas);
        deltas
    }

    /// An object is gone.
    pub fn delete(&mut self, kind: Kind, namespace: Option<&str>, name: &str) -> Vec<Delta> {
        let mut deltas = Vec::new();
        self.remove(kind, &NamespacedName::new(namespace.unwrap_or_default(), name), &mut deltas);
        self.settle(&mut deltas);
        deltas
    }

    /// All objects of the kind are going to be listed anew.
    pub fn relist(&mut self, kind: Kind) {
        let kept = self.kinds.entry(kind).or_default();
        // 0 is what was restored.
        kept.list = kept.list.wrapping_add(1).max(1);
    }

    /// The list is read whole: what was not in it is gone.
    pub fn relisted(&mut self, kind: Kind) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let kept = self.kinds.entry(kind).or_default();
        kept.listed = true;
        let gone = kept.entries.iter().filter(|(_, entry)| entry.list != kept.list);
        let gone: Vec<NamespacedName> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(kind, &key, &mut deltas);
        }
        self.settle(&mut deltas);
        deltas
    }

    /// These are all objects of the kind.
    pub fn reset(&mut self, kind: Kind, objects: impl IntoIterator<Item = Value>) -> Vec<Delta> {
        self.relist(kind);
        let mut deltas: Vec<Delta> = objects.into_iter().flat_map(|value| self.apply(kind, value)).collect();
        deltas.extend(self.relisted(kind));
        deltas
    }

    /// Objects as they were kept from an earlier run; those of a kind that was listed since are passed over. The answer is
    /// what is in force by it. The next list of each kind replaces it.
    pub fn restore(&mut self, kept: impl IntoIterator<Item = Delta>) -> Vec<Delta> {
        for (kind, mut key, projection) in kept.into_iter().filter_map(Projection::of) {
            if kind == Kind::ConfigMap {
                key.namespace = self.options.namespace.clone();
            }
            let state = self.kinds.entry(kind).or_default();
            let seen = state.entries.get(&key).is_some_and(|entry| entry.list > 0);
            if state.listed || seen {
                continue;
            }
            let object = object_ref(kind, &key);
            match projection {
                Some(projection) => {
                    self.put_in(0, kind, &object, Some(projection), Vec::new(), &mut Vec::new())
                }
                None => self.remove(kind, &key, &mut Vec::new()),
            }
        }
        self.settle(&mut Vec::new());
        let restored = self.kinds.values().flat_map(|kept| kept.entries.values());
        restored.filter(|entry| entry.list == 0).filter_map(|entry| entry.in_force.as_ref()?.set()).collect()
    }

    /// Every object in force, as deltas.
    pub fn snapshot(&self) -> Vec<Delta> {
        let entries = self.kinds.values().flat_map(|kept| kept.entries.values());
        entries.filter_map(|entry| entry.in_force.as_ref()?.set()).collect()
    }

    /// How many objects of the kind are in force.
    pub fn count(&self, kind: Kind) -> usize {
        let entries = self.kinds.get(&kind).into_iter().flat_map(|kept| kept.entries.values());
        entries.filter(|entry| entry.in_force.is_some()).count()
    }

    fn apply_object(&mut self, kind: Kind, object: &ObjectRef, mut value: Value, deltas: &mut Vec<Delta>) {
        convert::without_unknown(kind, &mut value);
        match convert::convert(kind, object, value, &self.options) {
            Outcome::Read(projection, problems) => {
                self.put(kind, object, projection.map(slim), problems, deltas);
            }
            Outcome::Ignored(why) => {
                tracing::debug!(%object, why, "ignored");
                self.remove(kind, &key_of(object), deltas);
            }
        }
    }

    /// A version was seen: `None` where it is not right.
    fn put(
        &mut self,
        kind: Kind,
        object: &ObjectRef,
        projection: Option<Projection>,
        problems: Vec<Problem>,
        deltas: &mut Vec<Delta>,
    ) {
        let list = self.kinds.entry(kind).or_default().list.max(1);
        self.put_in(list, kind, object, projection, problems, deltas);
    }

    fn put_in(
        &mut self,
        list: u32,
        kind: Kind,
        object: &ObjectRef,
        projection: Option<Projection>,
        mut problems: Vec<Problem>,
        deltas: &mut Vec<Delta>,
    ) {
        let kept = &mut self.kinds.entry(kind).or_default().entries;
        let before = kept.get(&key_of(object));
        let old = before.and_then(|entry| entry.in_force.clone());
        let told = before.map(|entry| entry.problems.clone()).unwrap_or_default();
        let mut wanted = projection.or_else(|| old.clone());
        if kind == Kind::BgpPeer {
            self.peers.insert(object.clone(), (wanted.clone(), problems.clone()));
            wanted = self.admit_peer(object, wanted, old.as_ref(), &mut problems);
        }
        if let Some(new) = wanted.as_ref().filter(|new| Some(*new) != old.as_ref()) {
            deltas.extend(new.set());
        }
        if problems != told {
            deltas.push(Delta::Problems(object.clone(), problems.clone()));
        }
        let entry = Entry { in_force: wanted, problems, list };
        self.kinds.entry(kind).or_default().entries.insert(key_of(object), entry);
    }

    fn remove(&mut self, kind: Kind, key: &NamespacedName, deltas: &mut Vec<Delta>) {
        if kind == Kind::DecisionPolicy {
            self.active.remove(&key.name);
        }
        let Some(entry) = self.kinds.entry(kind).or_default().entries.remove(key) else { return };
        let object = object_ref(kind, key);
        if kind == Kind::BgpPeer {
            self.peers.remove(&object);
            let held = entry.in_force.as_ref().and_then(endpoint_of);
            // To want none is always admitted.
            self.again.extend(self.endpoints.admit(&object, held, None).unwrap_or_default());
        }
        deltas.extend(entry.in_force.and_then(|projection| projection.unset()));
        if !entry.problems.is_empty() {
            deltas.push(Delta::Problems(object, Vec::new()));
        }
    }

    /// Decides again what waited for something that changed, and drops what is referred to no more.
    fn settle(&mut self, deltas: &mut Vec<Delta>) {
        loop {
            while let Some(object) = self.again.pop_first() {
                let Some((projection, problems)) = self.peers.get(&object).cloned() else { continue };
                let seen = self.kinds.get(&Kind::BgpPeer).and_then(|kept| kept.entries.get(&key_of(&object)));
                let Some(list) = seen.map(|entry| entry.list) else { continue };
                self.put_in(list, Kind::BgpPeer, &object, projection, problems, deltas);
            }
            self.again.extend(self.endpoints.exchange());
            if self.again.is_empty() {
                break;
            }
        }
        self.drop_unreferenced(deltas);
        self.drop_secrets();
    }
}

/// What is kept of an object: of a Service that asks nothing of Bellhop, that it exists.
fn slim(projection: Projection) -> Projection {
    match projection {
        Projection::Service(mut service) if !service.wants_address => {
            let slim = Arc::make_mut(&mut service);
            slim.labels = labels::labels::<&str, &str>([]);
            slim.annotations = slim.labels.clone();
            Projection::Service(service)
        }
        other => other,
    }
}

fn key_of(object: &ObjectRef) -> NamespacedName {
    let namespace = object.namespace.clone().unwrap_or_else(|| shared(""));
    NamespacedName { namespace, name: object.name.clone() }
}

fn object_ref(kind: Kind, key: &NamespacedName) -> ObjectRef {
    if kind.is_namespaced() {
        ObjectRef::namespaced(kind.as_str(), key)
    } else {
        ObjectRef::cluster(kind.as_str(), key.name.clone())
    }
}
