//! Policies' versions: which is in force, its copy for the speakers, and what their status says.

use std::time::Instant;

use bellhop_api::conditions::{DEGRADED, PROGRESSING, READY};
use bellhop_api::{ConditionStatus, DecisionPolicyStatus, PluginVersion, Reason, RolloutStep};
use bellhop_core::{Delta, ObjectName, ObjectRef};
use bellhop_kubernetes::{Event, EventKind, WriteError};
use bellhop_policy_engine::PolicyStatus;
use serde_json::Value;

use super::objects::{Seen, Sent};
use super::{Planner, Target};
use crate::book::Backoff;
use crate::conditions::{Told, of_type};
use crate::versions::{self, Copy};
use crate::write::{Answer, Write};

/// A copy that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Copying {
    copy: Copy,
    manifest: Option<Value>,
    backoff: Backoff,
}

impl Planner {
    /// At a start: follows the versions that were in force, as their copies have them, so that a spec that was refused
    /// before a restart does not leave its policy without a version after it. Policies without a copy are followed as
    /// their specs have them.
    pub(super) fn follow_active_policies(&mut self, now: Instant) {
        let policies: Vec<_> = self.world.policies().iter().map(|(n, p)| (n.clone(), p.clone())).collect();
        for (name, spec) in policies {
            let object = ObjectRef::cluster("DecisionPolicy", name.clone());
            let active =
                self.objects.of(&object).and_then(|known| known.seen.policy.as_ref()?.active.clone());
            let copy = active.and_then(|active| {
                let copy = self.world.modules().get(&*active.config_map)?;
                bellhop_index::policy_of_copy(&name, copy)
            });
            self.policy_world.apply(Delta::Policy(name, Some(copy.unwrap_or(spec))));
        }
        self.follow_policies(now);
    }

    /// From now on follows the specs.
    pub(super) fn follow_specs(&mut self, now: Instant) {
        for (name, policy) in self.world.policies() {
            self.policy_world.apply(Delta::Policy(name.clone(), Some(policy.clone())));
        }
        let gone =
            self.policy_world.policies().keys().filter(|name| !self.world.policies().contains_key(*name));
        let gone: Vec<ObjectName> = gone.cloned().collect();
        for name in gone {
            self.policy_world.apply(Delta::Policy(name, None));
        }
        self.policies_changed = false;
        self.follow_policies(now);
    }

    pub(super) fn follow_policies(&mut self, now: Instant) {
        let changed = self.policies.follow(now, &self.policy_world);
        self.mark_policies();
        if changed {
            self.re_evaluate();
        }
    }

    /// Every policy's status is to be compared.
    pub(super) fn mark_policies(&mut self) {
        for name in self.world.policies().keys() {
            self.objects.mark(&ObjectRef::cluster("DecisionPolicy", name.clone()));
        }
    }

    /// What a policy's status should say; `None` where it does.
    pub(super) fn policy_status(&mut self, object: &ObjectRef) -> Option<(Sent, Value)> {
        let name = object.name.clone();
        let before = self.objects.of(object)?.seen.policy.as_deref().cloned().unwrap_or_default();
        let active = match self.active_version(object) {
            Some(version) => Some(version),
            // Speakers go by it; what is in force there stays in force until another version is.
            None => before.active.clone(),
        };
        let rollout = self.policies.status(&name);
        let candidate = rollout.as_ref().filter(|status| status.step != "Active").and_then(|status| {
            let policy = self.world.policies().get(&name)?;
            let version = Copy::of(policy).version;
            status
                .candidate
                .is_some()
                .then(|| PluginVersion { config_map: policy.config_map.to_string(), ..version })
        });
        let (active, candidate) = (self.with_version(active, &before), self.with_version(candidate, &before));
        let step = rollout.as_ref().and_then(|status| step(status.step));
        let mut after = DecisionPolicyStatus { active, candidate, step, ..before.clone() };
        after.conditions = self.policy_conditions(object, rollout.as_ref(), &after)?;
        if after == before {
            return None;
        }
        let event = self.policy_event(object, &before, &after);
        let value = serde_json::to_value(&after).ok()?;
        let conditions = after.conditions.clone();
        let seen = Seen { conditions, policy: Some(Box::new(after)), ..Seen::default() };
        Some((Sent { seen, pool: None, event }, value))
    }

