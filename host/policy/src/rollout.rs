//! How a version of one policy comes into force: the stage machine of the standalone form.
//!
//! ```text
//!            spec, module                 stages of one load, in order
//!  Pending ───────────────► Verified ► Checked ► Compiled ► Configured ► SelfTested ─► Active
//!     ▲                         └─────────┴──────────┴───────────┴────────────┴─► Rejected{stage, reason}
//!     └── the machine's fault: tried again later
//! ```
//!
//! A version is module, config, match and limits. A refused candidate leaves the active version in force; so do a
//! module that disappears and a spec that cannot be loaded. The driver does what [`Output`] says and tells what came
//! of it; results of a load that is not wanted any more are dropped by its [`LoadId`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::labels::Selector;
use bellhop_core::names::ObjectName;
use bellhop_core::objects::{DecisionPolicy, Hook, ModuleSource};
use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::engine::SetError;

/// First wait before a load that failed by the machine's own fault is tried again.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest such wait; it doubles up to here.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// Names one load of one candidate. Never used twice by one [`Rollout`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LoadId(pub u64);

/// What a candidate has to pass, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// sha256 (and signature) of the module's bytes.
    Verified,
    /// Sizes, imports, exports, metadata.
    Checked,
    /// The compile child.
    Compiled,
    /// `configure` takes `spec.config`.
    Configured,
    /// The module's own cases.
    SelfTested,
}

impl Stage {
    /// Metric label and condition type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::Checked => "Checked",
            Self::Compiled => "Compiled",
            Self::Configured => "Configured",
            Self::SelfTested => "SelfTested",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a policy stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum Step {
    /// Waiting for the module, or for a load to get somewhere.
    Pending,
    /// The candidate has passed this stage.
    Passed(Stage),
    /// What the spec asks for is in force.
    Active,
    /// The candidate was refused at this stage.
    Rejected(Stage),
}

impl Step {
    /// The name in status columns and conditions, from a closed set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Passed(stage) => stage.as_str(),
            Self::Active => "Active",
            Self::Rejected(_) => "Rejected",
        }
    }
}

/// The bytes that a policy's `spec.plugin` leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Module {
    /// They are there; `module.wasm` or `module.wasm.zst`, as the key holds it.
    Present(Arc<[u8]>),
    /// There is no such ConfigMap.
    NoConfigMap,
    /// The ConfigMap has no such key.
    NoKey,
}

impl Module {
    /// What a policy's `spec.plugin` leads to, given the ConfigMap that it names.
    pub fn find(policy: &DecisionPolicy, config_map: Option<&ModuleSource>) -> Self {
        match config_map.map(|source| source.data.get(&policy.module_key)) {
            None => Self::NoConfigMap,
            Some(None) => Self::NoKey,
            Some(Some(bytes)) => Self::Present(bytes.clone()),
        }
    }
}

/// Why a candidate did not come through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadFailure {
    /// The stage that it failed.
    pub stage: Stage,
    /// Condition reason in CamelCase, from a closed set.
    pub reason: &'static str,
    /// What is wrong and what would be right: field, value, cause.
    pub message: String,
    /// The machine's fault, not the module's: it is tried again later.
    pub transient: bool,
}

