//! Peers that are removed.

use std::time::Duration;

use bellhop_speaker::bgp::State;

use crate::messages::good_open;
use crate::peer::{Router, Wire};
use crate::speaker::{PEER, Speaker, peer, tasks, until};

/// Sockets of this host that are open, by the kernel's table: those of an address, and not of a listener.
pub(crate) fn sockets(of: std::net::IpAddr) -> usize {
    let std::net::IpAddr::V4(address) = of else { panic!("{of} is not of IPv4") };
    let hex: String = address.octets().iter().rev().map(|octet| format!("{octet:02X}")).collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Local address, state (10 is LISTEN) and inode: without one no process has it.
        fields[1].starts_with(&hex) && fields[3] != "0A" && fields[9] != "0"
    };
    table.lines().skip(1).filter(open).count()
}

/// A peer is removed in this state, and what is left is what was there before.
async fn leaves_nothing(state: State) {
    let mut speaker = Speaker::start(crate::speaker::Place::new()).await;
    let before = (tasks(), sockets(speaker.place.host(1)));
    let router = Router::at(speaker.place.host(2));
    // Fills the queue of the listener, so that a further dial hangs.
    let mut fillers = Vec::new();
    if state == State::Connect {
        let dial = || Wire::dial(speaker.place.host(3), (router.address, router.port()).into());
        while let Ok(filler) = tokio::time::timeout(Duration::from_millis(300), dial()).await {
            fillers.push(filler.unwrap());
        }
    }
    let mut config = peer(PEER, router.address);
    (config.peer_port, config.source_address) = (router.port(), Some(speaker.place.host(1)));
    speaker.add(config).await;
    let mut wire = match state {
        State::Connect => None,
        State::OpenSent => Some(router.dialled().await),
        State::OpenConfirm => Some(router.opened(&good_open()).await.0),
        _ => Some(router.session().await),
    };
    speaker.until("the state", |speaker| speaker.peer(PEER).state == state).await;
    assert!(tasks() > before.0 && sockets(speaker.place.host(1)) > before.1, "something to leave behind");
    speaker.remove(PEER).await;
    if let Some(wire) = &mut wire {
        assert_eq!(wire.notification().await, (6, 3, vec![]), "{state}");
    }
    assert!(!speaker.bgp.snapshot().peers.contains_key(PEER));
    drop(wire);
    let place = speaker.place;
    until("no task and no socket", || (tasks(), sockets(place.host(1))) == before).await;
    speaker.bystander_hears().await;
}

// case: bgp-14
#[tokio::test]
async fn a_peer_that_is_removed_in_any_state_says_6_3_and_leaves_no_socket_and_no_task() {
    for state in [State::Connect, State::OpenSent, State::OpenConfirm, State::Established] {
        leaves_nothing(state).await;
    }
}

// case: bgp-14
#[tokio::test]
async fn a_peer_that_is_removed_while_its_neighbour_does_not_read_leaves_no_socket_and_no_task() {
    let mut speaker = Speaker::start(crate::speaker::Place::new()).await;
    let before = (tasks(), sockets(speaker.place.host(1)));
    let router = Router::narrow(speaker.place.host(2));
    let mut config = peer(PEER, router.address);
    (config.peer_port, config.source_address) = (router.port(), Some(speaker.place.host(1)));
    speaker.add(config).await;
    let _silent = router.session().await;
    crate::slow::block(&speaker).await;
    speaker.remove(PEER).await;
    let place = speaker.place;
    until("no task and no socket", || (tasks(), sockets(place.host(1))) == before).await;
    speaker.bystander_hears().await;
}
