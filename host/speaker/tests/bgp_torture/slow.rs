//! Neighbours that do not read.

use std::time::Duration;

use bellhop_core::RouteAttributes;
use ipnet::IpNet;

use crate::messages::HeardUpdate;
use crate::peer::{End, Router};
use crate::speaker::{PEER, Speaker};

/// Octets between the machine and the socket: four chunks, and one that is being written.
const UNDER_WAY: u64 = 5 * 16 * 1024;

/// Announces routes to the peer until it takes no more; returns how many.
pub(crate) async fn block(speaker: &Speaker) -> usize {
    let (mut count, mut quiet) = (0_u32, 0);
    let mut sent = 0;
    while quiet < 40 {
        let status = speaker.peer(PEER);
        if status.prefixes_sent == status.prefixes_wanted {
            // Each with attributes of its own, so that each is an UPDATE.
            for _ in 0..500 {
                let prefix: IpNet =
                    format!("10.{}.{}.{}/32", count >> 16, count >> 8 & 255, count & 255).parse().unwrap();
                let attributes = RouteAttributes { med: Some(count), ..RouteAttributes::default() };
                speaker.announce(PEER, [prefix], Some(attributes)).await;
                count += 1;
            }
            assert!(count < 200_000, "the neighbour's kernel takes everything");
        }
        quiet = if status.prefixes_sent == sent { quiet + 1 } else { 0 };
        sent = status.prefixes_sent;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    count as usize
}

/// Octets in the kernel's queues: what the speaker's socket has not delivered yet, and what the neighbour's has and nobody read.
fn in_the_kernel(speaker: std::net::SocketAddr, router: std::net::SocketAddr) -> u64 {
    let hex = |address: std::net::SocketAddr| {
        let std::net::IpAddr::V4(ip) = address.ip() else { panic!("{address} is not of IPv4") };
        let octets: String = ip.octets().iter().rev().map(|octet| format!("{octet:02X}")).collect();
        format!("{octets}:{:04X}", address.port())
    };
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let queue = |local: &str, remote: &str, which: usize| {
        let line = table.lines().find(|line| line.contains(&format!(" {local} {remote} "))).unwrap();
        let queues = line.split_whitespace().nth(4).unwrap().split(':').nth(which).unwrap();
        u64::from_str_radix(queues, 16).unwrap()
    };
    let (speaker, router) = (hex(speaker), hex(router));
    queue(&speaker, &router, 0) + queue(&router, &speaker, 1)
}

// case: bgp-66
#[tokio::test]
async fn a_thousand_flaps_towards_a_neighbour_that_does_not_read_are_one_update_and_delay_nobody() {
    let (mut speaker, router) = Speaker::with(Router::narrow, |_| {}).await;
    let mut wire = router.session().await;
    speaker.established().await;
    let others = block(&speaker).await;
    let flapping: IpNet = "192.0.2.77/32".parse().unwrap();
    let before = speaker.peer(PEER).counters;
    for i in 0..1000 {
        speaker.announce(PEER, [flapping], None).await;
        let attributes = RouteAttributes { med: Some(1_000_000 + i), ..RouteAttributes::default() };
        speaker.announce(PEER, [flapping], Some(attributes)).await;
        if i % 100 == 0 {
            let delay = speaker.bystander_hears().await;
            assert!(delay < Duration::from_secs(1), "the bystander waits {delay:?}");
        }
    }
    let status = speaker.peer(PEER);
    assert_eq!(status.prefixes_wanted, others + 1);
    assert_eq!(status.counters, before, "nothing goes to a neighbour that does not read");
    let waits = before.octets_sent - in_the_kernel(wire.remote(), wire.local());
    assert!(waits <= UNDER_WAY, "{waits} octets wait beside the machine");
    // Now it reads.
    let (mut heard, mut flaps): (usize, Vec<HeardUpdate>) = (0, Vec::new());
    while heard < others + 1 {
        let update = wire.update().await;
        heard += update.announced.len();
        if update.announced.contains(&flapping) || update.withdrawn.contains(&flapping) {
            flaps.push(update);
        }
    }
    assert_eq!(flaps.len(), 1, "{flaps:?}");
    assert_eq!(flaps[0].attributes[&4], 1_000_999_u32.to_be_bytes(), "the MED of the last one");
    assert_eq!(speaker.peer(PEER).prefixes_sent, others + 1);
    assert_eq!(speaker.peer(PEER).counters.downs, 0);
}

#[tokio::test]
async fn a_neighbour_that_reads_nothing_ends_at_its_silence_as_any_other() {
    let three = |peer: &mut bellhop_speaker::bgp::PeerConfig| peer.hold_time = Duration::from_secs(3);
    let (mut speaker, router) = Speaker::with(Router::narrow, three).await;
    let open = crate::messages::Open { hold_time: 3, ..crate::messages::good_open() };
    let mut wire = router.session_with(&open).await;
    block(&speaker).await;
    let told = speaker.last_error().await;
    assert!(told.contains("Hold Timer Expired"), "{told}");
    speaker.bystander_hears().await;
    // The NOTIFICATION stands behind what was not read: within a second it is given up.
    let mut end = wire.hear().await;
    while end.is_ok() {
        end = wire.hear().await;
    }
    assert!(matches!(end, Err(End::Closed | End::Reset)));
}
