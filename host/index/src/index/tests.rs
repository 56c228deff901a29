use std::fmt::Write as _;

use bellhop_core::World;
use proptest::prelude::*;

use super::*;

fn pool(name: &str, range: &str) -> String {
    format!(
        "---\napiVersion: bellhop.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: {name}}}\nspec: {{addresses: ['{range}']}}\n"
    )
}

fn peer(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: bellhop.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec: {{peerAddress: {address}, peerASN: 64512}}\n"
    )
}

/// Deltas in short: `+AddressPool/a`, `-AddressPool/a`, `!File/a.yaml: InvalidSyntax`, `!File/a.yaml: right`.
fn short(deltas: &[Delta]) -> Vec<String> {
    let sign = |set: bool| if set { '+' } else { '-' };
    deltas
        .iter()
        .map(|delta| match delta {
            Delta::Pool(name, pool) => format!("{}AddressPool/{name}", sign(pool.is_some())),
            Delta::Peer(name, peer) => format!("{}BGPPeer/{name}", sign(peer.is_some())),
            Delta::Service(name, service) => format!("{}Service/{name}", sign(service.is_some())),
            Delta::Problems(object, problems) if problems.is_empty() => format!("!{object}: right"),
            Delta::Problems(object, problems) => {
                let reasons: Vec<&str> = problems.iter().map(|problem| &*problem.reason).collect();
                format!("!{object}: {}", reasons.join(" "))
            }
            other => format!("{other:?}"),
        })
        .collect()
}

fn apply(index: &mut Index, file: &str, content: &str) -> Vec<String> {
    short(&index.apply(file, content.as_bytes()))
}

#[test]
fn a_file_that_did_not_change_produces_nothing() {
    let mut index = Index::default();
    let content = pool("a", "203.0.113.0/24") + &pool("b", "198.51.100.0/24");
    assert_eq!(apply(&mut index, "a.yaml", &content), ["+AddressPool/a", "+AddressPool/b"]);
    assert_eq!(apply(&mut index, "a.yaml", &content), [""; 0]);
    assert_eq!(apply(&mut index, "a.yaml", &format!("# a comment\n{content}\n")), [""; 0]);
}

#[test]
fn an_edit_produces_a_delta_for_the_object_edited_and_no_other() {
    let mut index = Index::default();
    let (a, b) = (pool("a", "203.0.113.0/24"), pool("b", "198.51.100.0/24"));
    apply(&mut index, "a.yaml", &format!("{a}{b}"));
    let edited = pool("b", "198.51.100.0/25");
    assert_eq!(apply(&mut index, "a.yaml", &format!("{a}{edited}")), ["+AddressPool/b"]);
    // Another order, and another way to write the same.
    assert_eq!(apply(&mut index, "a.yaml", &format!("{edited}{a}")), [""; 0]);
    let same = edited.replace("{addresses: ['198.51.100.0/25']}", "\n  addresses:\n  - 198.51.100.0/25");
    assert_eq!(apply(&mut index, "a.yaml", &format!("{same}{a}")), [""; 0]);
    assert_eq!(apply(&mut index, "a.yaml", &a), ["-AddressPool/b"]);
    assert_eq!(short(&index.delete("a.yaml")), ["-AddressPool/a"]);
    assert!(index.is_empty() && index.objects.is_empty());
}

#[test]
fn an_object_that_moves_to_another_file_is_never_deleted() {
    let mut index = Index::default();
    let content = pool("a", "203.0.113.0/24");
    for (from, to) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        index.apply(from, content.as_bytes());
        let mut batch = index.batch();
        batch.delete(from);
        batch.apply(to, content.as_bytes());
        assert_eq!(short(&batch.deltas()), [""; 0]);
    }
}

#[test]
fn the_last_good_version_stays_in_force_until_there_is_a_better_one() {
    let mut index = Index::default();
    apply(&mut index, "a.yaml", &pool("a", "203.0.113.0/24"));
    assert_eq!(apply(&mut index, "a.yaml", &pool("a", "nonsense")), ["!AddressPool/a: InvalidRange"]);
    assert_eq!(index.len(), 1);
    assert_eq!(
        apply(&mut index, "a.yaml", &pool("a", "203.0.113.0/25")),
        ["+AddressPool/a", "!AddressPool/a: right"]
    );
    // A broken object that is taken away is gone, and its problem with it.
    apply(&mut index, "a.yaml", &pool("a", "nonsense"));
    assert_eq!(short(&index.delete("a.yaml")), ["-AddressPool/a", "!AddressPool/a: right"]);
}

