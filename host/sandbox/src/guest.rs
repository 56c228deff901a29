//! One version of a plugin with its config and limits: [`SandboxGuest`].

use std::sync::Arc;

use bellhop_core::decision::AddressDecision;
use bellhop_core::objects::Hook;
use bellhop_policy_engine::guest::{
    AddressQuestion, Called, Cost, Guest, GuestError, GuestRoute, GuestVerdict, Metadata, NodesQuestion,
    Noted, RouteQuestion,
};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
};
use wasmtime::{Store, UpdateDeadline};

use crate::abi::{self, ConfigureParams, ConfigureResults};
use crate::engine::{Runtime, interface};
use crate::limits::{self, Limits};
use crate::outcome::{Phase, classified};
use crate::store::{Host, shortened};

/// How often a call is made anew after an error that is the machine's and not the plugin's.
const RETRIES: u32 = 1;

/// One version of a plugin, compiled, with its config and limits.
///
/// Every call runs on a fresh instance, so that an answer depends on module, config and question alone. Calls may come
/// from several threads at once. The instance lives no longer than the call.
pub struct SandboxGuest {
    runtime: &'static Runtime,
    instance_pre: InstancePre<Host>,
    exports: Exports,
    metadata: Metadata,
    digest: Arc<str>,
    config: Arc<str>,
    limits: Limits,
}

/// Where the functions of the contract are in the component.
#[derive(Clone)]
struct Exports {
    configure: ComponentExportIndex,
    address: Option<ComponentExportIndex>,
    nodes: Option<ComponentExportIndex>,
    route: Option<ComponentExportIndex>,
}

/// Why a component is no policy of this contract.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContractError {
    /// It asks for what the host does not provide.
    #[error("the module does not fit the host's interfaces: {0}")]
    Import(String),
    /// It lacks a function.
    #[error("the module exports no {function} of {interface}")]
    Missing {
        /// The interface.
        interface: &'static str,
        /// The function.
        function: &'static str,
    },
}

/// How often an instance is configured that a bench uses again.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Configured {
    /// When it is made.
    Once,
    /// Before each question, which is what a call on a fresh instance does.
    EachTime,
}

