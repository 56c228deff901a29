use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_core::World;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn service(name: &str, class: &str, port: u16) -> Value {
    json!({
        "metadata": {"namespace": "web", "name": name, "uid": format!("uid-{name}"), "labels": {"app": name}},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": class, "ipFamilies": ["IPv4"],
            "ports": [{"protocol": "TCP", "port": port}],
        },
    })
}

fn ours(name: &str, port: u16) -> Value {
    service(name, bellhop_api::LOAD_BALANCER_CLASS, port)
}

fn peer(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"peerAddress": address, "peerASN": 64512}})
}

fn policy(active: Option<&str>) -> Value {
    let status = active.map(|name| json!({"active": {"sha256": "0".repeat(64), "configMap": name}}));
    json!({
        "metadata": {"name": "p"},
        "spec": {"hook": "Route", "plugin": {"configMap": "theirs", "sha256": "1".repeat(64)}},
        "status": status.unwrap_or_default(),
    })
}

/// A copy of a version whose policy has this priority.
fn copy(name: &str, priority: i32) -> Value {
    let spec = json!({
        "hook": "Route", "priority": priority, "plugin": {"configMap": "theirs", "sha256": "0".repeat(64)},
    });
    json!({
        "metadata": {"namespace": "bellhop-system", "name": name},
        "data": {"policy.json": spec.to_string()}, "binaryData": {"module.wasm.zst": "AGFzbQ=="},
    })
}

fn specs() -> Watched {
    Watched::new(Options::default(), Policies::Specs)
}

fn copies() -> Watched {
    Watched::new(Options::default(), Policies::Copies)
}

/// Deltas in short: `+Service/web/a`, `-BGPPeer/b`, `!BGPPeer/b: DuplicatePeer`, `!BGPPeer/b: right`.
fn short(deltas: &[Delta]) -> Vec<String> {
    let one = |delta: &Delta| match delta {
        Delta::Problems(object, problems) if problems.is_empty() => format!("!{object}: right"),
        Delta::Problems(object, problems) => format!("!{object}: {}", problems[0].reason),
        other => {
            let (kind, key, projection) = Projection::of(other.clone()).unwrap();
            let sign = if projection.is_some() { '+' } else { '-' };
            format!("{sign}{}/{}", kind.as_str(), key.name)
        }
    };
    deltas.iter().map(one).collect()
}

#[test]
fn a_list_anew_deletes_what_is_gone_and_says_nothing_of_what_did_not_change() {
    let mut watched = specs();
    let first = watched.reset(Kind::Service, [ours("a", 80), ours("b", 80), ours("c", 80)]);
    assert_eq!(short(&first), ["+Service/a", "+Service/b", "+Service/c"]);
    let second = watched.reset(Kind::Service, [ours("c", 80), ours("b", 81)]);
    assert_eq!(short(&second), ["+Service/b", "-Service/a"]);
}

#[test]
fn a_list_that_breaks_off_deletes_nothing() {
    let mut watched = specs();
    let _ = watched.reset(Kind::Service, [ours("a", 80), ours("b", 80)]);
    watched.relist(Kind::Service);
    assert_eq!(short(&watched.apply(Kind::Service, ours("a", 80))), [""; 0]);
    assert_eq!(short(&watched.reset(Kind::Service, [ours("a", 80), ours("b", 80)])), [""; 0]);
}

#[test]
fn a_bad_version_leaves_the_last_good_one_in_force_until_it_is_right_or_gone() {
    let mut watched = specs();
    let _ = watched.apply(Kind::Service, ours("a", 80));
    let mut bad = ours("a", 80);
    bad["metadata"]["annotations"] = json!({"bellhop.dev/addresses": "shop"});
    assert_eq!(short(&watched.apply(Kind::Service, bad.clone())), ["!Service/web/a: InvalidAddress"]);
    assert_eq!(short(&watched.apply(Kind::Service, bad.clone())), [""; 0]);
    assert_eq!(short(&watched.apply(Kind::Service, ours("b", 80))), ["+Service/b"]);
    assert_eq!(short(&watched.apply(Kind::Service, ours("a", 81))), ["+Service/a", "!Service/web/a: right"]);
    let _ = watched.apply(Kind::Service, bad);
    assert_eq!(
        short(&watched.delete(Kind::Service, Some("web"), "a")),
        ["-Service/a", "!Service/web/a: right"]
    );
    let unreadable = watched.apply_unreadable(Kind::Service, Some("web"), "b", "is nested too deeply");
    assert_eq!(short(&unreadable), ["!Service/web/b: InvalidSyntax"]);
    assert_eq!(watched.count(Kind::Service), 1);
}

