//! What the first announcement after a reboot waits for: kube-proxy's `/livez`.
//!
//! After a reboot a speaker is up before kube-proxy has programmed anything, and its peers would send traffic into a node
//! that refuses it. A speaker that restarts within one boot does not wait: the kernel forwards all the while.

use std::time::{Duration, Instant};

use crate::proxy_health::ProxyHealth;

/// The longest wait for a kube-proxy that answers and is not well yet: it lists every Service and endpoint of the cluster
/// first.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest wait where nobody listens: as long as a kubelet takes to start its pods after a reboot. Where something
/// else takes kube-proxy's place (Cilium, kube-router), every first start costs this much, unless a SpeakerConfig says
/// `proxyHealth: {enabled: false}`.
pub const PATIENCE_WITH_SILENCE: Duration = Duration::from_secs(20);

/// How the wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    /// kube-proxy is well, or nothing was to be waited for.
    Freely,
    /// Nobody listened.
    Silent,
    /// It answered, and was not well in time.
    Unwell,
}

/// Waits at most once.
#[derive(Debug)]
pub struct StartGate {
    since: Option<Instant>,
    passed: Option<Passed>,
}

impl StartGate {
    /// A gate that waits, unless this boot has announced before.
    pub fn new(restarted: bool) -> Self {
        Self { since: None, passed: restarted.then_some(Passed::Freely) }
    }

    /// Looks whether the wait is over. `asked`: kube-proxy is asked at all; `health`: what it said last.
    pub fn look(&mut self, now: Instant, asked: bool, health: Option<ProxyHealth>) -> Option<Passed> {
        let since = *self.since.get_or_insert(now);
        if self.passed.is_none() {
            self.passed = match health {
                _ if !asked => Some(Passed::Freely),
                Some(ProxyHealth::Well { .. }) => Some(Passed::Freely),
                Some(ProxyHealth::Unwell) => (now >= since + PATIENCE).then_some(Passed::Unwell),
                Some(ProxyHealth::Silent) | None => {
                    (now >= since + PATIENCE_WITH_SILENCE).then_some(Passed::Silent)
                }
            };
        }
        self.passed
    }

    /// How the wait ended, if it has.
    pub fn passed(&self) -> Option<Passed> {
        self.passed
    }

    /// When [`StartGate::look`] may end the wait without any news.
    pub fn deadline(&self, health: Option<ProxyHealth>) -> Option<Instant> {
        let patience = match health {
            Some(ProxyHealth::Unwell) => PATIENCE,
            _ => PATIENCE_WITH_SILENCE,
        };
        self.since.filter(|_| self.passed.is_none()).map(|since| since + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When the gate opens, and how, if kube-proxy says `health` all the time.
    fn opens(health: Option<ProxyHealth>) -> (u32, Passed) {
        let start = Instant::now();
        let mut gate = StartGate::new(false);
        for second in 0..100 {
            if let Some(passed) = gate.look(start + second * SECOND, true, health) {
                return (second, passed);
            }
        }
        panic!("never");
    }

    #[test]
    fn a_first_start_waits_as_long_as_what_kube_proxy_says_is_worth() {
        assert_eq!(opens(Some(ProxyHealth::Well { leaving: false })), (0, Passed::Freely));
        assert_eq!(opens(Some(ProxyHealth::Well { leaving: true })), (0, Passed::Freely));
        assert_eq!(opens(Some(ProxyHealth::Silent)), (20, Passed::Silent));
        assert_eq!(opens(None), (20, Passed::Silent));
        assert_eq!(opens(Some(ProxyHealth::Unwell)), (60, Passed::Unwell));
    }

    #[test]
    fn a_restart_within_one_boot_waits_for_nothing() {
        assert_eq!(StartGate::new(true).look(Instant::now(), true, None), Some(Passed::Freely));
    }

    #[test]
    fn where_kube_proxy_is_not_asked_nothing_is_waited_for() {
        assert_eq!(StartGate::new(false).look(Instant::now(), false, None), Some(Passed::Freely));
    }

    #[test]
    fn the_deadline_is_when_the_gate_opens_by_itself() {
        let start = Instant::now();
        let mut gate = StartGate::new(false);
        assert_eq!(gate.look(start, true, None), None);
        for health in [Some(ProxyHealth::Silent), Some(ProxyHealth::Unwell)] {
            let at = gate.deadline(health).unwrap();
            assert_eq!(gate.look(at - SECOND, true, health), None);
        }
        let at = gate.deadline(None).unwrap();
        assert_eq!(gate.look(at, true, None), Some(Passed::Silent));
        assert_eq!(gate.deadline(None), None);
    }
}
