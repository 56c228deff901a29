//! Whether Bellhop itself runs, as the API server has it: Leases, the DaemonSet, the speakers' pods.
//!
//! Leases carry times of the clocks of nodes, and the clock here is another one. One that looks as if it had run out is
//! therefore looked at again for as long as a renewal takes: it lives if it changes meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_api::SpeakerPhase;
use bellhop_api::conditions::Reason;
use bellhop_kubernetes::lease::SPEAKER_LEASE_PREFIX;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use tokio::time::Instant;

use super::Cluster;
use super::read::ReadError;
use super::speakers::{SPEAKERS, Speaker};
use super::status::{NodeRow, ProblemRow};

/// The Lease of the controllers.
const LEADER: &str = "bellhop-controller";

/// How far a clock of a node may be ahead of this one before its Lease is looked at again.
const AHEAD_SECONDS: i64 = 5;

/// How long a Lease holds that does not say so: as a speaker's.
const SPEAKER_LEASE_SECONDS: i64 = 40;

/// How long a Lease is looked at that seems to have run out: speakers renew theirs every 10 s, give or take a twentieth.
const SECOND_LOOK: Duration = Duration::from_secs(12);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Whether the holder of a Lease lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It renews the Lease.
    Lives,
    /// It has given the Lease back, or nobody ever held it.
    GivenBack,
    /// It has not renewed it in time.
    RanOut,
}

/// What the API server has of Bellhop's own processes; `None` where the user may not see it.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Leases of Bellhop's namespace, by name.
    pub leases: Option<BTreeMap<String, Life>>,
    /// How many nodes are to have a speaker, by DaemonSet.
    pub wanted: Option<BTreeMap<String, i32>>,
    /// The speakers' pods.
    pub pods: Option<Vec<Speaker>>,
    /// What is hidden, a line each.
    pub not_shown: Vec<String>,
}

/// A Lease by this clock. `None`: the clocks differ, or it ran out; only looking again tells.
fn life(lease: &Lease, now: Timestamp) -> Option<Life> {
    let spec = lease.spec.as_ref();
    let held = spec.and_then(|spec| spec.holder_identity.as_deref()).is_some_and(|holder| !holder.is_empty());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let (true, Some(renewed)) = (held, renewed) else { return Some(Life::GivenBack) };
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds).map_or(SPEAKER_LEASE_SECONDS, i64::from);
    (-AHEAD_SECONDS..=lasts).contains(&now.duration_since(renewed.0).as_secs()).then_some(Life::Lives)
}

fn name(lease: &Lease) -> String {
    lease.metadata.name.clone().unwrap_or_default()
}

/// Leases that were looked at, and those among them that are to be looked at again, as they were.
#[derive(Default)]
struct Looks {
    known: BTreeMap<String, Life>,
    doubtful: BTreeMap<String, Lease>,
}

impl Looks {
    fn first(leases: Vec<Lease>, now: Timestamp) -> Self {
        let mut looks = Self::default();
        for lease in leases {
            match life(&lease, now) {
                Some(life) => drop(looks.known.insert(name(&lease), life)),
                None => drop(looks.doubtful.insert(name(&lease), lease)),
            }
        }
        looks
    }

    /// One that was renewed since the first look lives, whatever the clocks say.
    fn again(&mut self, leases: &[Lease]) {
        for lease in leases {
            let time = |lease: &Lease| lease.spec.as_ref()?.renew_time.clone();
            let name = name(lease);
            if self.doubtful.get(&name).is_some_and(|before| time(before) != time(lease)) {
                self.doubtful.remove(&name);
                let given_back = time(lease).is_none()
                    || lease.spec.as_ref().is_none_or(|spec| spec.holder_identity.as_deref() == Some(""));
                self.known.insert(name, if given_back { Life::GivenBack } else { Life::Lives });
            }
        }
    }

    fn end(mut self) -> BTreeMap<String, Life> {
        self.known.extend(self.doubtful.into_keys().map(|name| (name, Life::RanOut)));
        self.known
    }
}

impl Cluster {
    /// What the API server has of Bellhop's own processes. Takes up to twelve seconds where a Lease has run out.
    ///
    /// # Errors
    /// As [`ReadError`] says; not when a list is forbidden.
    pub async fn running(&self) -> Result<Running, ReadError> {
        let labels = ListParams::default().labels(SPEAKERS);
        let (leases, sets) =
            futures::join!(self.leases(), self.list_in::<DaemonSet>(&self.namespace, &labels));
        let mut running = Running::default();
        running.leases = visible(leases, &mut running.not_shown)?;
        running.wanted = visible(sets, &mut running.not_shown)?.map(|sets| {
            let wanted = |set: &DaemonSet| set.status.as_ref().map_or(0, |set| set.desired_number_scheduled);
            sets.objects
                .iter()
                .map(|set| (set.metadata.name.clone().unwrap_or_default(), wanted(set)))
                .collect()
        });
        Ok(running)
    }

