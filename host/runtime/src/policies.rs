//! The policies of the planning thread: their rollouts, the guests in force, and what is told about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bellhop_core::objects::DecisionPolicy;
use bellhop_core::report::PolicyRow;
use bellhop_core::{Decisions, ObjectName, ObjectRef, Problem, World};
use bellhop_policy_engine::rollout::{Input, LoadFailure, LoadId, Module, Output};
use bellhop_policy_engine::{Engine, Guest, PolicyStatus, Rollout};
use bellhop_sandbox::Workers;
use tokio::sync::mpsc;

use crate::loader::{Job, Loaded};
use crate::metrics::{
    ByPolicy, DecisionSource, Metrics, Policy, PolicyDecision, PolicyFailure, PolicyStep, Reason, Step,
};

/// Characters of a plugin's line that are logged: what it says must not drown what Bellhop says.
const LINE_SHOWN: usize = 256;

/// Characters of a module's version that are kept, as `status.active.version` has room for.
const VERSION_SHOWN: usize = 64;

/// Digits of a digest shown to people: as many as the names of ConfigMaps carry.
const DIGEST_SHOWN: usize = 12;

/// Every DecisionPolicy of the World with its stage machine, and the engine that asks those in force.
pub struct Policies {
    engine: Engine,
    rollouts: BTreeMap<ObjectName, Rollout>,
    /// What the modules that are in force or asked for say their version is, by sha256.
    versions: BTreeMap<Arc<str>, String>,
    /// Step and reason last logged, so that transitions are logged and nothing else.
    logged: BTreeMap<ObjectName, (String, String)>,
    loader: mpsc::Sender<Job>,
    /// Jobs that the loader's channel had no room for.
    jobs: Vec<Job>,
}

impl Policies {
    /// No policies yet; modules are loaded by `loader`.
    pub fn new(loader: mpsc::Sender<Job>) -> Self {
        Self {
            engine: Engine::with_runner(Arc::new(Workers::default())),
            rollouts: BTreeMap::new(),
            versions: BTreeMap::new(),
            logged: BTreeMap::new(),
            loader,
            jobs: Vec::new(),
        }
    }

    /// Whoever answers decisions at `now`.
    pub fn decisions(&mut self, now: Instant) -> &mut dyn Decisions {
        self.engine.set_now(now);
        &mut self.engine
    }

    /// True when no policy is on its way any more.
    pub fn settled(&self) -> bool {
        self.rollouts.values().all(Rollout::settled)
    }

