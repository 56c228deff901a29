//! What a writer must know of objects: their versions, and of their status what is Bellhop's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_api::{Condition, LOAD_BALANCER_CLASS, SILENT_NODES};
use bellhop_core::ObjectRef;
use bellhop_core::names::{NamespacedName, shared};
use bellhop_index::{Kind, Options};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::topic::Topic;
use super::{Observed, Status, Version};
use crate::lease::{SPEAKER_LEASE_DURATION, SPEAKER_LEASE_PREFIX};

/// Conditions of this prefix are Bellhop's.
const CONDITIONS: &str = "bellhop.dev/";

/// The label of the controller's copies of versions.
const COPY_LABEL: &str = "bellhop.dev/policy";

/// The versions seen last.
#[derive(Debug)]
pub(crate) struct Observations {
    options: Options,
    topics: BTreeMap<Topic, Kept>,
    leases: BTreeMap<Arc<str>, Lease>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<NamespacedName, Entry>,
    list: u32,
}

#[derive(Debug)]
struct Entry {
    resource_version: Arc<str>,
    list: u32,
    /// Kept for SpeakerStates, which are told again when their Lease ends.
    version: Option<Box<Version>>,
}

/// The Lease of a speaker.
#[derive(Debug)]
struct Lease {
    /// Holder and `spec.renewTime`, of which only changes count: the clock of another node may be wrong.
    renewal: String,
    seen: Instant,
    live: bool,
}

impl Observations {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, topics: BTreeMap::new(), leases: BTreeMap::new() }
    }

    pub(crate) fn relist(&mut self, topic: Topic) {
        self.topics.entry(topic).or_default().list += 1;
    }

    /// Tells of what was not in the list.
    pub(crate) fn relisted(&mut self, topic: Topic) -> Vec<Observed> {
        let kept = self.topics.entry(topic).or_default();
        let gone = kept.entries.iter().filter(|(_, entry)| entry.list != kept.list);
        let gone: Vec<NamespacedName> = gone.map(|(key, _)| key.clone()).collect();
        gone.into_iter().filter_map(|key| self.gone(topic, &key.namespace, &key.name)).collect()
    }

    pub(crate) fn gone(&mut self, topic: Topic, namespace: &str, name: &str) -> Option<Observed> {
        let key = NamespacedName::new(namespace, name);
        self.topics.entry(topic).or_default().entries.remove(&key)?;
        if topic == Topic::SpeakerLeases {
            let node = name.strip_prefix(SPEAKER_LEASE_PREFIX)?;
            self.leases.remove(node);
            return self.speaker(node);
        }
        Some(Observed { object: object(topic, &key), version: None })
    }

    /// An object was seen; `None` where it is nothing new, or nothing to a writer.
    pub(crate) fn apply(&mut self, topic: Topic, value: &Value, now: Instant) -> Option<Observed> {
        let metadata = value.get("metadata")?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let key = NamespacedName::new(shared(text("namespace").unwrap_or_default()), text("name")?);
        let resource_version: Arc<str> = text("resourceVersion")?.into();
        let kept = self.topics.entry(topic).or_default();
        let list = kept.list;
        let known = kept.entries.get_mut(&key);
        let is_known = known.is_some();
        if let Some(entry) = known {
            entry.list = list;
            if entry.resource_version == resource_version {
                return None;
            }
        }
        let status = self.status(topic, value, is_known)?;
        let mut version = Version {
            uid: text("uid").unwrap_or_default().into(),
            resource_version: resource_version.clone(),
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            status,
        };
        if topic == Topic::SpeakerStates
            && let Status::Speaker { live, .. } = &mut version.status
        {
            *live = self.leases.get(&key.name).is_some_and(|lease| lease.live);
        }
        let keep = (topic == Topic::SpeakerStates).then(|| Box::new(version.clone()));
        let entry = Entry { resource_version, list, version: keep };
        self.topics.entry(topic).or_default().entries.insert(key.clone(), entry);
        if topic == Topic::SpeakerLeases {
            return self.renewed(&key.name, value, now);
        }
        Some(Observed { object: object(topic, &key), version: Some(version) })
    }

    /// Ends the Leases that were not renewed in time. While Leases cannot be watched (`hold`) all stay as they are.
    pub(crate) fn expire(&mut self, now: Instant, hold: bool) -> Vec<Observed> {
        let mut ended = Vec::new();
        for (node, lease) in self.leases.iter_mut().filter(|(_, lease)| lease.live) {
            if hold {
                lease.seen = now;
            } else if now.saturating_duration_since(lease.seen) >= SPEAKER_LEASE_DURATION {
                lease.live = false;
                ended.push(node.clone());
            }
        }
        ended.iter().filter_map(|node| self.speaker(node)).collect()
    }

    /// The Lease of a speaker was seen.
    fn renewed(&mut self, name: &str, value: &Value, now: Instant) -> Option<Observed> {
        let node = name.strip_prefix(SPEAKER_LEASE_PREFIX)?;
        let spec = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or_default();
        let holder = spec("/spec/holderIdentity");
        let renewal = format!("{holder} {}", spec("/spec/renewTime"));
        let before = self.leases.get(node);
        if before.is_some_and(|lease| lease.renewal == renewal) {
            return None;
        }
        let was_live = before.is_some_and(|lease| lease.live);
        // An empty holder gave the Lease back: a clean stop.
        let live = !holder.is_empty();
        self.leases.insert(node.into(), Lease { renewal, seen: now, live });
        if was_live == live { None } else { self.speaker(node) }
    }

    /// The SpeakerState of a node, told again because its Lease began or ended.
    fn speaker(&mut self, node: &str) -> Option<Observed> {
        let alive = self.leases.get(node).is_some_and(|lease| lease.live);
        let key = NamespacedName::new("", node);
        let version = self.topics.get_mut(&Topic::SpeakerStates)?.entries.get_mut(&key)?.version.as_mut()?;
        match &mut version.status {
            Status::Speaker { live, .. } if *live != alive => *live = alive,
            _ => return None,
        }
        let version = Some((**version).clone());
        Some(Observed { object: object(Topic::SpeakerStates, &key), version })
    }

    /// What of a status matters; `None` where the object is nothing to a writer.
    fn status(&self, topic: Topic, value: &Value, known: bool) -> Option<Status> {
        let conditions = || list::<Condition>(value, "/status/conditions");
        Some(match topic {
            Topic::Objects(Kind::Service) => {
                let mut conditions = conditions();
                conditions.retain(|condition| condition.type_.starts_with(CONDITIONS));
                let ours = is_ours(value, &self.options);
                if !(known || ours || !conditions.is_empty()) {
                    return None;
                }
                let ingress = list::<Value>(value, "/status/loadBalancer/ingress");
                let address = |entry: &Value| entry.get("ip")?.as_str()?.parse().ok();
                let ingress: Vec<IpAddr> = ingress.iter().filter_map(address).collect();
                Status::Service { ingress, conditions }
            }
            Topic::Objects(Kind::DecisionPolicy) => Status::Policy(Box::new(status(value))),
            Topic::Objects(Kind::BgpPeer) => Status::Peer(Box::new(status(value))),
            Topic::Objects(Kind::ConfigMap) => {
                let told = value.pointer("/metadata/name").is_some_and(|name| name == SILENT_NODES);
                if !told {
                    value.pointer("/metadata/labels")?.get(COPY_LABEL)?;
                }
                Status::None
            }
            Topic::Objects(Kind::Namespace | Kind::Node | Kind::EndpointSlice) => return None,
            Topic::Objects(_) => Status::Conditions(conditions()),
            Topic::SpeakerStates => Status::Speaker { state: Box::new(status(value)), live: false },
            Topic::SpeakerLeases | Topic::SilentNodes => Status::None,
        })
    }
}