impl From<SetError> for LoadFailure {
    fn from(error: SetError) -> Self {
        let stage = match error {
            SetError::Digest { .. } => Stage::Verified,
            SetError::Hook { .. } => Stage::Checked,
            SetError::Inputs { .. } => Stage::Configured,
        };
        Self { stage, reason: error.category(), message: error.told(), transient: false }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The DecisionPolicy has changed. Where `spec.plugin` leads elsewhere, [`Input::Module`] must follow.
    Spec(Arc<DecisionPolicy>),
    /// What its `spec.plugin` leads to is known or has changed.
    Module(Module),
    /// A candidate has passed a stage.
    Passed(LoadId, Stage),
    /// A load has ended: every stage passed, or not.
    Finished(LoadId, Result<(), LoadFailure>),
    /// [`crate::Engine::set`] refused what [`Output::Swap`] gave it: category and text of the
    /// [`SetError`]. What was in force still is.
    SwapFailed(LoadId, &'static str, String),
    /// The deadline has passed.
    Tick,
    /// The DecisionPolicy is gone.
    Removed,
}

/// What the driver must do.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Take these bytes through all stages for this policy.
    Load {
        /// To be named in what comes of it.
        load: LoadId,
        /// The candidate.
        policy: Arc<DecisionPolicy>,
        /// Its module as the ConfigMap holds it.
        module: Arc<[u8]>,
    },
    /// Stop working on a load and forget what came of it.
    Cancel(LoadId),
    /// Give the guest of this load to [`crate::Engine::set`], and tell where it refuses it; it takes what
    /// [`crate::Engine::check`] took.
    Swap {
        /// The load whose guest it is.
        load: LoadId,
        /// The policy with it.
        policy: Arc<DecisionPolicy>,
    },
    /// [`crate::Engine::update_spec`].
    Update(Arc<DecisionPolicy>),
    /// [`crate::Engine::set_unavailable`].
    Unavailable(Arc<DecisionPolicy>),
    /// [`crate::Engine::remove`].
    Drop(ObjectName),
}

/// State of a policy as `bellhop status` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// `metadata.name` of the DecisionPolicy.
    pub policy: ObjectName,
    /// `spec.hook`.
    pub hook: Hook,
    /// sha256 of the module in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Arc<str>>,
    /// sha256 of the module that is to come into force, or was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Arc<str>>,
    /// [`Step::name`].
    pub step: &'static str,
    /// The stage that the candidate was refused at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Condition reason; empty while all is well.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// The field of the DecisionPolicy to blame; empty where none is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub field: &'static str,
    /// The value that stands there.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub value: Arc<str>,
    /// What is wrong and what would be right; empty while all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What the engine counted.
    pub counters: Counters,
}

/// What of a spec makes a version. Equal ones are the same version.
#[derive(Clone, PartialEq, Debug)]
pub struct VersionKey {
    guest: GuestKey,
    selectors: [Option<Selector>; 4],
}

/// What of a version its guest is made from.
#[derive(Clone, PartialEq, Eq, Debug)]
struct GuestKey {
    hook: Hook,
    sha256: Arc<str>,
    config: Arc<str>,
    fuel: Option<u64>,
    memory: Option<u64>,
}

impl VersionKey {
    /// The version that a policy asks for.
    pub fn of(policy: &DecisionPolicy) -> Self {
        Self {
            guest: GuestKey {
                hook: policy.hook,
                sha256: policy.sha256.clone(),
                config: policy.config.clone(),
                fuel: policy.fuel,
                memory: policy.memory,
            },
            selectors: [
                policy.service_selector.clone(),
                policy.namespace_selector.clone(),
                policy.node_selector.clone(),
                policy.peer_selector.clone(),
            ],
        }
    }

    /// True where the two differ in their match alone, so that one guest serves both.
    pub fn same_guest(&self, other: &Self) -> bool {
        self.guest == other.guest
    }
}

/// The candidate's state.
#[derive(Clone, Debug)]
enum Candidate {
    /// There is none: what the spec asks for is in force.
    None,
    /// Its module is not there.
    Waiting,
    /// It is being loaded.
    Loading { load: LoadId, passed: Option<Stage> },
    /// Its load failed by the machine's fault and is tried again.
    Retrying { at: Instant, failure: LoadFailure },
    /// It was refused; nothing more happens before its spec or module changes.
    Rejected(LoadFailure),
}

/// The stage machine of one policy.
#[derive(Clone, Debug)]
pub struct Rollout {
    spec: Arc<DecisionPolicy>,
    module: Module,
    /// The policy as it was when its version came into force, with later changes of what belongs to no version.
    active: Option<Arc<DecisionPolicy>>,
    /// The last swap, and what was in force before it.
    swapped: Option<(LoadId, Option<Arc<DecisionPolicy>>)>,
    candidate: Candidate,
    next_load: u64,
    backoff: Duration,
}

impl Rollout {
    /// The machine of a policy whose module has not been looked for yet. Tell it by [`Input::Module`] right after; the
    /// engine is to know the policy from now on, as [`Output::Unavailable`] says.
    pub fn new(policy: Arc<DecisionPolicy>, out: &mut Vec<Output>) -> Self {
        out.push(Output::Unavailable(policy.clone()));
        Self {
            spec: policy,
            module: Module::NoConfigMap,
            active: None,
            swapped: None,
            candidate: Candidate::Waiting,
            next_load: 0,
            backoff: RETRY_FIRST,
        }
    }

    /// The policy as its object says now.
    pub fn spec(&self) -> &Arc<DecisionPolicy> {
        &self.spec
    }

