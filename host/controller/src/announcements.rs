//! Which addresses are announced by at least one node, by what the speakers report.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_api::{ConditionStatus, Reason, SpeakerStateStatus};
use bellhop_core::objects::AddressRange;
use bellhop_core::{ObjectName, ServiceKey};

use crate::conditions::Told;

/// What one speaker reports.
#[derive(Clone, PartialEq, Debug, Default)]
struct Speaker {
    ranges: Vec<AddressRange>,
    /// It announces more than its report has room for.
    truncated: bool,
    exceptions: BTreeMap<ServiceKey, (String, String)>,
    /// What it says of policies that it could not bring into force.
    policies: BTreeMap<ObjectName, String>,
}

/// The reports of all speakers that live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announcements {
    speakers: BTreeMap<ObjectName, Speaker>,
    /// The ranges of all of them, sorted and disjoint; `None` after a change.
    merged: Option<Vec<(IpAddr, IpAddr)>>,
}

impl Announcements {
    /// A speaker reports, or its Lease ran out, or it is gone (`None`). True when that changes something.
    pub(crate) fn report(&mut self, node: &ObjectName, status: Option<&SpeakerStateStatus>) -> bool {
        let speaker = status.map(Speaker::of);
        if self.speakers.get(node) == speaker.as_ref() {
            return false;
        }
        match speaker {
            Some(speaker) => self.speakers.insert(node.clone(), speaker),
            None => self.speakers.remove(node),
        };
        self.merged = None;
        true
    }

    /// What is to be said of a Service that has these addresses; `None` where the reports do not tell.
    pub(crate) fn told(&mut self, service: &ServiceKey, addresses: &[IpAddr]) -> Option<Told> {
        if addresses.iter().any(|address| self.announced(*address)) {
            let message = "at least one node announces it";
            return Some(Told::new(ConditionStatus::True, Reason::Announced.as_str(), message));
        }
        if self.speakers.values().any(|speaker| speaker.truncated) {
            return None;
        }
        let exception =
            self.speakers.iter().find_map(|(node, speaker)| Some((node, speaker.exceptions.get(service)?)));
        Some(match exception {
            Some((node, (reason, message))) => {
                Told::new(ConditionStatus::False, reason, format!("no node announces it; {node}: {message}"))
            }
            None if self.speakers.is_empty() => {
                let message = "no speaker is live; look at the pods of the DaemonSet bellhop-speaker";
                Told::new(ConditionStatus::False, Reason::NoSpeaker.as_str(), message)
            }
            None => {
                let message = "no node announces it; kubectl bellhop explain says why";
                Told::new(ConditionStatus::False, Reason::NotAnnounced.as_str(), message)
            }
        })
    }

    /// Why a policy's version in force is not in force on some node.
    pub(crate) fn policy_trouble(&self, policy: &ObjectName) -> Option<(&ObjectName, &str)> {
        self.speakers.iter().find_map(|(node, speaker)| Some((node, speaker.policies.get(policy)?.as_str())))
    }

    fn announced(&mut self, address: IpAddr) -> bool {
        let speakers = &self.speakers;
        let merged = self.merged.get_or_insert_with(|| {
            merged(speakers.values().flat_map(|speaker| speaker.ranges.iter().copied()))
        });
        let after = merged.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|index| address <= merged[index].1)
    }
}

impl Speaker {
    fn of(status: &SpeakerStateStatus) -> Self {
        let ranges: Vec<AddressRange> = status.announced.iter().filter_map(|text| range(text)).collect();
        let exceptions = status.exceptions.iter().map(|exception| {
            let key = ServiceKey::new(exception.namespace.as_str(), exception.name.as_str());
            (key, (exception.reason.clone(), exception.message.clone()))
        });
        let policies = status.policies.iter().filter(|policy| !policy.message.is_empty());
        Self {
            truncated: status.announced.len() >= RANGES_MAX,
            ranges,
            exceptions: exceptions.collect(),
            policies: policies.map(|policy| (policy.name.as_str().into(), policy.message.clone())).collect(),
        }
    }
}

/// Most ranges in `SpeakerState.status.announced`.
const RANGES_MAX: usize = 4096;

/// One address, or `a-b` with both ends.
fn range(text: &str) -> Option<AddressRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    AddressRange::new(first.parse().ok()?, last.parse().ok()?)
}

/// Ranges as sorted and disjoint ones. IPv4 sorts before IPv6.
fn merged(ranges: impl Iterator<Item = AddressRange>) -> Vec<(IpAddr, IpAddr)> {
    let mut ranges: Vec<(IpAddr, IpAddr)> = ranges.map(|range| (range.first(), range.last())).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use bellhop_api::SpeakerException;

    use super::*;

    fn state(announced: &[&str]) -> SpeakerStateStatus {
        let announced = announced.iter().map(|text| (*text).to_owned()).collect();
        SpeakerStateStatus { announced, ..Default::default() }
    }

    fn told(announcements: &mut Announcements, address: &str) -> (ConditionStatus, String) {
        let key = ServiceKey::new("web", "shop");
        let told = announcements.told(&key, &[address.parse().unwrap()]).unwrap();
        (told.status, told.reason)
    }

    #[test]
    fn a_service_is_announced_while_any_live_speaker_has_its_address_in_a_range() {
        let mut all = Announcements::default();
        assert!(all.report(&"a".into(), Some(&state(&["203.0.113.1-203.0.113.4", "2001:db8::1"]))));
        assert!(all.report(&"b".into(), Some(&state(&["203.0.113.3-203.0.113.9"]))));
        assert!(!all.report(&"b".into(), Some(&state(&["203.0.113.3-203.0.113.9"]))));
        for (address, announced) in [
            ("203.0.113.0", false),
            ("203.0.113.1", true),
            ("203.0.113.9", true),
            ("203.0.113.10", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(told(&mut all, address).0 == ConditionStatus::True, announced, "{address}");
        }
        all.report(&"b".into(), None);
        assert_eq!(told(&mut all, "203.0.113.9").0, ConditionStatus::False);
    }

    #[test]
    fn what_is_not_announced_has_the_reason_that_a_speaker_gives() {
        let mut all = Announcements::default();
        assert_eq!(told(&mut all, "203.0.113.1").1, "NoSpeaker");
        all.report(&"a".into(), Some(&state(&[])));
        assert_eq!(told(&mut all, "203.0.113.1").1, "NotAnnounced");
        let exception = SpeakerException {
            namespace: "web".into(),
            name: "shop".into(),
            address: "203.0.113.1".into(),
            reason: "NoEndpoints".into(),
            message: "no endpoint is ready".into(),
        };
        all.report(&"a".into(), Some(&SpeakerStateStatus { exceptions: vec![exception], ..state(&[]) }));
        assert_eq!(told(&mut all, "203.0.113.1").1, "NoEndpoints");
    }
}