/// Whether a Service asks Bellhop for an address, or is of its class.
fn is_ours(value: &Value, options: &Options) -> bool {
    let spec = |name: &str| value.get("spec").and_then(|spec| spec.get(name)).and_then(Value::as_str);
    let class = spec("loadBalancerClass").filter(|class| !class.is_empty());
    spec("type") == Some("LoadBalancer")
        && class.map_or(options.classless, |class| class == LOAD_BALANCER_CLASS)
}

/// A list in an object, without the entries that cannot be read; empty where it is absent.
fn list<T: DeserializeOwned>(value: &Value, pointer: &str) -> Vec<T> {
    let entries = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| T::deserialize(entry).ok()).collect()
}

/// The status of an object without what of it cannot be read, as what a newer version wrote: a value of an enumeration that is
/// not known must not cost its neighbours. Every field of `T` may be absent.
fn status<T: DeserializeOwned + Default>(value: &Value) -> T {
    let Some(status) = value.get("status").filter(|status| status.is_object()) else { return T::default() };
    if let Ok(whole) = T::deserialize(status) {
        return whole;
    }
    let reads = |field: &str, value: &Value| T::deserialize(json!({ field: value })).is_ok();
    let mut fields = status.as_object().cloned().unwrap_or_default();
    fields.retain(|field, value| {
        if let Value::Array(entries) = value {
            entries.retain(|entry| reads(field, &json!([entry])));
        }
        reads(field, value)
    });
    T::deserialize(Value::Object(fields)).unwrap_or_default()
}

fn object(topic: Topic, key: &NamespacedName) -> ObjectRef {
    let resource = topic.resource();
    if resource.namespaced {
        ObjectRef::namespaced(resource.kind, key)
    } else {
        ObjectRef::cluster(resource.kind, key.name.clone())
    }
}