#[test]
fn of_a_service_that_is_not_ours_only_its_existence_is_kept() {
    let mut watched = specs();
    let deltas = watched.apply(Kind::Service, service("a", "other.example/lb", 80));
    let [Delta::Service(_, Some(kept))] = &deltas[..] else { panic!("{deltas:?}") };
    assert!(!kept.wants_address && kept.labels.is_empty() && kept.ports.is_empty());
    let mut classless = service("b", "", 80);
    classless["spec"]["loadBalancerClass"] = Value::Null;
    let options = Options { classless: true, ..Options::default() };
    let deltas = Watched::new(options, Policies::Specs).apply(Kind::Service, classless);
    let [Delta::Service(_, Some(kept))] = &deltas[..] else { panic!("{deltas:?}") };
    assert!(kept.wants_address && !kept.labels.is_empty());
}

#[test]
fn a_field_of_a_newer_version_is_passed_over_and_a_value_of_one_is_told_on_its_object_alone() {
    let mut watched = specs();
    let mut newer = peer("a", "192.0.2.1");
    newer["spec"]["quantumSafe"] = true.into();
    newer["spec"]["gracefulRestart"] = json!({ "time": "120s", "flavour": "new" });
    newer["metadata"]["fieldOfALaterKubernetes"] = json!({});
    assert_eq!(short(&watched.apply(Kind::BgpPeer, newer.clone())), ["+BGPPeer/a"]);
    newer["spec"]["families"] = json!(["IPv4", "L2VPN"]);
    assert_eq!(short(&watched.apply(Kind::BgpPeer, newer)), ["!BGPPeer/a: InvalidValue"]);
    assert_eq!(short(&watched.apply(Kind::BgpPeer, peer("b", "192.0.2.2"))), ["+BGPPeer/b"]);
    assert_eq!(watched.count(Kind::BgpPeer), 2, "its last good version stays in force");
}

