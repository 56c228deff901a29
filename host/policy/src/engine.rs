//! The engine: three chains of policies that answer Bellhop's decisions.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bellhop_core::decision::{
    AddressDecision, AddressRequest, Consulted, Decided, Decisions, NodeVerdict, NodesRequest, RouteDecision,
    RouteRequest,
};
use bellhop_core::names::ObjectName;
use bellhop_core::objects::{DecisionPolicy, Hook};

use self::address::AddressHook;
use self::nodes::NodesHook;
use self::policy::{Context, Policy, Verdict};
use self::route::RouteHook;
use self::version::{Entry, HookKind, Identity, Unit};
use crate::counters::Counters;
use crate::guest::{Guest, Inputs};
use crate::intern::Names;
use crate::projection::{self, InputsError, Match, Projector};
use crate::runner::{Runner, Sequential};

mod address;
mod nodes;
mod policy;
mod route;
mod version;

#[cfg(test)]
mod tests;

/// A call that failed: the first of its kind since a version came into force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// `metadata.name` of the DecisionPolicy.
    pub policy: ObjectName,
    /// sha256 of the version's module.
    pub digest: Arc<str>,
    /// Kind of failure, as [`GuestError::category`](crate::guest::GuestError::category) has it.
    pub category: &'static str,
    /// What went wrong; may hold the plugin's own words.
    pub message: Arc<str>,
}

/// A line that a plugin logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// `metadata.name` of the DecisionPolicy.
    pub policy: ObjectName,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The text, as the plugin wrote it: escape it before showing it.
    pub text: String,
}

/// Why a version cannot be put in force.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SetError {
    /// The module does not have the policy's hook.
    #[error("DecisionPolicy/{policy}: spec.hook: \"{hook}\": the module has no such hook, only {has}")]
    Hook {
        /// The policy.
        policy: ObjectName,
        /// The hook asked for.
        hook: Hook,
        /// The hooks it has.
        has: String,
    },
    /// The guest was made from other bytes than the policy names.
    #[error("DecisionPolicy/{policy}: spec.plugin.sha256: \"{wanted}\": the module loaded is {loaded}")]
    Digest {
        /// The policy.
        policy: ObjectName,
        /// The digest it names.
        wanted: Arc<str>,
        /// The digest of the guest.
        loaded: Arc<str>,
    },
    /// What the version reads cannot be told from its config.
    #[error("DecisionPolicy/{policy}: {source}")]
    Inputs {
        /// The policy.
        policy: ObjectName,
        /// The cause.
        #[source]
        source: InputsError,
    },
}

impl SetError {
    /// What is wrong, where object, field and value are named already.
    pub fn told(&self) -> String {
        match self {
            Self::Hook { has, .. } => format!("the module has no such hook, only {has}"),
            Self::Digest { loaded, .. } => format!("the module loaded is {loaded}"),
            Self::Inputs { source, .. } => source.to_string(),
        }
    }

    /// Metric label and condition reason, from a closed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Hook { .. } => "HookMissing",
            Self::Digest { .. } => "DigestMismatch",
            Self::Inputs { .. } => "InvalidInputs",
        }
    }
}