    /// A version with what its module says its number is; as it was told before, until the module has been loaded.
    fn with_version(
        &self,
        version: Option<PluginVersion>,
        before: &DecisionPolicyStatus,
    ) -> Option<PluginVersion> {
        let version = version?;
        let told = [&before.active, &before.candidate].into_iter().flatten();
        let told = told.filter(|told| told.sha256 == version.sha256).map(|told| &*told.version);
        let number = self.policies.module_version(&version.sha256).or_else(|| told.max()).unwrap_or_default();
        Some(PluginVersion { version: number.to_owned(), ..version })
    }

    /// The version in force, once it has its copy; orders the copy where there is none.
    fn active_version(&mut self, object: &ObjectRef) -> Option<PluginVersion> {
        let name = &object.name;
        let policy = self.policies.in_force(name)?.clone();
        let copy = Copy::of(&policy);
        if self.config_maps.contains(&copy.name) {
            return Some(copy.version);
        }
        if self.copies.get(name).is_some_and(|copying| copying.copy == copy) {
            return None;
        }
        let module = self.policy_world.modules().get(&policy.config_map);
        let Some(module) = module.and_then(|module| module.data.get(&policy.module_key)) else {
            tracing::warn!(
                policy = %name,
                "its version cannot be copied for the speakers: ConfigMap {} or its key {} is gone",
                policy.config_map, policy.module_key
            );
            return None;
        };
        let uid = self.objects.of(object)?.uid.clone();
        let manifest = Some(copy.manifest(&policy, &uid, module));
        self.copies.insert(name.clone(), Copying { copy, manifest, backoff: Backoff::default() });
        None
    }

    fn policy_conditions(
        &self,
        object: &ObjectRef,
        rollout: Option<&PolicyStatus>,
        after: &DecisionPolicyStatus,
    ) -> Option<Vec<bellhop_api::Condition>> {
        let known = self.objects.of(object)?;
        let wrong = Told::wrong(&self.problems_of(object));
        let refused = rollout.filter(|status| !status.reason.is_empty());
        let refused = refused.map(|status| {
            let problem = bellhop_core::Problem::new(
                object.clone(),
                status.reason,
                status.field,
                &status.value,
                &*status.message,
            );
            Told::new(ConditionStatus::False, status.reason, problem.told())
        });
        let loading = rollout.is_some_and(|status| status.step != "Active" && status.reason.is_empty());
        let in_force = after.active.as_ref().filter(|_| self.policies.in_force(&object.name).is_some());
        let ready = wrong.or(refused.clone()).unwrap_or_else(|| match in_force {
            Some(version) => {
                let message = format!("version {} is in force", version.digest);
                Told::new(ConditionStatus::True, Reason::Ready.as_str(), message)
            }
            None => {
                Told::new(ConditionStatus::False, Reason::Loading.as_str(), "its version is being loaded")
            }
        });
        let progressing = if loading {
            let message = "a version is being verified, compiled and tested";
            Told::new(ConditionStatus::True, Reason::Loading.as_str(), message)
        } else {
            let told = Told::new(ConditionStatus::False, Reason::Ready.as_str(), "no version is on its way");
            refused.unwrap_or(told)
        };
        let degraded = match self.announcements.policy_trouble(&object.name) {
            Some((node, message)) => {
                let message = format!("not in force everywhere; {node}: {message}");
                Told::new(ConditionStatus::True, Reason::Degraded.as_str(), message)
            }
            None => Told::new(ConditionStatus::False, Reason::Ready.as_str(), "no speaker reports trouble"),
        };
        let told = [(READY, ready), (PROGRESSING, progressing), (DEGRADED, degraded)];
        Some(
            told.into_iter()
                .map(|(type_, told)| {
                    told.condition(type_, known.generation, &known.seen.conditions, &self.now_text)
                })
                .collect(),
        )
    }