#[test]
fn who_writes_statuses_is_not_told_of_them_and_who_announces_is() {
    let mut published = ours("a", 80);
    published["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }] } });
    for (mut watched, told) in [(specs(), 0), (copies(), 1)] {
        let _ = watched.apply(Kind::Service, ours("a", 80));
        assert_eq!(watched.apply(Kind::Service, published.clone()).len(), told);
    }
}

#[test]
fn of_two_peers_with_one_endpoint_the_first_stays_and_the_other_follows_when_it_goes() {
    let mut watched = specs();
    let _ = watched.apply(Kind::BgpPeer, peer("b", "192.0.2.1"));
    assert_eq!(short(&watched.apply(Kind::BgpPeer, peer("a", "192.0.2.1"))), ["!BGPPeer/a: DuplicatePeer"]);
    assert_eq!(
        short(&watched.delete(Kind::BgpPeer, None, "b")),
        ["-BGPPeer/b", "+BGPPeer/a", "!BGPPeer/a: right"]
    );
    let _ = watched.apply(Kind::BgpPeer, peer("c", "192.0.2.2"));
    let _ = watched.apply(Kind::BgpPeer, peer("a", "192.0.2.2"));
    let exchanged = watched.apply(Kind::BgpPeer, peer("c", "192.0.2.1"));
    assert_eq!(watched.count(Kind::BgpPeer), 2);
    assert!(watched.snapshot().iter().any(|delta| matches!(
        delta, Delta::Peer(name, Some(peer)) if &**name == "a" && peer.neighbour.to_string() == "192.0.2.2"
    )));
    assert!(short(&exchanged).contains(&"!BGPPeer/a: right".into()), "{exchanged:?}");
}

#[test]
fn for_a_speaker_a_policy_is_what_the_copy_in_force_says_and_appears_when_both_are_known() {
    let mut watched = copies();
    assert_eq!(short(&watched.apply(Kind::DecisionPolicy, policy(None))), [""; 0]);
    assert!(watched.referenced().is_empty());
    assert_eq!(short(&watched.apply(Kind::DecisionPolicy, policy(Some("copy-1")))), [""; 0]);
    assert_eq!(watched.referenced(), BTreeSet::from(["copy-1".into()]));
    let deltas = watched.apply_config_map("copy-1", copy("copy-1", 7));
    assert_eq!(short(&deltas), ["+ConfigMap/copy-1", "+DecisionPolicy/p"]);
    let Delta::Policy(_, Some(read)) = &deltas[1] else { panic!("{deltas:?}") };
    assert_eq!((&*read.config_map, read.priority), ("copy-1", 7));
    assert_eq!(
        short(&watched.apply(Kind::DecisionPolicy, policy(None))),
        ["-DecisionPolicy/p", "-ConfigMap/copy-1"]
    );
    assert_eq!(short(&watched.reset(Kind::DecisionPolicy, [policy(None)])), [""; 0]);
}

#[test]
fn a_copy_that_is_gone_or_broken_leaves_the_last_good_version_in_force() {
    let mut watched = copies();
    let _ = watched.apply(Kind::DecisionPolicy, policy(Some("copy-1")));
    let _ = watched.apply_config_map("copy-1", copy("copy-1", 1));
    assert_eq!(short(&watched.config_map_gone("copy-1")), ["!DecisionPolicy/p: ModuleMissing"]);
    assert_eq!(
        short(&watched.apply(Kind::DecisionPolicy, policy(Some("copy-2")))),
        ["!DecisionPolicy/p: right"]
    );
    let mut broken = copy("copy-2", 2);
    broken["data"]["policy.json"] = json!("{");
    let deltas = short(&watched.apply_config_map("copy-2", broken));
    assert_eq!(deltas, ["+ConfigMap/copy-2", "!DecisionPolicy/p: InvalidSyntax"]);
    let deltas = short(&watched.apply_config_map("copy-2", copy("copy-2", 2)));
    assert_eq!(
        deltas,
        ["+ConfigMap/copy-2", "+DecisionPolicy/p", "!DecisionPolicy/p: right", "-ConfigMap/copy-1"]
    );
    assert_eq!(
        short(&watched.delete(Kind::DecisionPolicy, None, "p")),
        ["-DecisionPolicy/p", "-ConfigMap/copy-2"]
    );
}

#[test]
fn where_policies_are_read_from_their_specs_a_module_goes_with_its_config_map() {
    let mut watched = specs();
    assert_eq!(short(&watched.apply(Kind::DecisionPolicy, policy(Some("copy")))), ["+DecisionPolicy/p"]);
    assert_eq!(watched.referenced(), BTreeSet::from(["copy".into(), "theirs".into()]));
    assert_eq!(short(&watched.apply_config_map("theirs", copy("theirs", 1))), ["+ConfigMap/theirs"]);
    assert_eq!(short(&watched.apply_config_map("stranger", copy("stranger", 1))), [""; 0]);
    assert_eq!(short(&watched.config_map_gone("theirs")), ["-ConfigMap/theirs"]);
}

#[test]
fn what_was_restored_is_in_force_until_a_list_says_otherwise() {
    let mut before = copies();
    let _ = before.reset(Kind::Service, [ours("a", 80), ours("b", 80)]);
    let _ = before.apply(Kind::BgpPeer, peer("x", "192.0.2.1"));
    let _ = before.apply(Kind::DecisionPolicy, policy(Some("copy")));
    let _ = before.apply_config_map("copy", copy("copy", 1));
    let text = serde_json::to_string(&before.snapshot()).unwrap();
    let kept: Vec<Delta> = serde_json::from_str(&text).unwrap();
    assert_eq!(kept, before.snapshot());

    let mut after = copies();
    let _ = after.reset(Kind::BgpPeer, [peer("y", "192.0.2.1")]);
    after.relist(Kind::Service);
    let _ = after.apply(Kind::Service, ours("c", 80));
    let kept = [kept, vec![Delta::Service(bellhop_core::ServiceKey::new("web", "b"), None)]].concat();
    let restored = after.restore(kept);
    assert_eq!(short(&restored), ["+Service/a", "+ConfigMap/copy", "+DecisionPolicy/p"]);
    assert_eq!(short(&after.relisted(Kind::Service)), ["-Service/a"]);
    assert_eq!(short(&after.reset(Kind::DecisionPolicy, [policy(Some("copy"))])), [""; 0]);
    assert_eq!(short(&after.apply_config_map("copy", copy("copy", 1))), [""; 0]);
}

/// One event of a history.
#[derive(Clone, Debug)]
enum Step {
    Apply(Kind, u8, u16),
    Delete(Kind, u8),
    /// A list of what there is.
    List(Kind),
    /// A list that breaks off after some objects.
    Torn(Kind, usize),
}

fn made(kind: Kind, name: u8, content: u16) -> Value {
    let name = format!("n{name}");
    match kind {
        Kind::Service if content == 0 => service(&name, "other.example/lb", 80),
        Kind::Service => ours(&name, content),
        // Content below 3 is one endpoint for all.
        Kind::BgpPeer => peer(&name, &format!("192.0.2.{}", content + 1)),
        _ => json!({"metadata": {"name": name}, "spec": {"addresses": [format!("203.0.113.{content}")]}}),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![Just(Kind::Service), Just(Kind::BgpPeer), Just(Kind::AddressPool)];
    let step = (kind, 0..4u8, 0..4u16, 0..10u8).prop_map(|(kind, name, content, what)| match what {
        0..=5 => Step::Apply(kind, name, content),
        6 | 7 => Step::Delete(kind, name),
        8 => Step::List(kind),
        _ => Step::Torn(kind, usize::from(name)),
    });
    prop::collection::vec(step, 0..40)
}

/// Objects by kind and name, as the API server has them.
type Model = BTreeMap<(Kind, u8), u16>;

fn objects(model: &Model, kind: Kind) -> Vec<Value> {
    let of_kind = model.iter().filter(|((other, _), _)| *other == kind);
    of_kind.map(|((kind, name), content)| made(*kind, *name, *content)).collect()
}

proptest! {
    #[test]
    fn any_history_of_events_ends_as_one_list_does(steps in steps()) {
        let (mut watched, mut world, mut model) = (specs(), World::default(), Model::new());
        let mut apply = |deltas: Vec<Delta>| for delta in deltas {
            world.apply(delta);
        };
        for step in steps {
            match step {
                Step::Apply(kind, name, content) => {
                    // Endpoints of their own: which of two peers with one endpoint is in force is a matter of history.
                    let content = if kind == Kind::BgpPeer { content * 4 + u16::from(name) } else { content };
                    model.insert((kind, name), content);
                    apply(watched.apply(kind, made(kind, name, content)));
                }
                Step::Delete(kind, name) => {
                    model.remove(&(kind, name));
                    let namespace = kind.is_namespaced().then_some("web");
                    apply(watched.delete(kind, namespace, &format!("n{name}")));
                }
                Step::List(kind) => prop_assert_eq!(watched.reset(kind, objects(&model, kind)), []),
                Step::Torn(kind, some) => {
                    watched.relist(kind);
                    for object in objects(&model, kind).into_iter().take(some) {
                        prop_assert_eq!(watched.apply(kind, object), []);
                    }
                }
            }
        }
        let (mut whole, mut fresh) = (World::default(), specs());
        for kind in [Kind::Service, Kind::BgpPeer, Kind::AddressPool] {
            for delta in fresh.reset(kind, objects(&model, kind)) {
                whole.apply(delta);
            }
        }
        prop_assert_eq!(world, whole);
        prop_assert_eq!(watched.snapshot(), fresh.snapshot());
        prop_assert_eq!(watched.endpoints, fresh.endpoints);
    }
}

fn with_secret(name: &str, secret: &str) -> Value {
    let mut peer = peer(name, "192.0.2.1");
    peer["spec"]["passwordSecret"] = secret.into();
    peer
}

fn secret(type_: &str, password: &str) -> Value {
    json!({"metadata": {"name": "s"}, "type": type_, "stringData": {"password": password}})
}

fn basic(password: &str) -> Value {
    secret("kubernetes.io/basic-auth", password)
}

/// What the peer of the last delta signs with: nothing, an awaited password, or these octets.
fn signs_with(deltas: &[Delta]) -> Option<Option<Vec<u8>>> {
    let peer = deltas.iter().rev().find_map(|delta| match delta {
        Delta::Peer(_, Some(peer)) => Some(peer.clone()),
        _ => None,
    })?;
    peer.password_secret.as_ref()?;
    Some(peer.password.as_ref().map(|password| password.octets().to_vec()))
}

#[test]
fn a_peer_waits_for_its_secret_whichever_comes_first_and_no_other_peer_does() {
    let name: ObjectName = "s".into();
    let mut watched = copies();
    let deltas = watched.apply(Kind::BgpPeer, with_secret("a", "s"));
    assert_eq!((short(&deltas), signs_with(&deltas)), (vec!["+BGPPeer/a".to_owned()], Some(None)));
    assert_eq!(short(&watched.apply(Kind::BgpPeer, peer("b", "192.0.2.2"))), ["+BGPPeer/b"]);
    assert_eq!(watched.secrets().into_iter().collect::<Vec<_>>(), [(name.clone(), Duration::from_secs(90))]);
    assert_eq!(short(&watched.secret_gone(&name)), ["!BGPPeer/a: SecretMissing"]);
    assert_eq!(short(&watched.secret_gone(&name)), [""; 0]);
    let wrong = watched.apply_secret(&name, &secret("Opaque", "hush"));
    assert_eq!(short(&wrong), ["!BGPPeer/a: InvalidSecret"]);
    let right = watched.apply_secret(&name, &basic("hush"));
    assert_eq!(short(&right), ["+BGPPeer/a", "!BGPPeer/a: right"]);
    assert_eq!(signs_with(&right), Some(Some(b"hush".to_vec())));
    let _ = watched.delete(Kind::BgpPeer, None, "a");
    assert!(watched.secrets().is_empty());
    assert_eq!(watched.apply_secret(&name, &basic("hush")), []);
}

#[test]
fn a_secret_that_turns_bad_leaves_the_password_known_last_and_a_new_one_replaces_it() {
    let name: ObjectName = "s".into();
    let mut watched = copies();
    let _ = watched.apply(Kind::BgpPeer, with_secret("a", "s"));
    let _ = watched.apply_secret(&name, &basic("hush"));
    for (bad, reason) in [
        (watched.apply_secret(&name, &basic("")), "InvalidSecret"),
        (watched.secret_gone(&name), "SecretMissing"),
        (watched.secret_refused(&name, "forbidden"), "Forbidden"),
    ] {
        assert_eq!(short(&bad), [format!("!BGPPeer/a: {reason}")]);
        let Delta::Problems(_, problems) = &bad[0] else { panic!("{bad:?}") };
        assert!(problems[0].message.ends_with("the password known last stays in force"), "{problems:?}");
    }
    let _ = watched.secret_gone(&name);
    let mut edited = with_secret("a", "s");
    edited["spec"]["holdTime"] = "9s".into();
    assert_eq!(signs_with(&watched.apply(Kind::BgpPeer, edited)), Some(Some(b"hush".to_vec())));
    let rotated = watched.apply_secret(&name, &basic("hash"));
    assert_eq!(signs_with(&rotated), Some(Some(b"hash".to_vec())));
}

#[test]
fn a_session_never_falls_back_to_no_password_and_a_version_that_needs_one_waits_behind_the_one_in_force() {
    let mut watched = copies();
    let _ = watched.apply(Kind::BgpPeer, peer("a", "192.0.2.1"));
    let _ = watched.apply(Kind::BgpPeer, with_secret("a", "s"));
    let missing = watched.secret_gone(&"s".into());
    assert_eq!(short(&missing), ["!BGPPeer/a: SecretMissing"]);
    let _ = watched.apply_secret(&"s".into(), &basic("hush"));
    // Another Secret is named that is not there: the password of the first one stays, with the version that named it.
    assert_eq!(short(&watched.apply(Kind::BgpPeer, with_secret("a", "t"))), [""; 0]);
    let missing = watched.secret_gone(&"t".into());
    assert_eq!(short(&missing), ["!BGPPeer/a: SecretMissing"]);
    assert_eq!(signs_with(&watched.snapshot()), Some(Some(b"hush".to_vec())));
}

#[test]
fn a_password_that_was_kept_on_the_node_is_there_before_the_secret_is_read() {
    let mut before = copies();
    let _ = before.apply(Kind::BgpPeer, with_secret("a", "s"));
    let _ = before.apply_secret(&"s".into(), &basic("hush"));
    let mut watched = copies();
    assert_eq!(signs_with(&watched.restore(before.snapshot())), Some(Some(b"hush".to_vec())));
    assert_eq!(watched.reset(Kind::BgpPeer, [with_secret("a", "s")]), []);
    assert_eq!(signs_with(&watched.snapshot()), Some(Some(b"hush".to_vec())));
}

#[test]
fn who_acts_on_no_version_asks_for_no_secret() {
    let mut watched = specs();
    assert_eq!(short(&watched.apply(Kind::BgpPeer, with_secret("a", "s"))), ["+BGPPeer/a"]);
    assert!(watched.secrets().is_empty());
}