#[test]
fn a_document_that_cannot_be_parsed_spoils_no_other_and_deletes_nothing() {
    let mut index = Index::default();
    let (a, b) = (pool("a", "203.0.113.0/24"), pool("b", "198.51.100.0/24"));
    apply(&mut index, "a.yaml", &format!("{a}{b}"));
    let edited = pool("a", "203.0.113.0/25");
    let half = &b[..b.len() - 4];
    let deltas = index.apply("a.yaml", format!("{edited}{half}").as_bytes());
    assert_eq!(short(&deltas), ["+AddressPool/a", "!File/a.yaml: InvalidSyntax"]);
    let Some(Delta::Problems(_, problems)) = deltas.last() else { panic!("no problem") };
    assert!(problems[0].field.starts_with("line "), "{problems:?}");
    assert_eq!(apply(&mut index, "a.yaml", &format!("{edited}{b}")), ["!File/a.yaml: right"]);
    // So with a file that is cut off in the middle of its first word, one that is no object, and one that is not text.
    for content in ["---\napiV", "- 1\n", "a: \u{0}\n"] {
        let found = apply(&mut index, "a.yaml", content);
        assert_eq!(found.len(), 1, "{content:?}: {found:?}");
        assert_eq!(index.len(), 2, "{content:?}");
    }
    assert_eq!(short(&index.apply("a.yaml", b"a: \xff\n")), ["!File/a.yaml: InvalidEncoding"]);
    assert_eq!(index.len(), 2);
}

#[test]
fn a_file_that_is_suddenly_empty_deletes_nothing_but_one_with_a_comment_does() {
    let mut index = Index::default();
    let content = pool("a", "203.0.113.0/24");
    apply(&mut index, "a.yaml", &content);
    assert_eq!(apply(&mut index, "a.yaml", ""), ["!File/a.yaml: Unreadable"]);
    assert_eq!(apply(&mut index, "a.yaml", &content), ["!File/a.yaml: right"]);
    assert_eq!(apply(&mut index, "a.yaml", "# nothing any more\n"), ["-AddressPool/a"]);
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut index = Index::default();
    let content = pool("a", "203.0.113.0/24");
    apply(&mut index, "a.yaml", &content);
    let mut batch = index.batch();
    batch.refuse("a.yaml", Reason::Unreadable, "", "cannot be read");
    assert_eq!(short(&batch.deltas()), ["!File/a.yaml: Unreadable"]);
    assert_eq!(apply(&mut index, "a.yaml", &content), ["!File/a.yaml: right"]);
    assert_eq!(index.len(), 1);
}

#[test]
fn the_first_file_by_path_has_the_object_and_the_other_a_problem() {
    let mut index = Index::default();
    let (first, second) = (pool("a", "203.0.113.0/24"), pool("a", "198.51.100.0/24"));
    assert_eq!(apply(&mut index, "b.yaml", &second), ["+AddressPool/a"]);
    assert_eq!(apply(&mut index, "a.yaml", &first), ["+AddressPool/a", "!AddressPool/a: DuplicateObject"]);
    let object = index.objects.values().next().unwrap();
    assert_eq!(object.problems[0].value, "b.yaml");
    assert!(object.problems[0].message.contains("stands in a.yaml too"), "{:?}", object.problems);
    // A mistake in the file that counts must not put the other one's version in force.
    let found = apply(&mut index, "a.yaml", &pool("a", "nonsense"));
    assert_eq!(found, ["!AddressPool/a: InvalidRange DuplicateObject"]);
    assert_eq!(short(&index.delete("a.yaml")), ["+AddressPool/a", "!AddressPool/a: right"]);
    // Twice in one file.
    let twice = format!("{second}{first}");
    assert_eq!(apply(&mut index, "b.yaml", &twice), ["!AddressPool/a: DuplicateObject"]);
}

