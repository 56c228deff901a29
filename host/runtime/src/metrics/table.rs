//! The one place where metrics are declared: name, help, type, labels, and which forms of Bellhop have them.

use std::fmt;

use prometheus_client::registry::Registry;

use super::instruments::{AsCounter, Counts, Instrument, Kind, Timing, Value, Values};
use super::labels::{
    ApiWrite, Build, ByCondition, ByFamily, ByPeer, ByPolicy, ByPool, ByReason, ByTask, ClaimWrite, Domain,
    Label, LabelValue, PolicyDecision, PolicyFailure, PolicyStep,
};

/// How Bellhop was started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// `bellhop standalone`.
    Standalone,
    /// `bellhop speaker`.
    Speaker,
    /// `bellhop controller`.
    Controller,
}

impl Form {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Speaker => "speaker",
            Self::Controller => "controller",
        }
    }
}

impl LabelValue for Form {
    const VALUES: Domain = Domain::OneOf(&["standalone", "speaker", "controller"]);
    fn text(&self) -> &str {
        self.as_str()
    }
}

/// One metric as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// What it is about: a heading of the reference.
    pub group: &'static str,
    /// Its name, with unit and for a counter with `_total`.
    pub name: &'static str,
    /// What it says, without a full stop at its end.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// The forms that have it.
    pub forms: &'static [Form],
}

/// Whoever runs.
const ANY: &[Form] = &[Form::Standalone, Form::Speaker, Form::Controller];
/// Whoever hands out addresses.
const ALLOCATING: &[Form] = &[Form::Standalone, Form::Controller];
/// Whoever announces them.
const ANNOUNCING: &[Form] = &[Form::Standalone, Form::Speaker];
/// Whoever talks to an API server.
const IN_CLUSTER: &[Form] = &[Form::Speaker, Form::Controller];

macro_rules! table {
    ($($group:literal, $forms:ident {
        $($field:ident: $instrument:ty = $name:literal, $help:literal;)+
    })+) => {
        /// The metrics of one process.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help] pub $field: $instrument,)+)+
        }

        /// Every metric that there is, in the order of the reference.
        pub const TABLE: &[Declared] = &[$($(Declared {
            group: $group,
            name: $name,
            help: $help,
            kind: <$instrument as Instrument>::KIND,
            labels: <$instrument as Instrument>::LABELS,
            forms: $forms,
        },)+)+];

        impl Metrics {
            /// The metrics of a process of this form; those of other forms can be recorded and are not exposed.
            pub fn new(form: Form) -> Self {
                let mut registry = Registry::default();
                $($(
                    let $field = <$instrument>::default();
                    if $forms.contains(&form) {
                        register(&mut registry, $name, $help, &$field);
                    }
                )+)+
                let metrics = Self { registry, $($($field,)+)+ };
                metrics.build.replace([(Build { version: env!("CARGO_PKG_VERSION"), form }, 1.0)]);
                metrics
            }
        }
    };
}

