//! Whether the API server answers.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::topic::Topic;
use crate::request::Failure;

/// Which topics had an answer to their last request. The API server is away when none had.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
    reachable: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    topics: usize,
    silent: BTreeSet<Topic>,
    answered: BTreeSet<Topic>,
    /// Whether the outage, or the first failure, was told.
    told: bool,
}

impl Health {
    /// No topic had an answer yet.
    pub(crate) fn new(topics: usize) -> (Self, watch::Receiver<bool>) {
        let (reachable, receiver) = watch::channel(false);
        let state = State { topics, silent: BTreeSet::new(), answered: BTreeSet::new(), told: false };
        (Self { state: Mutex::new(state), reachable }, receiver)
    }

    /// A request for the topic was answered, were it with a refusal.
    pub(crate) fn answered(&self, topic: Topic) {
        let mut state = self.state();
        state.silent.remove(&topic);
        state.answered.insert(topic);
        if self.reachable.send_if_modified(|reachable| !std::mem::replace(reachable, true)) {
            state.told = false;
            tracing::info!("the API server answers");
        }
    }

    /// A request for the topic was not answered.
    pub(crate) fn silent(&self, topic: Topic, failure: &Failure) {
        let mut state = self.state();
        state.answered.remove(&topic);
        state.silent.insert(topic);
        let away = state.answered.is_empty() && state.silent.len() == state.topics;
        let lost = away && self.reachable.send_if_modified(|reachable| std::mem::replace(reachable, false));
        if lost || (!state.told && !*self.reachable.borrow()) {
            state.told = true;
            tracing::warn!(%failure, "the API server does not answer; what is known stays in force");
        }
    }

    /// Whether the last request for the topic had no answer.
    pub(crate) fn is_silent(&self, topic: Topic) -> bool {
        self.state().silent.contains(&topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bellhop_index::Kind;

    use super::*;

    #[test]
    fn the_server_is_away_when_no_topic_has_an_answer_and_back_with_the_first_one() {
        let (a, b) = (Topic::Objects(Kind::Service), Topic::Objects(Kind::Node));
        let (health, reachable) = Health::new(2);
        let failure = Failure::silent("reset");
        assert!(!*reachable.borrow());
        health.answered(a);
        health.answered(b);
        health.silent(a, &failure);
        assert!(*reachable.borrow() && health.is_silent(a));
        health.silent(b, &failure);
        assert!(!*reachable.borrow());
        health.answered(b);
        assert!(*reachable.borrow());
    }
}