/// Chains of policies as the answer to the three decisions.
///
/// A chain is asked by priority, highest first, equal ones by name; the first policy that does not say `use-default`
/// decides, and behind the last one stands the built-in answer. Every method takes effect between two batches, so a
/// version is swapped without a decision being missed.
///
/// ```
/// use bellhop_core::Decisions;
/// use bellhop_policy_engine::Engine;
///
/// let mut engine = Engine::new();
/// assert!(engine.routes(&[]).is_empty());
/// ```
pub struct Engine {
    addresses: Vec<Policy<AddressHook>>,
    nodes: Vec<Policy<NodesHook>>,
    routes: Vec<Policy<RouteHook>>,
    names: Names,
    runner: Arc<dyn Runner>,
    now: Option<Instant>,
    log: VecDeque<LogEntry>,
    failures: Vec<Failure>,
    no_trail: Arc<[Consulted]>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("policies", &self.policies().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `$body` with `$chain` as the chain of `$hook`.
macro_rules! on_chain {
    ($engine:expr, $hook:expr, $chain:ident => $body:expr) => {
        match $hook {
            Hook::Address => {
                let $chain = &mut $engine.addresses;
                $body
            }
            Hook::Nodes => {
                let $chain = &mut $engine.nodes;
                $body
            }
            Hook::Route => {
                let $chain = &mut $engine.routes;
                $body
            }
        }
    };
}

impl Engine {
    /// An engine without policies: every answer is the built-in one. Calls run on the thread that asks.
    pub fn new() -> Self {
        Self::with_runner(Arc::new(Sequential))
    }

    /// An engine without policies whose calls are run by `runner`.
    pub fn with_runner(runner: Arc<dyn Runner>) -> Self {
        Self {
            addresses: Vec::new(),
            nodes: Vec::new(),
            routes: Vec::new(),
            names: Names::new(),
            runner,
            now: None,
            log: VecDeque::new(),
            failures: Vec::new(),
            no_trail: Arc::default(),
        }
    }

    /// The time for the next batches, for the breaker. Without one the breaker holds nothing back.
    pub fn set_now(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// Puts a version in force from the next batch on, with its place in the chain.
    ///
    /// The policy's last decisions stay, and the version before becomes the one that is asked where the new one fails
    /// and nothing is kept, if it ever answered. The same version given again keeps its memo.
    ///
    /// # Errors
    /// Where guest and policy do not belong together; then nothing changed.
    pub fn set(&mut self, policy: Arc<DecisionPolicy>, guest: Arc<dyn Guest>) -> Result<(), SetError> {
        let inputs = checked_inputs(&policy, &*guest)?;
        let identity = Identity {
            digest: policy.sha256.clone(),
            config: policy.config.clone(),
            fuel: policy.fuel,
            memory: policy.memory,
        };
        let projector = Projector::new(inputs, Match::of(&policy));
        self.remove_from_other_chains(&policy);
        on_chain!(self, policy.hook, chain => {
            place(chain, &policy).swap(identity, guest, projector);
            sort(chain);
        });
        Ok(())
    }

    /// Whether [`Engine::set`] would take this guest for this policy; the last thing to ask before a load is reported as
    /// finished.
    ///
    /// # Errors
    /// As [`Engine::set`].
    pub fn check(policy: &DecisionPolicy, guest: &dyn Guest) -> Result<(), SetError> {
        checked_inputs(policy, guest).map(drop)
    }

    /// Changes what does not belong to a version: match, priority, failure policy, `initial`, `minEligible`. The version in force
    /// stays; digest, config and limits of `policy` are not looked at.
    ///
    /// A policy that is not known yet, or has changed its hook, is set as [`Engine::set_unavailable`] does.
    pub fn update_spec(&mut self, policy: Arc<DecisionPolicy>) {
        self.remove_from_other_chains(&policy);
        on_chain!(self, policy.hook, chain => {
            place(chain, &policy);
            sort(chain);
        });
    }

    /// Takes up a policy that has no version in force yet, its module missing or refused: its `failurePolicy` decides
    /// (`KeepLast` as `initial` says). A version that is in force stays.
    pub fn set_unavailable(&mut self, policy: Arc<DecisionPolicy>) {
        self.update_spec(policy);
    }

    /// Takes a policy out of its chain, with all that it knew.
    pub fn remove(&mut self, name: &str) {
        self.addresses.retain(|policy| &*policy.spec.name != name);
        self.nodes.retain(|policy| &*policy.spec.name != name);
        self.routes.retain(|policy| &*policy.spec.name != name);
    }

    /// Counters of a policy.
    pub fn counters(&self, name: &str) -> Option<&Counters> {
        fn of<'a, H: HookKind>(chain: &'a [Policy<H>], name: &str) -> Option<&'a Counters> {
            chain.iter().find(|policy| &*policy.spec.name == name).map(|policy| &policy.counters)
        }
        of(&self.addresses, name).or_else(|| of(&self.nodes, name)).or_else(|| of(&self.routes, name))
    }

    /// Hook, name and digest in force (`None` without a version) of every policy, in the chains' order.
    pub fn policies(&self) -> impl Iterator<Item = (Hook, &ObjectName, Option<&Arc<str>>)> {
        fn of<H: HookKind>(
            chain: &[Policy<H>],
        ) -> impl Iterator<Item = (Hook, &ObjectName, Option<&Arc<str>>)> {
            chain.iter().map(|policy| {
                (H::HOOK, &policy.spec.name, policy.current.as_ref().map(|version| &version.identity.digest))
            })
        }
        of(&self.addresses).chain(of(&self.nodes)).chain(of(&self.routes))
    }

    /// The lines that plugins logged since the last time, oldest first; only the newest 1024 are held.
    pub fn take_log(&mut self) -> Vec<LogEntry> {
        self.log.drain(..).collect()
    }

    /// The calls that failed since the last time: of each version the first of each kind.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    fn remove_from_other_chains(&mut self, policy: &DecisionPolicy) {
        if policy.hook != Hook::Address {
            self.addresses.retain(|other| other.spec.name != policy.name);
        }
        if policy.hook != Hook::Nodes {
            self.nodes.retain(|other| other.spec.name != policy.name);
        }
        if policy.hook != Hook::Route {
            self.routes.retain(|other| other.spec.name != policy.name);
        }
    }
}

/// What the guest reads under this policy, where the two belong together.
fn checked_inputs(policy: &DecisionPolicy, guest: &dyn Guest) -> Result<Inputs, SetError> {
    let metadata = guest.metadata();
    if !metadata.hooks.contains(&policy.hook) {
        let has: Vec<String> = metadata.hooks.iter().map(Hook::to_string).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        return Err(SetError::Hook { policy: policy.name.clone(), hook: policy.hook, has });
    }
    if *guest.digest() != policy.sha256 {
        let loaded = guest.digest().clone();
        return Err(SetError::Digest { policy: policy.name.clone(), wanted: policy.sha256.clone(), loaded });
    }
    projection::effective_inputs(&metadata.inputs, &policy.config)
        .map_err(|source| SetError::Inputs { policy: policy.name.clone(), source })
}