#[test]
fn of_two_peers_with_one_address_the_first_one_stays_and_the_other_follows_it() {
    let mut index = Index::default();
    apply(&mut index, "b.yaml", &peer("b", "192.0.2.1"));
    let found = index.apply("a.yaml", peer("a", "192.0.2.1").as_bytes());
    assert_eq!(short(&found), ["!BGPPeer/a: DuplicatePeer"]);
    let Some(Delta::Problems(_, problems)) = found.last() else { panic!("no problem") };
    assert!(problems[0].to_string().contains("192.0.2.1") && problems[0].message.contains("BGPPeer/b"));
    // The port does not make it another router: what it opens comes from any.
    let other_port = peer("a", "192.0.2.1").replace("peerASN", "peerPort: 1790, peerASN");
    assert_eq!(apply(&mut index, "a.yaml", &other_port), [""; 0]);
    // The one in force moves away: the other takes the address, in the same batch.
    let found = apply(&mut index, "b.yaml", &peer("b", "192.0.2.2"));
    assert_eq!(found, ["+BGPPeer/a", "!BGPPeer/a: right", "+BGPPeer/b"]);
    // An edit onto a taken address leaves the version before in force.
    assert_eq!(apply(&mut index, "b.yaml", &peer("b", "192.0.2.1")), ["!BGPPeer/b: DuplicatePeer"]);
    assert_eq!(short(&index.delete("a.yaml")), ["-BGPPeer/a", "+BGPPeer/b", "!BGPPeer/b: right"]);
}

#[test]
fn racks_whose_routers_have_one_address_are_peers_of_their_own() {
    let of_rack = |rack: &str| {
        format!(
            "apiVersion: bellhop.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {rack}}}\nspec: {{peerInterface: eth1, \
             dynamicASN: external, nodeSelector: {{matchLabels: {{rack: {rack}}}}}}}\n"
        )
    };
    let mut index = Index::default();
    assert_eq!(apply(&mut index, "a.yaml", &of_rack("a")), ["+BGPPeer/a"]);
    assert_eq!(apply(&mut index, "b.yaml", &of_rack("b")), ["+BGPPeer/b"]);
    let same = of_rack("b").replacen("rack: b", "rack: a", 1);
    let found = index.apply("b.yaml", same.as_bytes());
    assert_eq!(short(&found), ["!BGPPeer/b: DuplicatePeer"]);
    let Some(Delta::Problems(_, problems)) = found.last() else { panic!("no problem") };
    assert_eq!((&*problems[0].field, &*problems[0].value), ("spec.peerInterface", "eth1"));
}

#[test]
fn peers_can_exchange_their_addresses_in_one_edit() {
    let mut index = Index::default();
    let three = |a: &str, b: &str, c: &str| peer("a", a) + &peer("b", b) + &peer("c", c);
    apply(&mut index, "a.yaml", &three("192.0.2.1", "192.0.2.2", "192.0.2.3"));
    let found = apply(&mut index, "a.yaml", &three("192.0.2.2", "192.0.2.3", "192.0.2.1"));
    assert_eq!(found, ["+BGPPeer/a", "+BGPPeer/b", "+BGPPeer/c"]);
}

#[test]
fn a_file_of_nothing_but_mistakes_shows_some_and_keeps_its_objects() {
    let mut index = Index::default();
    apply(&mut index, "a.yaml", &pool("a", "203.0.113.0/24"));
    let reasons = vec!["InvalidSyntax"; FILE_PROBLEMS_MAX].join(" ");
    assert_eq!(
        apply(&mut index, "a.yaml", &"---\na: [\n".repeat(1000)),
        [format!("!File/a.yaml: {reasons}")]
    );
    let many = "---\na: b\n".repeat(DOCUMENTS_MAX + 1);
    assert_eq!(apply(&mut index, "a.yaml", &many), ["!File/a.yaml: TooLarge"]);
    let wide = format!("{}---\na: [{}]\n", pool("a", "203.0.113.0/25"), "x, ".repeat(100_000));
    assert_eq!(apply(&mut index, "a.yaml", &wide), ["+AddressPool/a", "!File/a.yaml: TooLarge"]);
    assert_eq!(index.len(), 1);
}