    /// sha256 of the module in force.
    pub fn active(&self) -> Option<&Arc<str>> {
        self.active.as_ref().map(|policy| &policy.sha256)
    }

    /// The policy as it is in force: the version that came through, with later changes of what belongs to no version.
    pub fn in_force(&self) -> Option<&Arc<DecisionPolicy>> {
        self.active.as_ref()
    }

    /// Where the policy stands.
    pub fn step(&self) -> Step {
        match &self.candidate {
            Candidate::None => Step::Active,
            Candidate::Waiting | Candidate::Retrying { .. } | Candidate::Loading { passed: None, .. } => {
                Step::Pending
            }
            Candidate::Loading { passed: Some(stage), .. } => Step::Passed(*stage),
            Candidate::Rejected(failure) => Step::Rejected(failure.stage),
        }
    }

    /// True when nothing more is to be waited for: active, refused, or without a module. A speaker dials no peer before
    /// every policy is settled.
    pub fn settled(&self) -> bool {
        !matches!(self.candidate, Candidate::Loading { .. })
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.candidate {
            Candidate::Retrying { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Takes in what happened and says what to do.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Spec(spec) => self.spec_changed(spec, out),
            Input::Module(module) => {
                if self.module != module {
                    self.module = module;
                    self.module_changed(out);
                }
            }
            Input::Passed(load, stage) => {
                if let Candidate::Loading { load: current, passed } = &mut self.candidate
                    && *current == load
                    && passed.is_none_or(|before| before < stage)
                {
                    *passed = Some(stage);
                }
            }
            Input::Finished(load, result) => self.finished(now, load, result, out),
            Input::SwapFailed(load, reason, message) => self.swap_failed(load, reason, message),
            Input::Tick => {
                if self.next_deadline().is_some_and(|at| at <= now) {
                    self.start(out);
                }
            }
            Input::Removed => {
                self.cancel(out);
                self.active = None;
                self.candidate = Candidate::Waiting;
                out.push(Output::Drop(self.spec.name.clone()));
            }
        }
    }

    /// State for people, with what the engine counted.
    pub fn status(&self, counters: Option<&Counters>) -> PolicyStatus {
        let (reason, message) = self.trouble();
        let (field, value) = self.blamed(reason);
        PolicyStatus {
            policy: self.spec.name.clone(),
            hook: self.spec.hook,
            active: self.active.as_ref().map(|policy| policy.sha256.clone()),
            candidate: (!matches!(self.candidate, Candidate::None)).then(|| self.spec.sha256.clone()),
            step: self.step().name(),
            stage: match &self.candidate {
                Candidate::Rejected(failure) => Some(failure.stage),
                _ => None,
            },
            reason,
            field,
            value,
            message,
            counters: counters.cloned().unwrap_or_default(),
        }
    }

    /// Reason and message of what is wrong, and what is in force meanwhile.
    fn trouble(&self) -> (&'static str, String) {
        let (reason, message) = match &self.candidate {
            Candidate::Rejected(failure) => {
                let stage = Step::Passed(failure.stage).name();
                (failure.reason, format!("refused at stage {stage}: {}", failure.message))
            }
            Candidate::Retrying { failure, .. } => {
                (failure.reason, format!("{}; it is tried again", failure.message))
            }
            Candidate::Loading { .. } => return ("", String::new()),
            Candidate::Waiting | Candidate::None => match self.missing() {
                Some((reason, message)) => (reason, message.to_owned()),
                None => return ("", String::new()),
            },
        };
        let meanwhile = match self.active {
            Some(_) => "the version loaded before stays in force",
            None => "no version is in force, and spec.failurePolicy decides",
        };
        (reason, format!("{message}; {meanwhile}"))
    }

    fn missing(&self) -> Option<(&'static str, &'static str)> {
        match self.module {
            Module::Present(_) => None,
            Module::NoConfigMap => {
                Some(("ConfigMapMissing", "there is no such ConfigMap in Bellhop's namespace"))
            }
            Module::NoKey => Some(("KeyMissing", "the ConfigMap has no such key")),
        }
    }

    /// The field of the spec that a reason is about, and its value.
    fn blamed(&self, reason: &str) -> (&'static str, Arc<str>) {
        let spec = &self.spec;
        match reason {
            // No field is to blame for what the machine lacks, nor while nothing is wrong.
            "" | "CompilerStarved" | "CompilerUnavailable" | "NoMemory" | "Infrastructure" => ("", "".into()),
            "KeyMissing" => ("spec.plugin.key", spec.module_key.clone()),
            "DigestMismatch" | "DigestMalformed" => ("spec.plugin.sha256", spec.sha256.clone()),
            "HookMissing" => ("spec.hook", spec.hook.to_string().into()),
            "Config" => ("spec.config", spec.config.clone()),
            "InvalidInputs" => ("spec.match", "".into()),
            _ => ("spec.plugin.configMap", spec.config_map.clone()),
        }
    }

    fn spec_changed(&mut self, spec: Arc<DecisionPolicy>, out: &mut Vec<Output>) {
        if *self.spec == *spec {
            return;
        }
        let wanted = VersionKey::of(&spec);
        let same_source =
            (&self.spec.config_map, &self.spec.module_key) == (&spec.config_map, &spec.module_key);
        let same_candidate = same_source && VersionKey::of(&self.spec).same_guest(&wanted);
        self.spec = spec;
        if !same_source {
            // What was known is about another place; the driver tells of the new one next.
            self.module = Module::NoConfigMap;
        }
        match &self.active {
            Some(active) if VersionKey::of(active).same_guest(&wanted) => {
                // The version in force is the one wanted, at most with another match: no load, and a candidate that
                // was under way is not wanted any more.
                self.cancel(out);
                self.candidate = Candidate::None;
                self.swapped = None;
                self.active = Some(self.spec.clone());
                out.push(Output::Update(self.spec.clone()));
            }
            Some(active) => {
                let merged = Arc::new(DecisionPolicy {
                    priority: self.spec.priority,
                    failure_policy: self.spec.failure_policy,
                    initial: self.spec.initial,
                    min_eligible: self.spec.min_eligible,
                    ..(**active).clone()
                });
                if *merged != **active {
                    out.push(Output::Update(merged.clone()));
                    self.active = Some(merged);
                }
                if !same_candidate {
                    self.restart(out);
                }
            }
            None => {
                out.push(Output::Unavailable(self.spec.clone()));
                if !same_candidate {
                    self.restart(out);
                }
            }
        }
    }

    fn module_changed(&mut self, out: &mut Vec<Output>) {
        // The version in force was proven by its digest; other bytes in its ConfigMap, or none, change nothing.
        if !matches!(self.candidate, Candidate::None) {
            self.restart(out);
        }
    }

    /// Begins the candidate anew with what is there now.
    fn restart(&mut self, out: &mut Vec<Output>) {
        self.cancel(out);
        self.backoff = RETRY_FIRST;
        self.start(out);
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        let Module::Present(module) = &self.module else {
            self.candidate = Candidate::Waiting;
            return;
        };
        let load = LoadId(self.next_load);
        self.next_load += 1;
        out.push(Output::Load { load, policy: self.spec.clone(), module: module.clone() });
        self.candidate = Candidate::Loading { load, passed: None };
    }

    fn cancel(&mut self, out: &mut Vec<Output>) {
        if let Candidate::Loading { load, .. } = self.candidate {
            out.push(Output::Cancel(load));
        }
    }

    fn finished(
        &mut self,
        now: Instant,
        load: LoadId,
        result: Result<(), LoadFailure>,
        out: &mut Vec<Output>,
    ) {
        if !matches!(self.candidate, Candidate::Loading { load: current, .. } if current == load) {
            return;
        }
        match result {
            Ok(()) => {
                self.candidate = Candidate::None;
                self.backoff = RETRY_FIRST;
                self.swapped = Some((load, self.active.replace(self.spec.clone())));
                out.push(Output::Swap { load, policy: self.spec.clone() });
            }
            Err(failure) if failure.transient => {
                self.candidate = Candidate::Retrying { at: now + self.backoff, failure };
                self.backoff = (self.backoff * 2).min(RETRY_MAX);
            }
            Err(failure) => self.candidate = Candidate::Rejected(failure),
        }
    }

    /// Goes back to what was in force before a swap that was refused, unless something else has happened since.
    fn swap_failed(&mut self, load: LoadId, reason: &'static str, message: String) {
        let Some((_, before)) = self.swapped.take_if(|(swapped, _)| *swapped == load) else { return };
        self.active = before;
        if matches!(self.candidate, Candidate::None) {
            let stage = Stage::Configured;
            self.candidate = Candidate::Rejected(LoadFailure { stage, reason, message, transient: false });
        }
    }
}

#[cfg(test)]
mod tests;