impl std::fmt::Debug for SandboxGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxGuest")
            .field("name", &self.metadata.name)
            .field("digest", &self.digest)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl SandboxGuest {
    pub(crate) fn new(
        runtime: &'static Runtime,
        component: &Component,
        metadata: Metadata,
        digest: Arc<str>,
        config: Arc<str>,
        limits: Limits,
    ) -> Result<Self, ContractError> {
        let instance_pre = runtime
            .linker
            .instantiate_pre(component)
            .map_err(|error| ContractError::Import(format!("{error:#}")))?;
        let function = |interface: &'static str, function: &'static str| {
            component
                .get_export_index(None, interface)
                .and_then(|instance| component.get_export_index(Some(&instance), function))
                .ok_or(ContractError::Missing { interface, function })
        };
        let hook = |hook: Hook, interface: &'static str| {
            metadata.hooks.contains(&hook).then(|| function(interface, "decide")).transpose()
        };
        let exports = Exports {
            configure: function(interface::LIFECYCLE, "configure")?,
            address: hook(Hook::Address, interface::ADDRESS)?,
            nodes: hook(Hook::Nodes, interface::NODES)?,
            route: hook(Hook::Route, interface::ROUTE)?,
        };
        Ok(Self { runtime, instance_pre, exports, metadata, digest, config, limits })
    }

    /// The same module with another config and other limits; nothing is compiled or checked again.
    #[must_use]
    pub fn with_config(&self, config: Arc<str>, limits: Limits) -> Self {
        Self {
            runtime: self.runtime,
            instance_pre: self.instance_pre.clone(),
            exports: self.exports.clone(),
            metadata: self.metadata.clone(),
            digest: self.digest.clone(),
            config,
            limits,
        }
    }

    /// The config that `configure` gets.
    pub fn config(&self) -> &Arc<str> {
        &self.config
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Compares the types of the exported functions with the contract's; says what differs, field by field.
    pub(crate) fn check_types(&self) -> Result<(), GuestError> {
        self.run(limits::FUEL_CONFIGURE, |call| {
            call.function::<ConfigureParams<'_>, ConfigureResults>(&self.exports.configure)?;
            if let Some(export) = &self.exports.address {
                call.function::<abi::address::Params<'_>, abi::address::Results>(export)?;
            }
            if let Some(export) = &self.exports.nodes {
                call.function::<abi::nodes::Params<'_>, abi::nodes::Results>(export)?;
            }
            if let Some(export) = &self.exports.route {
                call.function::<abi::route::Params<'_>, abi::route::Results>(export)?;
            }
            Ok(())
        })
        .result
    }

    /// Runs `work` on a fresh instance, once more where the machine and not the module was at fault.
    fn run<A>(&self, cpu_fuel: u64, work: impl Fn(&mut Call<'_>) -> Result<A, GuestError>) -> Called<A> {
        let mut retries = 0;
        loop {
            let called = self.run_once(cpu_fuel, &work);
            match called.result {
                Err(GuestError::Infrastructure(_)) if retries < RETRIES => retries += 1,
                _ => return called,
            }
        }
    }

    fn run_once<A>(&self, cpu_fuel: u64, work: impl Fn(&mut Call<'_>) -> Result<A, GuestError>) -> Called<A> {
        let mut store = Store::new(&self.runtime.engine, Host::new(self.limits.memory()));
        store.limiter(|host| &mut host.meter);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
        let backstop = limits::CPU_BACKSTOP
            .max(limits::CPU_BACKSTOP.mul_f64(cpu_fuel as f64 / limits::CPU_BACKSTOP_FUEL as f64));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |context| {
            Ok(if context.data().cpu_time() < backstop {
                UpdateDeadline::Continue(1)
            } else {
                UpdateDeadline::Interrupt
            })
        });
        let ticking = self.runtime.ticker.enter();
        let mut call = Call { guest: self, store: &mut store, instance: None, budget: 0, fuel: 0 };
        let result = work(&mut call);
        call.account();
        let fuel = call.fuel;
        drop(ticking);
        let host = store.into_data();
        let cost = Cost {
            fuel,
            cpu_nanos: u64::try_from(host.cpu_time().as_nanos()).unwrap_or(u64::MAX),
            memory: host.meter.memory,
        };
        Called { result, cost, log: host.log.into_lines() }
    }

    /// One decision: `configure`, then `decide` with its own budget.
    fn decide<'a, P, T, A>(
        &self,
        hook: Hook,
        export: Option<&ComponentExportIndex>,
        fuel: u64,
        params: impl Fn() -> P + 'a,
        checked: impl Fn(T) -> Result<A, GuestError>,
    ) -> Called<A>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        T: 'static,
        (Result<T, String>,): ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let Some(export) = export else {
            let error =
                abi::invalid("hooks", format!("the plugin {} has no hook {hook}", self.metadata.name));
            return Called { result: Err(error), cost: Cost::default(), log: Vec::new() };
        };
        self.run(fuel.saturating_add(limits::FUEL_CONFIGURE), |call| {
            call.configure(&self.config)?;
            call.budget(fuel)?;
            match call.call::<P, (Result<T, String>,)>(export, params())? {
                (Ok(response),) => checked(response),
                (Err(text),) => Err(GuestError::Policy(shortened(&text, limits::ERROR_BYTES).to_owned())),
            }
        })
    }

    /// Asks several `route` questions of one instance, configured once or, as a call does, before each question, and
    /// hands each answer's way to `work`.
    ///
    /// For benches alone, to compare with: the host never does this, as answers could then depend on those before.
    ///
    /// # Errors
    /// As a call; what `work` returns counts.
    #[doc(hidden)]
    pub fn reusing_one_instance<A>(
        &self,
        configured: Configured,
        work: impl Fn(
            &mut dyn FnMut(&RouteQuestion) -> Result<Noted<GuestRoute>, GuestError>,
        ) -> Result<A, GuestError>,
    ) -> Result<A, GuestError> {
        let Some(export) = &self.exports.route else {
            return Err(abi::invalid(
                "hooks",
                format!("the plugin {} has no hook Route", self.metadata.name),
            ));
        };
        let fuel = self.limits.fuel(0);
        self.run(fuel.saturating_add(limits::FUEL_CONFIGURE), |call| {
            call.configure(&self.config)?;
            let function = call.function::<abi::route::Params<'_>, abi::route::Results>(export)?;
            work(&mut |question| {
                if configured == Configured::EachTime {
                    call.budget(limits::FUEL_CONFIGURE)?;
                    call.configure(&self.config)?;
                }
                call.budget(fuel)?;
                match function.call(&mut *call.store, (abi::route::Request::from(question),)) {
                    Ok((Ok(response),)) => response.checked(question),
                    Ok((Err(text),)) => Err(GuestError::Policy(text)),
                    Err(error) => Err(call.classified(&error, Phase::Run)),
                }
            })
        })
        .result
    }

    pub(crate) fn address_within(
        &self,
        question: &AddressQuestion,
        fuel: u64,
    ) -> Called<Noted<AddressDecision>> {
        self.decide(
            Hook::Address,
            self.exports.address.as_ref(),
            fuel,
            || (abi::address::Request::from(question),),
            |response: abi::address::Response| response.checked(question),
        )
    }

    pub(crate) fn nodes_within(
        &self,
        question: &NodesQuestion,
        fuel: u64,
    ) -> Called<Vec<Noted<GuestVerdict>>> {
        self.decide(
            Hook::Nodes,
            self.exports.nodes.as_ref(),
            fuel,
            || (abi::nodes::Request::from(question),),
            |response: abi::nodes::Response| response.checked(question),
        )
    }

    pub(crate) fn route_within(&self, question: &RouteQuestion, fuel: u64) -> Called<Noted<GuestRoute>> {
        self.decide(
            Hook::Route,
            self.exports.route.as_ref(),
            fuel,
            || (abi::route::Request::from(question),),
            |response: abi::route::Response| response.checked(question),
        )
    }
}

