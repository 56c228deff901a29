//! DecisionPolicies and the ConfigMaps that they refer to.

use std::collections::BTreeSet;

use bellhop_api::Reason;
use bellhop_core::names::NamespacedName;
use bellhop_core::{Delta, ObjectName, ObjectRef, Problem};
use serde_json::Value;

use super::{Policies, Watched, key_of};
use crate::convert::{Kind, Projection};
use crate::copy;

impl Watched {
    /// The ConfigMaps whose content is wanted: those that `spec.plugin.configMap` names (where policies are read from
    /// their specs), and those that `status.active.configMap` names.
    pub fn referenced(&self) -> BTreeSet<ObjectName> {
        let mut names: BTreeSet<ObjectName> = self.active.values().flatten().cloned().collect();
        if self.policies == Policies::Specs {
            names.extend(self.modules_in_force());
        }
        names
    }

    /// Content of a ConfigMap that is referred to.
    pub fn apply_config_map(&mut self, name: &str, mut value: Value) -> Vec<Delta> {
        let mut deltas = Vec::new();
        self.gone.remove(name);
        if self.referenced().contains(name) {
            let object = self.config_map(name);
            if let Value::Object(fields) = &mut value {
                fields.insert("apiVersion".into(), "v1".into());
                fields.insert("kind".into(), "ConfigMap".into());
            }
            self.apply_object(Kind::ConfigMap, &object, value, &mut deltas);
            self.decide_users(name, &mut deltas);
        }
        self.settle(&mut deltas);
        deltas
    }

    /// A ConfigMap that is referred to does not exist. The copy of a version in force stays known all the same.
    pub fn config_map_gone(&mut self, name: &str) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if self.referenced().contains(name) {
            self.gone.insert(name.into());
            if self.policies == Policies::Specs {
                let key = key_of(&self.config_map(name));
                self.remove(Kind::ConfigMap, &key, &mut deltas);
            }
            self.decide_users(name, &mut deltas);
        }
        self.settle(&mut deltas);
        deltas
    }

    /// A DecisionPolicy was seen.
    pub(super) fn apply_policy(&mut self, object: &ObjectRef, value: Value, deltas: &mut Vec<Delta>) {
        let active = value.pointer("/status/active/configMap").and_then(Value::as_str);
        let active: Option<ObjectName> = active.filter(|name| !name.is_empty()).map(Into::into);
        self.active.insert(object.name.clone(), active);
        match self.policies {
            Policies::Specs => self.apply_object(Kind::DecisionPolicy, object, value, deltas),
            Policies::Copies => self.decide_policy(object, deltas),
        }
    }

    /// Drops ConfigMaps that nothing refers to and no policy in force came from.
    pub(super) fn drop_unreferenced(&mut self, deltas: &mut Vec<Delta>) {
        let no_modules = self.kinds.get(&Kind::ConfigMap).is_none_or(|kept| kept.entries.is_empty());
        if no_modules && self.gone.is_empty() {
            return;
        }
        let mut needed = self.referenced();
        self.gone.retain(|name| needed.contains(name));
        needed.extend(self.modules_in_force());
        let kept = self.kinds.entry(Kind::ConfigMap).or_default();
        let dropped: Vec<NamespacedName> =
            kept.entries.keys().filter(|key| !needed.contains(&key.name)).cloned().collect();
        for key in dropped {
            self.remove(Kind::ConfigMap, &key, deltas);
        }
    }

    /// ConfigMaps that the policies in force name.
    fn modules_in_force(&self) -> impl Iterator<Item = ObjectName> + '_ {
        let policies =
            self.kinds.get(&Kind::DecisionPolicy).into_iter().flat_map(|kept| kept.entries.values());
        policies.filter_map(|entry| match &entry.in_force {
            Some(Projection::Policy(policy)) => Some(policy.config_map.clone()),
            _ => None,
        })
    }

    /// Decides the policies anew whose version in force is the copy `name`.
    fn decide_users(&mut self, name: &str, deltas: &mut Vec<Delta>) {
        if self.policies == Policies::Specs {
            return;
        }
        let users = self.active.iter().filter(|(_, active)| active.as_deref() == Some(name));
        let users: Vec<ObjectName> = users.map(|(policy, _)| policy.clone()).collect();
        for policy in users {
            self.decide_policy(&ObjectRef::cluster(Kind::DecisionPolicy.as_str(), policy), deltas);
        }
    }

    /// Decides what is in force of a policy that is read from its copy.
    fn decide_policy(&mut self, object: &ObjectRef, deltas: &mut Vec<Delta>) {
        let Some(name) = self.active.get(&object.name).cloned().flatten() else {
            // No version is in force: for who acts on versions the policy does not exist. What was seen of it is kept, so
            // that the end of a list does not take it for gone.
            let key = key_of(object);
            let list = self.kinds.entry(Kind::DecisionPolicy).or_default().list.max(1);
            let entry = self.kinds.entry(Kind::DecisionPolicy).or_default().entries.remove(&key);
            let entry = entry.unwrap_or_default();
            deltas.extend(entry.in_force.and_then(|projection| projection.unset()));
            if !entry.problems.is_empty() {
                deltas.push(Delta::Problems(object.clone(), Vec::new()));
            }
            let none = super::Entry { list, ..Default::default() };
            self.kinds.entry(Kind::DecisionPolicy).or_default().entries.insert(key, none);
            return;
        };
        let key = key_of(&self.config_map(&name));
        let body = self.kinds.get(&Kind::ConfigMap).and_then(|kept| kept.entries.get(&key));
        let (projection, problems) = match body.and_then(|entry| entry.in_force.clone()) {
            Some(Projection::Module(module)) => copy::read(object, &module, &self.options),
            _ => (None, Vec::new()),
        };
        let mut problems = problems;
        if self.gone.contains(&name) {
            let message = "does not exist in Bellhop's namespace, although it is the copy of the version in force; \
                           the leading controller writes it anew, and the version known before stays in force";
            let reason = Reason::ModuleMissing.as_str();
            let field = "status.active.configMap";
            problems = vec![Problem::new(object.clone(), reason, field, &*name, message)];
        }
        self.put(Kind::DecisionPolicy, object, projection, problems, deltas);
    }

    fn config_map(&self, name: &str) -> ObjectRef {
        let key = NamespacedName::new(self.options.namespace.clone(), name);
        ObjectRef::namespaced(Kind::ConfigMap.as_str(), &key)
    }
}