/// How often Leases are looked at.
pub(crate) const EXPIRY_TICK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn service(version: &str, class: &str) -> Value {
        json!({
            "metadata": {"namespace": "web", "name": "a", "uid": "u", "resourceVersion": version},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": class},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "x"}]},
                "conditions": [{"type": "other.example/x", "status": "True", "reason": "X", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        })
    }

    fn lease(node: &str, version: &str, holder: &str) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": format!("bellhop-speaker-{node}"), "resourceVersion": version},
            "spec": {"holderIdentity": holder, "renewTime": format!("t{version}")},
        })
    }

    fn state(node: &str) -> Value {
        json!({"metadata": {"name": node, "uid": "u", "resourceVersion": "1"}, "status": {"announcedCount": 3}})
    }

    fn live(observed: Option<&Observed>) -> Option<bool> {
        match &observed?.version.as_ref()?.status {
            Status::Speaker { live, state } => {
                assert_eq!(state.announced_count, 3);
                Some(*live)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_is_told_once_and_its_end_too() {
        let (topic, now) = (Topic::Objects(Kind::Service), Instant::now());
        let mut observations = Observations::new(Options::default());
        let ours = service("1", LOAD_BALANCER_CLASS);
        let seen = observations.apply(topic, &ours, now).unwrap();
        let version = seen.version.unwrap();
        assert_eq!((&*version.uid, &*version.resource_version), ("u", "1"));
        let ingress = vec!["203.0.113.7".parse().unwrap()];
        assert_eq!(version.status, Status::Service { ingress, conditions: vec![] });
        observations.relist(topic);
        assert_eq!(observations.apply(topic, &ours, now), None);
        assert_eq!(observations.relisted(topic), []);
        observations.relist(topic);
        let gone = observations.relisted(topic);
        assert_eq!((gone[0].object.to_string().as_str(), &gone[0].version), ("Service/web/a", &None));
        assert_eq!(observations.apply(topic, &service("2", "other.example/lb"), now), None);
    }

    /// What is made of the status of an object that a newer version wrote.
    fn read(topic: Topic, status: Value) -> Status {
        let metadata = json!({"name": "a", "uid": "u", "resourceVersion": "1"});
        let object = json!({"metadata": metadata, "status": status});
        let seen = Observations::new(Options::default()).apply(topic, &object, Instant::now());
        seen.unwrap().version.unwrap().status
    }

    fn condition(status: &str) -> Value {
        json!({"type": "Ready", "status": status, "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn a_step_that_a_newer_version_knows_does_not_cost_the_version_in_force() {
        let digest = "a".repeat(64);
        let status = json!({
            "active": {"sha256": digest, "configMap": "copy", "signedBy": {"key": "k"}},
            "step": "Signed", "conditions": [condition("Perhaps"), condition("True")], "signatures": 3,
        });
        let Status::Policy(read) = read(Topic::Objects(Kind::DecisionPolicy), status) else { panic!() };
        let active = read.active.as_ref().unwrap();
        assert_eq!((active.sha256.as_str(), active.config_map.as_str()), (digest.as_str(), "copy"));
        assert_eq!((read.step, read.conditions.len()), (None, 1));
    }

    #[test]
    fn a_phase_that_a_newer_version_knows_does_not_cost_what_the_speaker_announces() {
        let session = json!({"peer": "router", "address": "192.0.2.1", "state": "Established"});
        let status = json!({
            "phase": "Pausing", "announced": ["203.0.113.7"], "announcedCount": 1,
            "sessions": [{"peer": "of another shape"}, session], "exceptionCount": "many",
        });
        let Status::Speaker { state, .. } = read(Topic::SpeakerStates, status) else { panic!() };
        assert_eq!((state.phase, state.announced_count, state.exception_count), (None, 1, 0));
        assert_eq!(state.announced, ["203.0.113.7"]);
        assert_eq!((state.sessions.len(), state.sessions[0].peer.as_str()), (1, "router"));
    }

    #[test]
    fn what_is_no_status_at_all_is_read_as_none() {
        for status in [json!(null), json!("none"), json!([]), json!({"active": 5})] {
            let read = read(Topic::Objects(Kind::DecisionPolicy), status);
            assert_eq!(read, Status::Policy(Box::default()));
        }
    }

    #[test]
    fn a_speaker_lives_while_its_lease_is_seen_to_be_renewed() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut observations = Observations::new(Options::default());
        assert_eq!(live(observations.apply(Topic::SpeakerStates, &state("a"), start).as_ref()), Some(false));
        let first = observations.apply(Topic::SpeakerLeases, &lease("a", "1", "pod"), start);
        assert_eq!(live(first.as_ref()), Some(true));
        // Renewed after 30 s: lives for 40 s more, whatever times the Lease names.
        let renewed = observations.apply(Topic::SpeakerLeases, &lease("a", "2", "pod"), start + 30 * second);
        assert_eq!(renewed, None);
        assert_eq!(observations.expire(start + 69 * second, false), []);
        // The watch of Leases is down: nobody dies of that.
        assert_eq!(observations.expire(start + 100 * second, true), []);
        assert_eq!(observations.expire(start + 139 * second, false), []);
        assert_eq!(live(observations.expire(start + 140 * second, false).first()), Some(false));
        let again = observations.apply(Topic::SpeakerLeases, &lease("a", "3", "pod"), start + 141 * second);
        assert_eq!(live(again.as_ref()), Some(true));
        let given_back = observations.apply(Topic::SpeakerLeases, &lease("a", "4", ""), start + 142 * second);
        assert_eq!(live(given_back.as_ref()), Some(false));
    }
}