#[test]
fn a_list_is_its_items_and_json_is_read_as_yaml_is() {
    let mut index = Index::default();
    let item = |name: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "web"}}}}"#
        )
    };
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}, {}]}}"#, item("a"), item("b"));
    assert_eq!(apply(&mut index, "list.json", &list), ["+Service/web/a", "+Service/web/b"]);
    assert_eq!(apply(&mut index, "list.yaml", &list).len(), 2, "each stands twice now");
    index.delete("list.json");
    assert_eq!(index.len(), 2);
    assert_eq!(apply(&mut index, "broken.json", "{"), ["!File/broken.json: InvalidSyntax"]);
}

#[test]
fn a_snapshot_makes_a_world_what_the_deltas_made_it() {
    let mut index = Index::default();
    let mut world = World::default();
    for (file, content) in [
        ("a.yaml", pool("a", "203.0.113.0/24") + &peer("p", "192.0.2.1")),
        ("b.yaml", pool("a", "203.0.113.0/25") + &pool("b", "nonsense")),
        ("c.yaml", String::from("a: [")),
    ] {
        for delta in index.apply(file, content.as_bytes()) {
            world.apply(delta);
        }
    }
    let mut anew = World::default();
    for delta in index.snapshot() {
        anew.apply(delta);
    }
    assert_eq!(anew, world);
    assert_eq!(world.problems().len(), 3);
}

/// What a file may hold at some point of a history.
#[derive(Clone, Debug)]
enum Content {
    Absent,
    /// Pools by number with a variant each, and peers by number with an address each.
    Objects(Vec<(u8, u8)>, Vec<(u8, u8)>),
    Broken,
    Empty,
    Torn(Vec<(u8, u8)>),
}

impl Content {
    fn text(&self) -> Option<String> {
        let pools = |pools: &[(u8, u8)]| {
            pools.iter().fold(String::new(), |mut text, (number, variant)| {
                // Variant 0 is one with a problem.
                let range = if *variant == 0 { "x".into() } else { format!("198.51.{number}.{variant}") };
                text.push_str(&pool(&format!("pool-{number}"), &range));
                text
            })
        };
        match self {
            Self::Absent => None,
            Self::Objects(some, peers) => {
                Some(peers.iter().fold(pools(some), |mut text, (number, address)| {
                    text.push_str(&peer(&format!("peer-{number}"), &format!("192.0.2.{address}")));
                    text
                }))
            }
            Self::Broken => Some("---\nkind: [\n".into()),
            Self::Empty => Some(String::new()),
            Self::Torn(some) => {
                let mut text = pools(some);
                write!(text, "---\nnothing: here\n").unwrap();
                Some(text)
            }
        }
    }
}

const FILES: [&str; 3] = ["a.yaml", "b.yaml", "c/d.yaml"];

fn any_content() -> impl Strategy<Value = Content> {
    let pools = || prop::collection::vec((0..3_u8, 0..3_u8), 0..4);
    prop_oneof![
        1 => Just(Content::Absent),
        1 => Just(Content::Broken),
        1 => Just(Content::Empty),
        1 => pools().prop_map(Content::Torn),
        4 => (pools(), prop::collection::vec((0..3_u8, 1..4_u8), 0..3)).prop_map(|(a, b)| Content::Objects(a, b)),
    ]
}

/// A last state without mistakes: every pool good, every peer once, no address twice.
fn last_state() -> impl Strategy<Value = Vec<Content>> {
    let pools = prop::collection::vec((0..FILES.len(), 0..3_u8, 1..3_u8), 0..6);
    let peers = Just(vec![1, 2, 3_u8]).prop_shuffle().prop_flat_map(|addresses| {
        prop::collection::vec(prop::option::of(0..FILES.len()), 3)
            .prop_map(move |files| files.into_iter().zip(addresses.clone()).enumerate().collect::<Vec<_>>())
    });
    (pools, peers).prop_map(|(pools, peers)| {
        (0..FILES.len())
            .map(|file| {
                let pools = pools.iter().filter(|(at, ..)| *at == file).map(|(_, a, b)| (*a, *b)).collect();
                let peers = peers
                    .iter()
                    .filter(|(_, (at, _))| *at == Some(file))
                    .map(|(number, (_, address))| (u8::try_from(*number).unwrap(), *address))
                    .collect();
                match (pools, peers) {
                    (pools, peers) if Vec::is_empty(&pools) && Vec::is_empty(&peers) => Content::Absent,
                    (pools, peers) => Content::Objects(pools, peers),
                }
            })
            .collect()
    })
}