    fn policy_event(
        &self,
        object: &ObjectRef,
        before: &DecisionPolicyStatus,
        after: &DecisionPolicyStatus,
    ) -> Option<Event> {
        let ready = of_type(&after.conditions, READY)?;
        let same = of_type(&before.conditions, READY).is_some_and(|before| {
            (before.status, &before.reason, &before.message) == (ready.status, &ready.reason, &ready.message)
        });
        let (kind, reason, note) = if before.active != after.active {
            let note = after.active.as_ref().map(|active| format!("version {} is in force", active.digest));
            (EventKind::Normal, Reason::PolicyActive, note?)
        } else if !same && ready.status == ConditionStatus::False && after.step == Some(RolloutStep::Rejected)
        {
            (EventKind::Warning, Reason::PolicyRejected, ready.message.clone())
        } else {
            return None;
        };
        Some(Event {
            regarding: object.clone(),
            uid: self.objects.of(object).map(|known| known.uid.clone()),
            kind,
            reason: reason.as_str(),
            action: "RollOut",
            note,
        })
    }

    /// The next copy to be made or deleted.
    pub(super) fn next_copy(&mut self, now: Instant) -> Option<(Target, Write)> {
        if let Some((policy, name)) = self.old_copies.pop() {
            return Some((Target::OldCopy(name.clone()), Write::DeleteCopy { name, policy }));
        }
        let ready = self
            .copies
            .iter_mut()
            .find(|(_, copying)| copying.manifest.is_some() && copying.backoff.until(now).is_none());
        let (policy, copying) = ready?;
        let name = copying.copy.name.clone();
        let manifest = copying.manifest.take()?.into();
        Some((Target::Copy(policy.clone(), name.clone()), Write::CreateCopy { name, manifest }))
    }

    pub(super) fn copies_deadline(&self) -> Option<Instant> {
        self.copies.values().filter_map(|copying| copying.backoff.due()).min()
    }

    pub(super) fn finished_copy(
        &mut self,
        now: Instant,
        policy: &ObjectName,
        copy: ObjectName,
        result: &Result<Answer, WriteError>,
    ) {
        match result {
            // Of this name there is but one content.
            Ok(_) | Err(WriteError::Exists { .. }) => {
                self.copies.remove(policy);
                self.config_maps.insert(copy);
            }
            Err(error) => {
                let Some(copying) = self.copies.get_mut(policy) else { return };
                copying.backoff.failed(now, error);
                let due = copying.backoff.due();
                // Its manifest is made anew, as the version may be another one by then.
                let object = ObjectRef::cluster("DecisionPolicy", policy.clone());
                self.copies.remove(policy);
                if let Some(due) = due {
                    self.objects.mark_at(due, &object);
                }
                return;
            }
        }
        self.objects.mark(&ObjectRef::cluster("DecisionPolicy", policy.clone()));
    }

    /// A status was written: copies older than the version before the one in force are not needed any more.
    pub(super) fn version_written(
        &mut self,
        object: &ObjectRef,
        before: Option<&DecisionPolicyStatus>,
        after: &DecisionPolicyStatus,
    ) {
        let name =
            |status: &DecisionPolicyStatus| status.active.as_ref().map(|active| active.config_map.clone());
        let (before, after) = (before.and_then(name), name(after));
        if before == after {
            return;
        }
        let kept = |copy: &ObjectName| {
            [&before, &after].iter().any(|kept| kept.as_deref() == Some(&**copy))
                || self.world.policies().values().any(|policy| policy.config_map == *copy)
        };
        let old =
            self.config_maps.iter().filter(|copy| versions::is_copy_of(copy, &object.name) && !kept(copy));
        let old: Vec<ObjectName> = old.cloned().collect();
        self.old_copies.extend(old.into_iter().map(|copy| (object.name.clone(), copy)));
    }
}

/// The step of a status.
fn step(name: &str) -> Option<RolloutStep> {
    Some(match name {
        "Verified" => RolloutStep::Verified,
        "Checked" => RolloutStep::Checked,
        "Compiled" => RolloutStep::Compiled,
        "Configured" => RolloutStep::Configured,
        "SelfTested" => RolloutStep::SelfTested,
        "Active" => RolloutStep::Active,
        "Rejected" => RolloutStep::Rejected,
        _ => return None,
    })
}