    async fn leases(&self) -> Result<BTreeMap<String, Life>, ReadError> {
        let list =
            || async { Ok(self.list_in::<Lease>(&self.namespace, &ListParams::default()).await?.objects) };
        let mut looks = Looks::first(list().await?, Timestamp::now());
        let end = Instant::now() + SECOND_LOOK;
        while !looks.doubtful.is_empty() && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
            looks.again(&list().await?);
        }
        Ok(looks.end())
    }
}

/// `None` and a line for what the user may not see.
fn visible<T>(read: Result<T, ReadError>, not_shown: &mut Vec<String>) -> Result<Option<T>, ReadError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ReadError::Forbidden(message)) => {
            not_shown.push(message);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What of Bellhop itself does not run as it should: no controller that leads, nodes without a speaker that lives and is
/// ready. What the user may not see is no trouble; `reports` says whether SpeakerStates may be seen.
pub fn troubles(namespace: &str, running: &Running, nodes: &[NodeRow], reports: bool) -> Vec<ProblemRow> {
    let mut troubles = Vec::new();
    let mut tell = |object: String, reason: Reason, message: String| {
        troubles.push(ProblemRow { object, node: None, reason: reason.to_string(), message });
    };
    let lease = |name: &str| running.leases.as_ref().map(|leases| leases.get(name).copied());
    let why_dead = |life: Option<Life>| match life {
        Some(Life::Lives) => None,
        Some(Life::RanOut) => Some("ran out"),
        Some(Life::GivenBack) => Some("was given back"),
        None => Some("is not there"),
    };
    if let Some(why) = lease(LEADER).and_then(why_dead) {
        let message = format!("no controller leads: the Lease {why}");
        tell(format!("Lease/{namespace}/{LEADER}"), Reason::NoLeader, message);
    }
    if running.pods.as_ref().is_some_and(Vec::is_empty) {
        let message = "no speaker's pod is here (--namespace names another namespace)".to_owned();
        tell(format!("Namespace/{namespace}"), Reason::NoSpeaker, message);
    }
    // A node that the DaemonSet left, or one where a speaker drained, may have a report of then.
    let has_pod =
        |node: &str| running.pods.as_ref().is_none_or(|pods| pods.iter().any(|speaker| speaker.node == node));
    let mut dead = 0;
    for row in nodes.iter().filter(|row| has_pod(&row.node)) {
        let node = format!("Node/{}", row.node);
        let why = lease(&format!("{SPEAKER_LEASE_PREFIX}{}", row.node)).and_then(why_dead);
        if let Some(why) = why {
            dead += 1;
            tell(node.clone(), Reason::NoSpeaker, format!("its speaker does not live: its Lease {why}"));
        }
        if let Some(trouble) = &row.trouble {
            tell(node.clone(), Reason::NoSpeaker, trouble.clone());
        }
        match &row.phase {
            Some(phase) if *phase == format!("{:?}", SpeakerPhase::Ready) => {}
            // Hidden, or told already.
            None if !reports || row.trouble.is_some() || why.is_some() => {}
            Some(phase) if *phase == format!("{:?}", SpeakerPhase::Draining) => {
                tell(node, Reason::Draining, "its speaker drains".into());
            }
            Some(phase) => tell(node, Reason::Pending, format!("its speaker is not ready: {phase}")),
            None => tell(node, Reason::Pending, "its speaker has not reported yet".into()),
        }
    }
    let live = running.leases.as_ref().map(|leases| {
        let speakers = leases.iter().filter(|(name, _)| name.starts_with(SPEAKER_LEASE_PREFIX));
        speakers.filter(|(_, life)| **life == Life::Lives).count()
    });
    let wanted = running.wanted.iter().flatten();
    if let Some(live) = live {
        for (name, wanted) in
            wanted.filter(|(_, wanted)| usize::try_from(**wanted).unwrap_or(0) > live + dead)
        {
            let message = format!("{wanted} nodes are to have a speaker, {live} have one that lives");
            tell(format!("DaemonSet/{namespace}/{name}"), Reason::NoSpeaker, message);
        }
    }
    troubles
}

#[cfg(test)]
mod tests;