fn settle_into(world: &mut World, deltas: Vec<Delta>) {
    for delta in deltas {
        let shown = format!("{delta:?}");
        assert!(!world.apply(delta).is_empty(), "a delta that changes nothing: {shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_history_in_any_batches_ends_as_one_reading_of_its_last_state(
        history in prop::collection::vec((0..FILES.len(), any_content(), any::<bool>()), 0..24),
        last in last_state(),
        order in Just((0..FILES.len()).collect::<Vec<_>>()).prop_shuffle(),
        in_one_batch in any::<bool>(),
    ) {
        let mut index = Index::default();
        let mut world = World::default();
        let finally = order.into_iter().map(|file| (file, last[file].clone(), in_one_batch));
        let mut batch = index.batch();
        for (file, content, more) in history.into_iter().chain(finally) {
            match content.text() {
                Some(text) => batch.apply(FILES[file], text.as_bytes()),
                None => batch.delete(FILES[file]),
            }
            if !more {
                settle_into(&mut world, batch.deltas());
                batch = index.batch();
            }
        }
        settle_into(&mut world, batch.deltas());

        let texts: Vec<(usize, String)> =
            last.iter().enumerate().filter_map(|(file, content)| Some((file, content.text()?))).collect();
        let mut whole = World::default();
        let mut fresh = Index::default();
        settle_into(&mut whole, fresh.reset(texts.iter().map(|(file, text)| (FILES[*file], text.as_bytes()))));
        prop_assert_eq!(world, whole);
        prop_assert_eq!(index.len(), fresh.len());
        prop_assert!(!index.endpoints.is_waited_for());
        prop_assert_eq!(index.endpoints, fresh.endpoints);

    }
}

const WITH_SECRET: &str = "apiVersion: bellhop.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: a}\n\
    spec: {peerAddress: 192.0.2.1, peerASN: 64500, passwordSecret: s}\n";

fn secret_file(namespace: &str, password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\n\
         type: kubernetes.io/basic-auth\nstringData: {{password: {password}}}\n"
    )
}

/// Whether the peer of the deltas may open a session, and the reasons of what is told.
fn peer_of(deltas: &[Delta]) -> (Option<bool>, Vec<String>) {
    let mut opens = None;
    let mut told = Vec::new();
    for delta in deltas {
        match delta {
            Delta::Peer(_, Some(peer)) => opens = Some(!peer.awaits_password()),
            Delta::Problems(_, problems) => {
                told.extend(problems.iter().map(|problem| problem.reason.clone()))
            }
            _ => {}
        }
    }
    (opens, told)
}

#[test]
fn a_peer_has_the_password_of_a_secret_in_another_file_whichever_comes_first() {
    let missing = || vec!["SecretMissing".to_owned()];
    let mut index = Index::new(Options::default());
    assert_eq!(peer_of(&index.apply("peer.yaml", WITH_SECRET.as_bytes())), (Some(false), missing()));
    // In another namespace it is not read.
    let foreign = secret_file("default", "hush");
    assert_eq!(peer_of(&index.apply("secret.yaml", foreign.as_bytes())), (None, vec![]));
    let ours = secret_file("bellhop-system", "hush");
    assert_eq!(peer_of(&index.apply("secret.yaml", ours.as_bytes())), (Some(true), vec![]));
    // Gone again: the password known last stays.
    assert_eq!(peer_of(&index.delete("secret.yaml")), (None, missing()));
    let mut other = Index::new(Options::default());
    assert_eq!(peer_of(&other.apply("secret.yaml", ours.as_bytes())), (None, vec![]));
    assert_eq!(peer_of(&other.apply("peer.yaml", WITH_SECRET.as_bytes())), (Some(true), vec![]));
}
