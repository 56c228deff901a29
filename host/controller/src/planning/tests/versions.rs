//! What a DecisionPolicy's status says of the versions of its modules.

use bellhop_core::decision::AddressDecision;
use bellhop_core::objects::Hook;
use bellhop_index::{Index, Options};
use bellhop_policy_engine::Guest;
use bellhop_policy_engine::guest::{
    AddressQuestion, Called, Cost, GuestRoute, GuestVerdict, Inputs, Metadata, NodesQuestion, Noted,
    RouteQuestion,
};
use bellhop_runtime::loader::{Job, LoadError, Loaded, Refusal, Stage};

use super::*;

/// A guest that is never asked.
struct Silent {
    digest: Arc<str>,
    metadata: Metadata,
}

fn silence<T>() -> Called<Noted<T>> {
    Called { result: Ok(Noted { answer: None, note: None }), cost: Cost::default(), log: Vec::new() }
}

impl Guest for Silent {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn digest(&self) -> &Arc<str> {
        &self.digest
    }
    fn configure(&self) -> Called<()> {
        Called { result: Ok(()), cost: Cost::default(), log: Vec::new() }
    }
    fn address(&self, _: &AddressQuestion) -> Called<Noted<AddressDecision>> {
        silence()
    }
    fn nodes(&self, _: &NodesQuestion) -> Called<Vec<Noted<GuestVerdict>>> {
        Called { result: Ok(Vec::new()), cost: Cost::default(), log: Vec::new() }
    }
    fn route(&self, _: &RouteQuestion) -> Called<Noted<GuestRoute>> {
        silence()
    }
}

/// The policy with a module of this digest; its bytes are nobody's concern here.
fn policy(sha256: char) -> Vec<Delta> {
    let sha256 = sha256.to_string().repeat(64);
    let manifests = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{namespace: bellhop-system, name: module}}, \
         binaryData: {{module.wasm.zst: AGFzbQ==}}}}\n---\n\
         {{apiVersion: bellhop.dev/v1alpha1, kind: DecisionPolicy, metadata: {{name: p}}, \
         spec: {{hook: Address, plugin: {{configMap: module, sha256: {sha256}}}}}}}"
    );
    Index::new(Options::default()).apply("m.yaml", manifests.as_bytes())
}

impl Bench {
    /// The module that is to be loaded, once it is asked for.
    fn job(&mut self) -> Job {
        self.settle();
        self.replica.jobs.try_recv().expect("a module is to be loaded")
    }

    fn loaded(&mut self, job: &Job, result: Result<Arc<dyn Guest>, LoadError>) {
        let (policy, sha256) = (job.policy.name.clone(), job.policy.sha256.clone());
        let loaded = Loaded { policy, load: job.load, sha256, result };
        self.replica.planner.take(self.now, Input::Loaded(Box::new(loaded)));
        self.settle();
    }

    fn policy_status(&self) -> bellhop_api::DecisionPolicyStatus {
        match &self.api.objects[&ObjectRef::cluster("DecisionPolicy", "p")].status {
            Status::Policy(status) => (**status).clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn serving(job: &Job, version: &str) -> Arc<dyn Guest> {
    Arc::new(Silent {
        digest: job.policy.sha256.clone(),
        metadata: Metadata {
            name: "silent".into(),
            version: version.into(),
            sdk: "0.1.0".into(),
            hooks: [Hook::Address].into(),
            inputs: Inputs::default(),
            config_schema: serde_json::Value::Null,
            self_tests: Vec::new(),
        },
    })
}

#[test]
fn a_policy_names_the_version_of_the_module_in_force_and_of_the_one_that_was_refused() {
    let mut bench = Bench::new();
    bench.api.put_manifests(policy('a'));
    let job = bench.job();
    assert_eq!(bench.policy_status().candidate.map(|candidate| candidate.version), Some(String::new()));
    bench.loaded(&job, Ok(serving(&job, "1.2.0")));
    assert_eq!(bench.policy_status().active.map(|active| active.version).as_deref(), Some("1.2.0"));

    bench.api.put_manifests(policy('b'));
    let job = bench.job();
    let refused = LoadError {
        stage: Stage::SelfTested,
        refusal: Refusal::SelfTest,
        message: "the self-test fails".into(),
        version: "1.3.0-rc.1".into(),
    };
    bench.loaded(&job, Err(refused));
    let status = bench.policy_status();
    assert_eq!(status.active.map(|active| active.version).as_deref(), Some("1.2.0"));
    assert_eq!(status.candidate.map(|candidate| candidate.version).as_deref(), Some("1.3.0-rc.1"));
}

#[test]
fn a_version_that_stands_in_the_status_stays_until_its_module_is_loaded_again() {
    let mut bench = Bench::new();
    bench.api.put_manifests(policy('a'));
    let job = bench.job();
    bench.loaded(&job, Ok(serving(&job, "1.2.0")));
    bench.restart();
    let job = bench.job();
    bench.wait(2);
    assert_eq!(bench.policy_status().active.map(|active| active.version).as_deref(), Some("1.2.0"));
    bench.loaded(&job, Ok(serving(&job, "1.2.0")));
    let writes = bench.writes();
    assert!(!writes.contains(&"status DecisionPolicy/p".to_owned()), "{writes:?}");
}