    /// When [`Policies::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.rollouts.values().filter_map(Rollout::next_deadline).min()
    }

    /// Takes over the World's policies and modules; true when what is in force changed.
    pub fn follow(&mut self, now: Instant, world: &World) -> bool {
        let mut outputs = Vec::new();
        let gone: Vec<ObjectName> =
            self.rollouts.keys().filter(|name| !world.policies().contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(mut rollout) = self.rollouts.remove(&name) {
                rollout.handle(now, Input::Removed, &mut outputs);
                self.logged.remove(&name);
                tracing::info!(policy = %name, "policy removed");
            }
        }
        for policy in world.policies().values() {
            let rollout = match self.rollouts.get_mut(&policy.name) {
                Some(rollout) => {
                    let spec = rollout.spec();
                    if (&spec.config_map, &spec.module_key) != (&policy.config_map, &policy.module_key) {
                        // A spec that points at another module must not be loaded with the old one's bytes.
                        rollout.handle(now, Input::Module(Module::NoConfigMap), &mut outputs);
                    }
                    rollout.handle(now, Input::Spec(policy.clone()), &mut outputs);
                    rollout
                }
                None => {
                    let rollout = Rollout::new(policy.clone(), &mut outputs);
                    self.rollouts.entry(policy.name.clone()).or_insert(rollout)
                }
            };
            rollout.handle(now, Input::Module(module(world, policy)), &mut outputs);
        }
        self.execute(outputs, None)
    }

    /// Takes a loaded version; true when what is in force changed.
    pub fn take_loaded(&mut self, now: Instant, loaded: Loaded) -> bool {
        let Loaded { policy, load, sha256, result } = loaded;
        let version = match &result {
            Ok(guest) => &guest.metadata().version,
            Err(error) => &error.version,
        };
        self.note_version(sha256, version);
        let Some(rollout) = self.rollouts.get_mut(&policy) else { return false };
        let mut outputs = Vec::new();
        let checked = result
            .map_err(|error| LoadFailure {
                stage: error.stage,
                reason: error.category(),
                transient: error.transient(),
                message: error.message,
            })
            .and_then(|guest| {
                Engine::check(rollout.spec(), &*guest).map(|()| guest).map_err(LoadFailure::from)
            });
        let (guest, outcome) = match checked {
            Ok(guest) => (Some(guest), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        rollout.handle(now, Input::Finished(load, outcome), &mut outputs);
        self.execute(outputs, guest.map(|guest| (load, guest)))
    }

    /// Notes what a module says its version is, and forgets modules that nobody asks for any more.
    fn note_version(&mut self, sha256: Arc<str>, version: &str) {
        if !version.is_empty() {
            self.versions.insert(sha256, version.chars().take(VERSION_SHOWN).collect());
        }
        let rollouts = &self.rollouts;
        self.versions.retain(|sha256, _| {
            rollouts.values().any(|of| of.spec().sha256 == *sha256 || of.active() == Some(sha256))
        });
    }

    /// Tries again what failed by the machine's own fault.
    pub fn tick(&mut self, now: Instant) {
        let mut outputs = Vec::new();
        for rollout in self.rollouts.values_mut() {
            rollout.handle(now, Input::Tick, &mut outputs);
        }
        self.execute(outputs, None);
        self.offer_jobs();
    }

    /// Does what the stage machines ask for. True when what is in force changed.
    fn execute(&mut self, outputs: Vec<Output>, mut loaded: Option<(LoadId, Arc<dyn Guest>)>) -> bool {
        let mut changed = false;
        for output in outputs {
            match output {
                Output::Load { load, policy, module } => self.jobs.push(Job { policy, load, module }),
                Output::Cancel(_) => {}
                Output::Swap { load, policy } => {
                    let Some((_, guest)) = loaded.take_if(|(id, _)| *id == load) else { continue };
                    match self.engine.set(policy.clone(), guest) {
                        Ok(()) => changed = true,
                        Err(error) => {
                            tracing::error!(policy = %policy.name, %error, "a checked version was refused")
                        }
                    }
                }
                Output::Update(policy) => {
                    self.engine.update_spec(policy);
                    changed = true;
                }
                Output::Unavailable(policy) => {
                    self.engine.set_unavailable(policy);
                    changed = true;
                }
                Output::Drop(name) => {
                    self.jobs.retain(|job| job.policy.name != name);
                    self.engine.remove(&name);
                    changed = true;
                }
            }
        }
        self.offer_jobs();
        self.log_steps();
        changed
    }

    fn offer_jobs(&mut self) {
        while let Some(job) = self.jobs.pop() {
            if let Err(mpsc::error::TrySendError::Full(job)) = self.loader.try_send(job) {
                self.jobs.push(job);
                return;
            }
        }
    }

    fn log_steps(&mut self) {
        for (name, rollout) in &self.rollouts {
            let status = rollout.status(None);
            let now = (status.step.to_owned(), format!("{}{}", status.reason, status.message));
            if self.logged.get(name) == Some(&now) {
                continue;
            }
            self.logged.insert(name.clone(), now);
            let active = status.active.as_deref().unwrap_or("none");
            let stage = status.stage.map(|stage| stage.to_string()).unwrap_or_default();
            if status.reason.is_empty() {
                tracing::info!(policy = %name, step = status.step, active, "policy");
            } else {
                tracing::warn!(
                    step = status.step,
                    stage,
                    active = shown(active),
                    "{}",
                    problem(name, &status)
                );
            }
        }
    }

    /// Logs what plugins logged, and each kind of failure of a version once.
    pub fn log_events(&mut self) {
        for failure in self.engine.take_failures() {
            let object = ObjectRef::cluster("DecisionPolicy", failure.policy);
            tracing::warn!(
                version = shown(&failure.digest),
                category = failure.category,
                "{object}: calls fail: {}",
                failure.message
            );
        }
        for entry in self.engine.take_log() {
            let text = shortened(&entry.text);
            match entry.level {
                "error" | "warn" => {
                    tracing::warn!(policy = %entry.policy, level = entry.level, "plugin: {text}")
                }
                "info" => tracing::info!(policy = %entry.policy, "plugin: {text}"),
                _ => tracing::debug!(policy = %entry.policy, "plugin: {text}"),
            }
        }
    }

    /// The policies as `bellhop status` shows them.
    pub fn rows(&self) -> Vec<PolicyRow> {
        self.rollouts
            .iter()
            .map(|(name, rollout)| {
                let status = rollout.status(self.engine.counters(name));
                let message = (!status.reason.is_empty()).then(|| problem(name, &status).told());
                PolicyRow {
                    name: name.to_string(),
                    hook: status.hook.to_string(),
                    active: status.active.as_deref().map(shown),
                    candidate: status.candidate.as_deref().map(shown),
                    step: status.step.into(),
                    stage: status.stage.map(|stage| stage.to_string()),
                    reason: Some(status.reason.to_owned()).filter(|reason| !reason.is_empty()),
                    message,
                    calls: status.counters.calls,
                    memo_hits: status.counters.memo_hits,
                    failures: status.counters.failures.values().sum(),
                    failures_by_category: status
                        .counters
                        .failures
                        .iter()
                        .map(|(category, count)| ((*category).to_owned(), *count))
                        .collect(),
                    fuel_max: status.counters.fuel_max,
                }
            })
            .collect()
    }

    /// Writes how the policies stand into the metrics.
    pub fn measure(&self, metrics: &Metrics) {
        let statuses: Vec<(Policy, PolicyStatus)> = self
            .rollouts
            .iter()
            .map(|(name, rollout)| (name.into(), rollout.status(self.engine.counters(name))))
            .collect();
        let each = |value: fn(&PolicyStatus) -> f64| {
            statuses
                .iter()
                .map(move |(policy, status)| (ByPolicy { policy: policy.clone() }, value(status)))
                .collect::<Vec<_>>()
        };
        metrics.policy_in_force.replace(each(|status| f64::from(u8::from(status.active.is_some()))));
        metrics.policy_fuel.replace(each(|status| status.counters.fuel_max as f64));
        metrics.policy_cpu.replace(each(|status| status.counters.cpu_nanos_max as f64 / 1e9));
        metrics.policy_memory.replace(each(|status| status.counters.memory_max as f64));
        metrics.policy_step.replace(statuses.iter().map(|(policy, status)| {
            let step = Step(status.step);
            (PolicyStep { policy: policy.clone(), hook: status.hook, step }, 1.0)
        }));
        metrics.policy_decisions.replace(statuses.iter().flat_map(|(policy, status)| {
            let counters = &status.counters;
            [
                (DecisionSource::Call, counters.calls),
                (DecisionSource::Memo, counters.memo_hits),
                (DecisionSource::HeldBack, counters.held_back),
            ]
            .map(|(source, count)| (PolicyDecision { policy: policy.clone(), source }, count as f64))
        }));
        metrics.policy_failures.replace(statuses.iter().flat_map(|(policy, status)| {
            status.counters.failures.iter().map(|(category, count)| {
                (PolicyFailure { policy: policy.clone(), category: Reason::new(category) }, *count as f64)
            })
        }));
    }

    /// sha256 of the module in force, while one is.
    pub fn active(&self, name: &str) -> Option<&Arc<str>> {
        self.rollouts.get(name).and_then(Rollout::active)
    }

    /// The version that the metadata of a module name, which is known once it was checked; of modules that are in force or
    /// asked for.
    pub fn module_version(&self, sha256: &str) -> Option<&str> {
        self.versions.get(sha256).map(String::as_str)
    }

    /// The policy as it is in force.
    pub fn in_force(&self, name: &str) -> Option<&Arc<DecisionPolicy>> {
        self.rollouts.get(name).and_then(Rollout::in_force)
    }

    /// Where a policy stands.
    pub fn status(&self, name: &str) -> Option<PolicyStatus> {
        self.rollouts.get(name).map(|rollout| rollout.status(self.engine.counters(name)))
    }

    /// What keeps policies, or newer versions of them, out of force.
    pub fn problems(&self) -> Vec<Problem> {
        let refused = |(name, rollout): (&ObjectName, &Rollout)| {
            let status = rollout.status(None);
            (!status.reason.is_empty()).then(|| problem(name, &status))
        };
        self.rollouts.iter().filter_map(refused).collect()
    }
}

/// What keeps a policy, or its newer version, out of force.
fn problem(name: &ObjectName, status: &PolicyStatus) -> Problem {
    let object = ObjectRef::cluster("DecisionPolicy", name.clone());
    Problem::new(object, status.reason, status.field, &status.value, &*status.message)
}

/// What a policy's `spec.plugin` leads to.
fn module(world: &World, policy: &DecisionPolicy) -> Module {
    Module::find(policy, world.modules().get(&policy.config_map).map(|source| &**source))
}

/// A plugin's words on one line of bounded length.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(LINE_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(LINE_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn shown(digest: &str) -> String {
    digest.chars().take(DIGEST_SHOWN).collect()
}