impl Guest for SandboxGuest {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    fn configure(&self) -> Called<()> {
        self.run(limits::FUEL_CONFIGURE, |call| call.configure(&self.config))
    }

    fn address(&self, question: &AddressQuestion) -> Called<Noted<AddressDecision>> {
        self.address_within(question, self.limits.fuel(0))
    }

    fn nodes(&self, question: &NodesQuestion) -> Called<Vec<Noted<GuestVerdict>>> {
        self.nodes_within(question, self.limits.fuel(question.nodes.len()))
    }

    fn route(&self, question: &RouteQuestion) -> Called<Noted<GuestRoute>> {
        self.route_within(question, self.limits.fuel(0))
    }
}

/// One call in progress: a store, its instance, and the fuel of the part that runs.
struct Call<'a> {
    guest: &'a SandboxGuest,
    store: &'a mut Store<Host>,
    instance: Option<Instance>,
    /// Fuel of the part that runs.
    budget: u64,
    /// Fuel used by the parts before it.
    fuel: u64,
}

impl Call<'_> {
    /// Adds up what the part that ran has used.
    fn account(&mut self) {
        let left = self.store.get_fuel().unwrap_or(0);
        self.fuel += self.budget.saturating_sub(left);
        self.budget = left.min(self.budget);
    }

    /// Gives the next part its own budget.
    fn budget(&mut self, fuel: u64) -> Result<(), GuestError> {
        self.account();
        self.budget = fuel;
        self.store.set_fuel(fuel).map_err(|error| self.classified(&error, Phase::Instantiate))
    }

    fn instance(&mut self) -> Result<Instance, GuestError> {
        if let Some(instance) = self.instance {
            return Ok(instance);
        }
        self.budget(limits::FUEL_CONFIGURE)?;
        let instance = self
            .guest
            .instance_pre
            .instantiate(&mut *self.store)
            .map_err(|error| self.classified(&error, Phase::Instantiate))?;
        self.instance = Some(instance);
        Ok(instance)
    }

    fn function<P, R>(
        &mut self,
        export: &ComponentExportIndex,
    ) -> Result<wasmtime::component::TypedFunc<P, R>, GuestError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let instance = self.instance()?;
        instance
            .get_typed_func::<P, R>(&mut *self.store, export)
            .map_err(|error| abi::invalid("exports", format!("{error:#}")))
    }

    fn call<P, R>(&mut self, export: &ComponentExportIndex, params: P) -> Result<R, GuestError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let function = self.function::<P, R>(export)?;
        function.call(&mut *self.store, params).map_err(|error| self.classified(&error, Phase::Run))
    }

    fn configure(&mut self, config: &str) -> Result<(), GuestError> {
        let export = self.guest.exports.configure;
        let (result,) = self.call::<ConfigureParams<'_>, ConfigureResults>(&export, (config,))?;
        result.map_err(|text| GuestError::Config(shortened(&text, limits::ERROR_BYTES).to_owned()))
    }

    fn classified(&self, error: &wasmtime::Error, phase: Phase) -> GuestError {
        classified(error, phase, self.budget, self.guest.limits.memory(), self.store.data())
    }
}