/// The policy's place in the chain, made where it has none, with the spec as given.
fn place<'a, H: HookKind>(chain: &'a mut Vec<Policy<H>>, spec: &Arc<DecisionPolicy>) -> &'a mut Policy<H> {
    let index = match chain.iter().position(|policy| policy.spec.name == spec.name) {
        Some(index) => index,
        None => {
            chain.push(Policy::new(spec.clone()));
            chain.len() - 1
        }
    };
    let policy = &mut chain[index];
    policy.update_spec(spec.clone());
    policy
}

fn sort<H: HookKind>(chain: &mut [Policy<H>]) {
    chain.sort_by(|a, b| {
        (Reverse(a.spec.priority), &a.spec.name).cmp(&(Reverse(b.spec.priority), &b.spec.name))
    });
}

/// Who was asked so far. One policy alone, the common case, costs no allocation.
#[derive(Clone, Debug, Default)]
enum Trail {
    #[default]
    Empty,
    One(Arc<[Consulted]>),
    Many(Vec<Consulted>),
}

impl Trail {
    fn push(&mut self, trail: &Arc<[Consulted]>) {
        match self {
            Self::Empty => *self = Self::One(trail.clone()),
            Self::One(first) => *self = Self::Many(first.iter().chain(trail.iter()).cloned().collect()),
            Self::Many(all) => all.extend(trail.iter().cloned()),
        }
    }

    fn push_one(&mut self, consulted: Consulted) {
        self.push(&Arc::from([consulted]));
    }

    fn finish(self, empty: &Arc<[Consulted]>) -> Arc<[Consulted]> {
        match self {
            Self::Empty => empty.clone(),
            Self::One(trail) => trail,
            Self::Many(all) => all.into(),
        }
    }
}

/// Where a chain ended for one request.
enum End<A> {
    /// Nobody decided.
    Default,
    /// A policy did.
    Answer(Arc<Entry<A>>),
    /// A policy failed, and withholds.
    Withhold(Arc<str>),
}

/// Asks a chain whose requests are one thing each.
fn ask_chain<H: HookKind>(
    chain: &mut [Policy<H>],
    batch: &[H::Request],
    context: &mut Context<'_>,
) -> Vec<(End<H::Answer>, Trail)> {
    let mut ends: Vec<(End<H::Answer>, Trail)> = batch.iter().map(|_| (End::Default, Trail::Empty)).collect();
    let mut open: Vec<Unit> = (0..batch.len()).map(|index| (index, 0)).collect();
    for policy in chain {
        if open.is_empty() {
            break;
        }
        let verdicts = policy.consult(batch, &open, context);
        let mut verdicts = verdicts.into_iter();
        open.retain(|&(index, _)| {
            let (end, trail) = &mut ends[index];
            match verdicts.next() {
                None | Some(Verdict::Skipped) => true,
                Some(Verdict::UseDefault(consulted)) => {
                    trail.push_one(consulted);
                    true
                }
                Some(Verdict::Withhold(consulted)) => {
                    *end = End::Withhold(withheld(&consulted));
                    trail.push_one(consulted);
                    false
                }
                Some(Verdict::Spoke { entry, kept }) => {
                    match kept {
                        Some(consulted) => trail.push_one(consulted),
                        None => trail.push(&entry.trail),
                    }
                    let decides = matches!(entry.result, Ok(Some(_)));
                    if decides {
                        *end = End::Answer(entry);
                    }
                    !decides
                }
            }
        });
    }
    ends
}

/// The reason of a decision that is withheld because its policy failed.
fn withheld(consulted: &Consulted) -> Arc<str> {
    let why = consulted.note.as_deref().unwrap_or("it failed");
    crate::validate::note(&format!("withheld by failurePolicy of DecisionPolicy/{}: {why}", consulted.policy))
}

impl Decisions for Engine {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        let Self { addresses, names, runner, now, log, failures, no_trail, .. } = self;
        let mut context = Context { names, runner: &**runner, now: *now, log, failures };
        let ends = ask_chain(addresses, batch, &mut context);
        ends.into_iter()
            .map(|(end, trail)| Decided { answer: address::decision(end), trail: trail.finish(no_trail) })
            .collect()
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        let Self { nodes, names, runner, now, log, failures, no_trail, .. } = self;
        let mut context = Context { names, runner: &**runner, now: *now, log, failures };
        nodes::ask_chain(nodes, batch, &mut context, no_trail)
    }

    fn least_eligible(&self) -> u32 {
        self.nodes.iter().map(|policy| policy.spec.min_eligible).max().unwrap_or_default().max(1)
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        let Self { routes, names, runner, now, log, failures, no_trail, .. } = self;
        let mut context = Context { names, runner: &**runner, now: *now, log, failures };
        let ends = ask_chain(routes, batch, &mut context);
        ends.into_iter()
            .zip(batch)
            .map(|((end, trail), request)| route::decided(request, end, trail, no_trail))
            .collect()
    }
}
