//! How many messages changes cost, told by both ends of a session with FRR. Needs root, iproute2 and FRR.

#![allow(clippy::unwrap_used, reason = "a missing need is to fail loudly")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bellhop_benches::bulk::{DEADLINE, UPDATES_MAX, V4, V6};
use bellhop_benches::rivals::task::Task;
use bellhop_benches::rivals::{self, Batch, ONE_SET_UPDATES_MAX, Rival, SETS, SETS_UPDATES_MAX, quiet};
use bellhop_benches::speaker::{Sent, Speaker};
use bellhop_benches::wire::{Prefixes, Wire};
use bellhop_lab::observe::bgp::{Family, table};

/// How long nothing more must come for a count to be final.
const QUIET: Duration = Duration::from_millis(500);

/// A speaker with a session to FRR, and no route.
fn started(test: &str) -> (Wire, Speaker) {
    let wire = Wire::up(test).unwrap();
    let benches = Path::new(env!("CARGO_BIN_EXE_benches"));
    let speaker = Speaker::start(benches, wire.node(), &wire.folder().join("state")).unwrap();
    (wire, speaker)
}

/// What the speaker sent and the router received since a look before.
struct Look {
    sent: Sent,
    received: u64,
}

impl Look {
    fn new(wire: &Wire, speaker: &mut Speaker) -> Self {
        std::thread::sleep(QUIET);
        Self { sent: speaker.sent().unwrap(), received: wire.messages().unwrap().updates_recv }
    }

    /// UPDATEs since then, of which both ends must have the same count, and prefixes announced and withdrawn in them.
    fn since(&self, wire: &Wire, speaker: &mut Speaker) -> (u64, u64, u64) {
        let now = Self::new(wire, speaker);
        let updates = now.sent.updates - self.sent.updates;
        assert_eq!(now.received - self.received, updates, "the router counts other UPDATEs than were sent");
        (updates, now.sent.announced - self.sent.announced, now.sent.withdrawn - self.sent.withdrawn)
    }
}

fn wait(wire: &Wire, begin: Instant, wanted: impl Fn(&Prefixes) -> bool) {
    wire.visible(begin, DEADLINE, wanted).unwrap();
}

#[test]
fn eleven_thousand_routes_with_one_attribute_set_take_at_most_25_updates_and_one_more_takes_one() {
    let (wire, mut speaker) = started("bulk");
    let look = Look::new(&wire, &mut speaker);
    speaker.prepare(0..V4, 0..V6).unwrap();
    let begin = speaker.apply().unwrap();
    wait(&wire, begin, |seen| (seen.v4, seen.v6) == (V4.into(), V6.into()));
    let (updates, announced, withdrawn) = look.since(&wire, &mut speaker);
    assert!(updates <= UPDATES_MAX, "{updates} UPDATEs");
    assert_eq!((announced, withdrawn), (u64::from(V4 + V6), 0));

    let look = Look::new(&wire, &mut speaker);
    speaker.prepare(V4..V4 + 1, 0..0).unwrap();
    let begin = speaker.apply().unwrap();
    wait(&wire, begin, |seen| seen.v4 == u64::from(V4 + 1));
    assert_eq!(look.since(&wire, &mut speaker), (1, 1, 0));
}

// case: bgp-50
#[test]
fn the_bulk_takes_the_bgp_task_18_updates_and_2000_with_a_thousand_attribute_sets() {
    let benches = Path::new(env!("CARGO_BIN_EXE_benches"));
    for (sets, most) in [(1, ONE_SET_UPDATES_MAX), (SETS, SETS_UPDATES_MAX)] {
        let (wire, mut task) = rivals::up::<Task>(benches, &format!("updates{sets}")).unwrap();
        let before = quiet(&wire).unwrap();
        let begin = task.announce(&wire, &Batch::bulk(sets)).unwrap();
        wait(&wire, begin, |seen| (seen.v4, seen.v6) == (V4.into(), V6.into()));
        let updates = quiet(&wire).unwrap() - before;
        assert!(updates <= most, "{updates} UPDATEs for {sets} attribute sets");
        let routes = table(wire.frr(), Family::Ipv4).unwrap();
        let meds: BTreeSet<_> = routes.values().flatten().map(|path| path.med).collect();
        assert_eq!(meds.len(), sets as usize);
    }
}

// case: bgp-59
#[test]
fn other_attributes_for_every_route_are_updates_and_no_withdrawal() {
    let (wire, mut speaker) = started("attributes");
    speaker.prepare(0..2_000, 0..200).unwrap();
    let begin = speaker.apply().unwrap();
    wait(&wire, begin, |seen| (seen.v4, seen.v6) == (2_000, 200));

    let look = Look::new(&wire, &mut speaker);
    let before = wire.prefixes().unwrap();
    let begin = speaker.attributes(77).unwrap();
    wait(&wire, begin, |seen| seen.v4_version >= before.v4_version + 2_000);
    let (updates, announced, withdrawn) = look.since(&wire, &mut speaker);
    assert_eq!((announced, withdrawn), (2_200, 0));
    assert!(updates <= 8, "{updates} UPDATEs for what fits into 4");
    for family in Family::ALL {
        let routes = table(wire.frr(), family).unwrap();
        assert!(routes.values().flatten().all(|path| path.med == Some(77)));
    }

    let look = Look::new(&wire, &mut speaker);
    let begin = speaker.remove(0..2_000).unwrap();
    wait(&wire, begin, |seen| (seen.v4, seen.v6) == (0, 200));
    let (updates, announced, withdrawn) = look.since(&wire, &mut speaker);
    assert_eq!((announced, withdrawn), (0, 2_000));
    assert!(updates <= 5, "{updates} UPDATEs for what fits into 3");
}
