//! When a process has announced everything for the first time, and whether routers hear of it at all.
//!
//! Two tasks. One waits until what is wanted is complete, then until every peer has all of it, and ends ([`follow`]); cancelling
//! it leaves the process not ready. The other tells the planner whether any session is up ([`tell_sessions`]); cancelling it
//! leaves the planner with what it was told last. They own nothing.

use std::sync::Arc;
use std::time::Duration;

use bellhop_core::ObjectName;
use bellhop_runtime::http::Condition;
use tokio::sync::{mpsc, watch};

use crate::bgp::{BgpSnapshot, PeerSnapshot, State};
use crate::planning::Event;

/// How long peers that cannot be reached hold readiness up. A rolling update waits for it on each node, and must not
/// stop because of one router that is down; a session that can be had comes up within a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells `announced` when the first full announcement is out.
pub async fn follow(mut snapshots: watch::Receiver<Arc<BgpSnapshot>>, announced: Condition) {
    if snapshots.wait_for(|snapshot| snapshot.ready).await.is_err() {
        return;
    }
    let all_out = async {
        loop {
            match missing(&snapshots.borrow_and_update()) {
                None => return true,
                Some(missing) => announced.unmet(missing),
            }
            if snapshots.changed().await.is_err() {
                return false;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all_out).await != Ok(false) {
        announced.met();
    }
}

/// Tells the planner whether any session is up, now and whenever that changes. Ends with the planner, or the BGP task.
pub async fn tell_sessions(mut snapshots: watch::Receiver<Arc<BgpSnapshot>>, events: mpsc::Sender<Event>) {
    let mut told = None;
    loop {
        let up = snapshots.borrow_and_update().peers.values().any(|peer| peer.state == State::Established);
        if told.replace(up) != Some(up) && events.send(Event::HasSession(up)).await.is_err() {
            return;
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// What is not out yet, in words.
fn missing(snapshot: &BgpSnapshot) -> Option<String> {
    let lacks = |(name, peer): (&ObjectName, &PeerSnapshot)| {
        if peer.state != State::Established {
            return Some(format!("no session with {name} yet"));
        }
        let refused: usize = peer.refused.iter().map(|refusal| refusal.prefixes).sum();
        (peer.prefixes_sent + refused < peer.prefixes_wanted)
            .then(|| format!("{name} has {} of {} prefixes", peer.prefixes_sent, peer.prefixes_wanted))
    };
    let lacking: Vec<String> = snapshot.peers.iter().filter_map(lacks).collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bellhop_bgp::Counters;
    use bellhop_runtime::http::Health;

    use super::*;

    fn snapshot(ready: bool, state: State, sent: usize) -> Arc<BgpSnapshot> {
        let peer = PeerSnapshot {
            peer: "router".into(),
            address: Some([192, 0, 2, 1].into()),
            router_id: None,
            peer_asn: 64_500,
            local_asn: 64_501,
            state,
            established_since: None,
            hold_time: 90,
            families: Vec::new(),
            graceful_restart: false,
            capabilities: Vec::new(),
            prefixes_wanted: 2,
            prefixes_sent: sent,
            updates_sent: 0,
            counters: Counters::default(),
            last_error: None,
            problem: None,
            refused: Vec::new(),
            bfd: None,
        };
        let peers = [("router".into(), peer)].into();
        Arc::new(BgpSnapshot { peers, ready, ..BgpSnapshot::default() })
    }

    /// Starts to follow; what comes to be known, and the condition.
    fn start(first: Arc<BgpSnapshot>) -> (watch::Sender<Arc<BgpSnapshot>>, Condition) {
        let (sender, snapshots) = watch::channel(first);
        let condition = Health::new(Instant::now()).condition("announced", "not yet");
        tokio::spawn(follow(snapshots, condition.clone()));
        (sender, condition)
    }

    /// Lets the task take in what has changed; time stands still.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ready_once_every_peer_has_all_that_it_should_have() {
        let (sender, condition) = start(snapshot(false, State::Established, 2));
        settle().await;
        assert!(!condition.holds(), "what is wanted is not complete yet");
        sender.send_replace(snapshot(true, State::Established, 1));
        settle().await;
        assert!(!condition.holds(), "one prefix is missing");
        sender.send_replace(snapshot(true, State::Established, 2));
        settle().await;
        assert!(condition.holds());
        sender.send_replace(snapshot(true, State::Active, 0));
        settle().await;
        assert!(condition.holds(), "once ready, always ready");
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_that_is_down_holds_readiness_up_for_a_while_only() {
        let (_sender, condition) = start(snapshot(true, State::Active, 0));
        tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
        assert!(!condition.holds());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(condition.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn without_peers_there_is_nothing_to_wait_for() {
        let (_sender, condition) = start(Arc::new(BgpSnapshot { ready: true, ..BgpSnapshot::default() }));
        settle().await;
        assert!(condition.holds());
    }
}