table! {
    "Program", ANY {
        build: Values<Build> = "bellhop_build_info",
            "Always 1; the labels say which version runs, and how it was started";
        ready: Value = "bellhop_ready",
            "1 while /readyz answers 200, else 0";
        condition: Values<ByCondition> = "bellhop_ready_condition",
            "1 for each readiness condition that holds, else 0";
        task_busy: Values<ByTask> = "bellhop_task_busy_seconds",
            "How long a task has been at its present turn, 0 while it waits; /livez answers 503 past the task's bound";
    }
    "Allocation", ALLOCATING {
        leader: Value = "bellhop_leader",
            "1 on the process that allocates: the leader of the controllers, or the holder of a state directory's lock";
        pool_capacity: Values<ByPool> = "bellhop_pool_capacity_addresses",
            "Addresses that a pool can hand out or has handed out";
        pool_used: Values<ByPool> = "bellhop_pool_used_addresses",
            "Addresses of a pool that have a claim";
        pool_free: Values<ByPool> = "bellhop_pool_free_addresses",
            "Addresses of a pool that have no claim";
        services: Value = "bellhop_services",
            "Services that Bellhop is to serve: of type LoadBalancer and of its class";
        services_waiting: Values<ByReason> = "bellhop_services_waiting",
            "Services without the addresses that they ask for, by the reason of their condition Allocated";
        allocation_duration: Timing = "bellhop_allocation_duration_seconds",
            "From seeing a Service that lacks an address to having written it: the Service's status, or in standalone form the claim";
        claim_writes: Counts<ClaimWrite> = "bellhop_claim_writes_total",
            "Writes of AddressClaims, by what was done and what came of it";
    }
    "Sessions", ANNOUNCING {
        session_up: Values<ByPeer> = "bellhop_bgp_session_up",
            "1 while the session with a peer is established, else 0";
        session_established_at: Values<ByPeer> = "bellhop_bgp_session_established_timestamp_seconds",
            "When the present session was established, in seconds since 1970; absent without a session";
        session_established: Values<ByPeer, AsCounter> = "bellhop_bgp_session_established_total",
            "Sessions with a peer that were established";
        session_downs: Values<ByPeer, AsCounter> = "bellhop_bgp_session_downs_total",
            "Established sessions with a peer that ended";
        dial_failures: Values<ByPeer, AsCounter> = "bellhop_bgp_dial_failures_total",
            "Connections to a peer that could not be made";
        updates_sent: Values<ByPeer, AsCounter> = "bellhop_bgp_updates_sent_total",
            "UPDATE messages sent to a peer, End-of-RIB markers included";
        prefixes_announced: Values<ByPeer, AsCounter> = "bellhop_bgp_prefixes_announced_total",
            "Prefixes announced to a peer, repetitions included";
        prefixes_withdrawn: Values<ByPeer, AsCounter> = "bellhop_bgp_prefixes_withdrawn_total",
            "Prefixes withdrawn from a peer";
        prefixes_wanted: Values<ByPeer> = "bellhop_bgp_prefixes_wanted",
            "Prefixes that a peer should have";
        prefixes_sent: Values<ByPeer> = "bellhop_bgp_prefixes_sent",
            "Prefixes that a peer was sent and still has";
        prefixes_refused: Values<ByPeer> = "bellhop_bgp_prefixes_refused",
            "Prefixes that the session with a peer cannot carry, for want of a negotiated family or a next hop";
        updates_received: Values<ByPeer, AsCounter> = "bellhop_bgp_updates_received_total",
            "UPDATE messages received from a peer; Bellhop validates, counts and drops them";
        messages_sent: Values<ByPeer, AsCounter> = "bellhop_bgp_messages_sent_total",
            "Messages of every type sent to a peer";
        messages_received: Values<ByPeer, AsCounter> = "bellhop_bgp_messages_received_total",
            "Messages of every type received from a peer";
        treated_as_withdraw: Values<ByPeer, AsCounter> = "bellhop_bgp_updates_malformed_total",
            "UPDATE messages of a peer that were taken for withdrawals because an attribute is wrong (RFC 7606)";
        listen_errors: Value = "bellhop_bgp_listen_errors",
            "Addresses that Bellhop should listen on for peers and cannot, and ports that cannot be redirected";
        bfd_up: Values<ByPeer> = "bellhop_bfd_session_up",
            "1 while BFD says that the path to a peer is up, else 0; absent where it is not watched";
        bfd_failures: Values<ByPeer, AsCounter> = "bellhop_bfd_failures_total",
            "Paths to a peer that BFD lost while they were up";
        bfd_late_failures: Values<ByPeer, AsCounter> = "bellhop_bfd_late_failures_total",
            "Of those, the ones that this node noticed late, so that it may be at fault itself";
    }
    "Announcements", ANNOUNCING {
        announced_addresses: Values<ByFamily> = "bellhop_announced_addresses",
            "Addresses that this node announces to at least one peer";
        services_announced: Value = "bellhop_services_announced",
            "Services of which this node announces at least one address";
        services_not_announced: Values<ByReason> = "bellhop_services_not_announced",
            "Services that this node announces no address of, by the reason of their condition Announced; many are as they should be, such as NoLocalEndpoints";
        bound_addresses: Value = "bellhop_bound_addresses",
            "Announced addresses that are bound on lo";
        filtered_addresses: Value = "bellhop_filtered_addresses",
            "Announced addresses and aggregates that the kernel's packet filter protects";
        filter_problems: Value = "bellhop_filter_problems",
            "What is wrong with the packet filter or with what it relies on; the problems of the Node say it in words";
        planning_slice: Timing = "bellhop_planning_slice_duration_seconds",
            "One slice of planning, in which no event is taken in";
        handover: Timing = "bellhop_routes_handover_duration_seconds",
            "From taking in an event to handing the routes that it changed to the BGP task";
    }
    "Policies", ANY {
        policy_step: Values<PolicyStep> = "bellhop_policy_step",
            "1 for the step that the rollout of a policy is at; Rejected means that its newest version is not in force";
        policy_in_force: Values<ByPolicy> = "bellhop_policy_in_force",
            "1 where a version of a policy is in force, else 0";
        policy_decisions: Values<PolicyDecision, AsCounter> = "bellhop_policy_decisions_total",
            "Questions put to a policy, by how they were answered";
        policy_failures: Values<PolicyFailure, AsCounter> = "bellhop_policy_failures_total",
            "Calls of a policy that failed, by category";
        policy_fuel: Values<ByPolicy> = "bellhop_policy_call_fuel_max",
            "Most fuel that one call of a policy used";
        policy_cpu: Values<ByPolicy> = "bellhop_policy_call_cpu_max_seconds",
            "Most CPU time that one call of a policy used";
        policy_memory: Values<ByPolicy> = "bellhop_policy_call_memory_max_bytes",
            "Most memory that one call of a policy held";
    }
    "API server", IN_CLUSTER {
        api_writes: Values<ApiWrite, AsCounter> = "bellhop_api_writes_total",
            "Writes to the API server, by kind, verb and what came of them";
        api_reachable: Value = "bellhop_api_reachable",
            "1 while the API server answers, else 0; a speaker goes on announcing from its cache meanwhile";
        watch_events: Value<AsCounter> = "bellhop_watch_events_total",
            "Changes that watches brought";
        watch_relists: Value<AsCounter> = "bellhop_watch_relists_total",
            "Kinds that were listed anew because the version seen last was too old";
        watch_failures: Value<AsCounter> = "bellhop_watch_failures_total",
            "Attempts to list or watch that failed and were made again";
    }
    "Process", ANY {
        process_cpu_seconds: Value<AsCounter> = "process_cpu_seconds_total",
            "User and system CPU time of the process, in seconds";
        process_resident_memory: Value = "process_resident_memory_bytes",
            "Resident memory of the process; its compile children are not in it";
        process_virtual_memory: Value = "process_virtual_memory_bytes",
            "Virtual memory of the process; plugins reserve far more than they use";
        process_start_time: Value = "process_start_time_seconds",
            "When the process started, in seconds since 1970";
        process_open_fds: Value = "process_open_fds",
            "Open file descriptors";
        process_max_fds: Value = "process_max_fds",
            "Most file descriptors that may be open";
    }
}

impl Metrics {
    /// What is exposed.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The library appends `_total` to what it is told is a counter.
fn register<I: Instrument>(registry: &mut Registry, name: &str, help: &str, instrument: &I) {
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, instrument.encoded());
}
