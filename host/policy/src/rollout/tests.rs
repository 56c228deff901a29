use super::*;
use crate::fake;

struct Bench {
    rollout: Rollout,
    now: Instant,
    out: Vec<Output>,
}

fn spec(sha: char) -> Arc<DecisionPolicy> {
    Arc::new(fake::policy("p", Hook::Route, sha))
}

fn with(spec: &Arc<DecisionPolicy>, change: impl FnOnce(&mut DecisionPolicy)) -> Arc<DecisionPolicy> {
    let mut changed = (**spec).clone();
    change(&mut changed);
    Arc::new(changed)
}

fn bytes(byte: u8) -> Module {
    Module::Present(Arc::from([byte]))
}

fn refused() -> LoadFailure {
    LoadFailure {
        stage: Stage::Checked,
        reason: "ForeignImport",
        message: "the module imports wasi:cli".into(),
        transient: false,
    }
}

impl Bench {
    fn new(spec: &Arc<DecisionPolicy>) -> Self {
        let mut out = Vec::new();
        let rollout = Rollout::new(spec.clone(), &mut out);
        assert_eq!(out, [Output::Unavailable(spec.clone())]);
        Self { rollout, now: Instant::now(), out: Vec::new() }
    }

    fn active(spec: &Arc<DecisionPolicy>) -> Self {
        let mut bench = Self::new(spec);
        let load = bench.load(Input::Module(bytes(1)));
        assert_eq!(bench.tell(Input::Finished(load, Ok(()))), [Output::Swap { load, policy: spec.clone() }]);
        bench
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        self.rollout.handle(self.now, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// Tells it, and expects a load to begin as the last thing.
    fn load(&mut self, input: Input) -> LoadId {
        match self.tell(input).last() {
            Some(Output::Load { load, .. }) => *load,
            other => panic!("expected a load, not {other:?}"),
        }
    }

    fn status(&self) -> PolicyStatus {
        self.rollout.status(None)
    }
}

#[test]
fn a_version_passes_every_stage_in_order_before_it_is_active() {
    let mut bench = Bench::new(&spec('a'));
    assert_eq!(bench.rollout.step(), Step::Pending);
    assert!(bench.rollout.settled(), "a missing module is not waited for");
    assert_eq!(bench.status().reason, "ConfigMapMissing");
    let load = bench.load(Input::Module(bytes(1)));
    assert!(!bench.rollout.settled());
    let mut steps = vec![bench.status().step];
    for stage in [Stage::Verified, Stage::Checked, Stage::Compiled, Stage::Configured, Stage::SelfTested] {
        assert!(bench.tell(Input::Passed(load, stage)).is_empty());
        steps.push(bench.status().step);
    }
    assert_eq!(steps, ["Pending", "Verified", "Checked", "Compiled", "Configured", "SelfTested"]);
    bench.tell(Input::Passed(load, Stage::Verified));
    assert_eq!(bench.status().step, "SelfTested", "a late report does not move it back");
    assert_eq!(bench.tell(Input::Finished(load, Ok(()))), [Output::Swap { load, policy: spec('a') }]);
    let status = bench.status();
    assert_eq!((status.step, status.reason, status.candidate), ("Active", "", None));
    assert_eq!(status.active, Some(spec('a').sha256.clone()));
}

#[test]
fn a_refused_candidate_leaves_the_active_version_in_force_and_says_why() {
    let mut bench = Bench::active(&spec('a'));
    let load = bench.load(Input::Spec(spec('b')));
    assert!(bench.tell(Input::Finished(load, Err(refused()))).is_empty());
    let status = bench.status();
    assert_eq!(
        (status.step, status.stage, status.reason),
        ("Rejected", Some(Stage::Checked), "ForeignImport")
    );
    assert_eq!(status.active, Some(spec('a').sha256.clone()));
    assert_eq!(status.candidate, Some(spec('b').sha256.clone()));
    assert!(bench.rollout.settled());
    assert!(bench.tell(Input::Spec(spec('b'))).is_empty(), "the same spec is not tried again");
    assert!(bench.tell(Input::Tick).is_empty());
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(
        json["message"],
        "refused at stage Checked: the module imports wasi:cli; the version loaded before stays in force"
    );
    assert_eq!((status.field, &*status.value), ("spec.plugin.configMap", &*spec('b').config_map));
    assert_eq!(json["hook"], "Route");
}

#[test]
fn going_back_to_the_active_version_needs_no_load() {
    let mut bench = Bench::active(&spec('a'));
    let load = bench.load(Input::Spec(spec('b')));
    assert_eq!(bench.tell(Input::Spec(spec('a'))), [Output::Cancel(load), Output::Update(spec('a'))]);
    assert_eq!(bench.rollout.step(), Step::Active);
    assert!(bench.tell(Input::Finished(load, Ok(()))).is_empty(), "the late result is dropped");
    assert_eq!(bench.status().active, Some(spec('a').sha256.clone()));
}

#[test]
fn a_change_of_match_alone_is_a_version_of_its_own_but_needs_no_load() {
    let mut bench = Bench::active(&spec('a'));
    let changed = with(&spec('a'), |policy| policy.service_selector = Some(Selector::default()));
    assert_ne!(VersionKey::of(&changed), VersionKey::of(&spec('a')));
    assert_eq!(bench.tell(Input::Spec(changed.clone())), [Output::Update(changed)]);
    assert_eq!(bench.rollout.step(), Step::Active);
}

#[test]
fn a_change_of_config_or_limits_is_loaded() {
    type Change = fn(&mut DecisionPolicy);
    let changes: [Change; 3] = [
        |policy| policy.config = r#"{"a":1}"#.into(),
        |policy| policy.fuel = Some(1),
        |policy| policy.memory = Some(1),
    ];
    for change in changes {
        let mut bench = Bench::active(&spec('a'));
        bench.load(Input::Spec(with(&spec('a'), change)));
    }
}

#[test]
fn a_new_priority_reaches_the_active_version_while_a_candidate_is_refused_but_a_new_match_does_not() {
    let mut bench = Bench::active(&spec('a'));
    let load = bench.load(Input::Spec(spec('b')));
    bench.tell(Input::Finished(load, Err(refused())));
    let both = with(&spec('b'), |policy| {
        policy.priority = 7;
        policy.service_selector = Some(Selector::default());
    });
    assert_eq!(
        bench.tell(Input::Spec(both)),
        [Output::Update(with(&spec('a'), |policy| policy.priority = 7))]
    );
    assert_eq!(bench.status().step, "Rejected");
}

#[test]
fn new_bytes_give_a_refused_candidate_another_try_and_leave_an_active_one_alone() {
    let mut bench = Bench::active(&spec('a'));
    assert!(bench.tell(Input::Module(bytes(2))).is_empty());
    let load = bench.load(Input::Spec(spec('b')));
    bench.tell(Input::Finished(load, Err(refused())));
    assert!(bench.tell(Input::Module(bytes(2))).is_empty(), "the same bytes");
    let again = bench.load(Input::Module(bytes(3)));
    assert_ne!(load, again);
}

#[test]
fn a_module_that_disappears_leaves_its_version_in_force_and_the_status_says_so() {
    let mut bench = Bench::active(&spec('a'));
    assert!(bench.tell(Input::Module(Module::NoConfigMap)).is_empty());
    let status = bench.status();
    assert_eq!((status.step, status.reason), ("Active", "ConfigMapMissing"));
    assert!(status.message.contains("stays in force"), "{}", status.message);
}

#[test]
fn a_module_that_disappears_while_it_loads_cancels_the_load() {
    let mut bench = Bench::new(&spec('a'));
    let load = bench.load(Input::Module(bytes(1)));
    assert_eq!(bench.tell(Input::Module(Module::NoKey)), [Output::Cancel(load)]);
    let status = bench.status();
    assert_eq!((status.step, status.reason), ("Pending", "KeyMissing"));
    assert_eq!(status.field, "spec.plugin.key");
}

#[test]
fn bytes_of_another_config_map_are_never_tried_for_a_new_one() {
    let mut bench = Bench::active(&spec('a'));
    let moved = with(&spec('b'), |policy| policy.config_map = "other".into());
    assert!(bench.tell(Input::Spec(moved)).is_empty(), "nothing is loaded before the module is told");
    bench.load(Input::Module(bytes(1)));
}

#[test]
fn a_fault_of_the_machine_is_tried_again_later_and_later() {
    let mut bench = Bench::new(&spec('a'));
    let mut load = bench.load(Input::Module(bytes(1)));
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let failure = LoadFailure { transient: true, ..refused() };
        assert!(bench.tell(Input::Finished(load, Err(failure))).is_empty());
        assert_eq!(bench.status().step, "Pending");
        let due = bench.rollout.next_deadline().unwrap();
        assert_eq!(due - bench.now, Duration::from_secs(seconds));
        assert!(bench.tell(Input::Tick).is_empty(), "not before its time");
        bench.now = due;
        load = bench.load(Input::Tick);
    }
}

#[test]
fn a_removed_policy_is_cancelled_and_dropped() {
    let mut bench = Bench::active(&spec('a'));
    let load = bench.load(Input::Spec(spec('b')));
    assert_eq!(bench.tell(Input::Removed), [Output::Cancel(load), Output::Drop("p".into())]);
    assert!(bench.tell(Input::Finished(load, Ok(()))).is_empty());
}

#[test]
fn a_swap_that_the_engine_refuses_leaves_the_version_before_it_in_force() {
    let mut bench = Bench::active(&spec('a'));
    let load = bench.load(Input::Spec(spec('b')));
    bench.tell(Input::Finished(load, Ok(())));
    let refused = || Input::SwapFailed(load, "InvalidInputs", "spec.config/keys: found a string".into());
    assert!(bench.tell(refused()).is_empty());
    let status = bench.status();
    assert_eq!((status.step, status.reason), ("Rejected", "InvalidInputs"));
    assert_eq!(status.active, Some(spec('a').sha256.clone()));
    assert_eq!(status.candidate, Some(spec('b').sha256.clone()));
    let load = bench.load(Input::Spec(spec('c')));
    bench.tell(Input::Finished(load, Ok(())));
    bench.tell(refused());
    assert_eq!(bench.status().step, "Active", "a late refusal of an earlier swap changes nothing");
}

#[test]
fn what_the_engine_would_refuse_is_a_failure_at_the_stage_it_belongs_to() {
    let error = SetError::Hook { policy: "p".into(), hook: Hook::Route, has: "Nodes".into() };
    let failure = LoadFailure::from(error);
    assert_eq!((failure.stage, failure.reason, failure.transient), (Stage::Checked, "HookMissing", false));
    assert_eq!(failure.message, "the module has no such hook, only Nodes");
}
