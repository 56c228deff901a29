//! The thread that brings versions of policies through their first stages: verified, checked and compiled in the
//! child, configured, self-tested.
//!
//! One version at a time: a compile child may take half of the container's memory. The planner keeps at most one job
//! per policy under way, so that `DEPTH` bounds what waits.

use std::path::PathBuf;
use std::sync::Arc;

use bellhop_core::ObjectName;
use bellhop_core::objects::DecisionPolicy;
use bellhop_policy_engine::Guest;
use bellhop_policy_engine::rollout::LoadId;
use bellhop_sandbox::{CompilerCommand, Limits};
pub use bellhop_sandbox::{LoadError, Refusal, Stage};
use tokio::sync::mpsc;

use crate::http::Heartbeat;

/// Jobs that wait: one per policy, and clusters have a handful of policies.
const DEPTH: usize = 64;

/// A version to load.
#[derive(Clone, Debug)]
pub struct Job {
    /// The policy, whose config and limits are part of the version.
    pub policy: Arc<DecisionPolicy>,
    /// Which load the planner means; comes back with the result.
    pub load: LoadId,
    /// The module as the ConfigMap has it, compressed or not.
    pub module: Arc<[u8]>,
}

/// What came of it.
pub struct Loaded {
    /// The policy.
    pub policy: ObjectName,
    /// The job's load.
    pub load: LoadId,
    /// sha256 of the module.
    pub sha256: Arc<str>,
    /// Ready to be called, or where it was refused and why.
    pub result: Result<Arc<dyn Guest>, LoadError>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("policy", &self.policy)
            .field("load", &self.load)
            .field("error", &self.result.as_ref().err())
            .finish()
    }
}

/// Starts the thread. It ends when the sender or the planner is gone; otherwise `heartbeat` tells.
pub fn start<Event>(
    compiler: PathBuf,
    planner: mpsc::Sender<Event>,
    heartbeat: Heartbeat,
) -> mpsc::Sender<Job>
where
    Event: From<Box<Loaded>> + Send + 'static,
{
    let (sender, mut inbox) = mpsc::channel::<Job>(DEPTH);
    std::thread::spawn(move || {
        let compiler = CompilerCommand::new(compiler);
        while let Some(job) = inbox.blocking_recv() {
            let loaded = load(&compiler, job);
            if planner.blocking_send(Box::new(loaded).into()).is_err() {
                break;
            }
        }
        heartbeat.retire();
    });
    sender
}

fn load(compiler: &CompilerCommand, job: Job) -> Loaded {
    let limits = Limits { fuel: job.policy.fuel, memory: job.policy.memory };
    let result = bellhop_sandbox::load(&job.module, &job.policy.sha256, &job.policy.config, limits, compiler);
    Loaded {
        policy: job.policy.name.clone(),
        load: job.load,
        sha256: job.policy.sha256.clone(),
        result: result.map(|loaded| Arc::new(loaded.guest) as Arc<dyn Guest>),
    }
}
