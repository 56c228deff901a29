//! The packet filter with real packets, in network namespaces of its own. Needs root, iproute2, nftables and iputils.
//!
//! ```text
//! client 10.1.0.2 ── 10.1.0.1 router 10.2.0.1 ── 10.2.0.2 node 10.3.0.1 ── 10.3.0.2 pod
//! ```
//! The router sends the announced addresses to the node, and the node everything else back to the router.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod network;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bellhop_core::objects::{Port, Protocol};
use bellhop_net::nftables::{FilterTable, NfTables, PacketFilter, REFUSALS_PER_SECOND, TableWatch};
use network::{Knock, Network};

/// What the client knocks at: one address of each family, and one that an aggregate has unused.
const ANNOUNCED: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const UNUSED: [&str; 2] = ["203.0.113.200", "2001:db8:7::200"];
const NODE: [&str; 2] = ["10.2.0.2", "fd00:2::2"];
const SSH: u16 = 22;
const WEB: u16 = 80;

/// What the kernel or another program may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn tcp(port: u16) -> Port {
    Port { protocol: Protocol::Tcp, port }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// The announced addresses with port 80, within announced aggregates.
fn table(echo_reply: bool) -> FilterTable {
    FilterTable {
        addresses: ANNOUNCED.map(|address| (address.parse().unwrap(), [tcp(WEB)].into())).into(),
        aggregates: ["203.0.113.0/24", "2001:db8:7::/64"].map(|net| net.parse().unwrap()).into(),
        echo_reply,
    }
}

/// The node's filter as `wanted`.
fn filtered(network: &Network, wanted: FilterTable) -> NfTables {
    network.on_node(move || {
        let mut filter = NfTables::open().unwrap();
        filter.replace(&wanted).unwrap();
        filter
    })
}

#[test]
fn a_closed_port_is_refused_and_not_sent_back_to_the_router() {
    let network = Network::new();
    for address in ANNOUNCED {
        let looped = network.packets_to_node(|| _ = network.knock_udp(at(address, 53)));
        assert!(looped > 20, "without the table the packet goes round until its TTL ends: {looped}");
    }
    let _filter = filtered(&network, table(false));
    for address in ANNOUNCED.into_iter().chain(UNUSED) {
        assert_eq!(network.knock(at(address, 443)), Knock::Refused, "{address}");
        let mut knock = Knock::Silent;
        let packets = network.packets_to_node(|| knock = network.knock_udp(at(address, 53)));
        assert_eq!((knock, packets), (Knock::Refused, 1), "{address}");
    }
}

#[test]
fn a_service_that_nothing_on_the_node_serves_is_not_sent_back_to_the_router_either() {
    let network = Network::new();
    let _filter = filtered(&network, table(false));
    for address in ANNOUNCED {
        let mut knock = Knock::Silent;
        let packets = network.packets_to_node(|| knock = network.knock(at(address, WEB)));
        assert_eq!((knock, packets), (Knock::Refused, 1), "{address}");
    }
}

#[test]
fn a_service_port_passes_to_the_pod_and_an_established_connection_outlives_its_port() {
    let network = Network::new();
    network.translate_to_pod(&ANNOUNCED, WEB);
    let mut filter = filtered(&network, table(false));
    for address in ANNOUNCED {
        let mut connection = network.connect_to_pod(at(address, WEB));
        connection.exchange("before");
        let mut without = table(false);
        without.addresses.get_mut(&address.parse::<IpAddr>().unwrap()).unwrap().clear();
        filter.replace(&without).unwrap();
        connection.exchange("after");
        assert_eq!(network.knock(at(address, WEB)), Knock::Refused, "{address}: a new one");
        filter.replace(&table(false)).unwrap();
        assert_eq!(network.knock(at(address, WEB)), Knock::Open, "{address}: again a new one");
    }
}

#[test]
fn the_node_and_its_pods_reach_a_service_by_its_announced_address() {
    let network = Network::new();
    network.translate_to_pod(&ANNOUNCED, WEB);
    let _filter = filtered(&network, table(false));
    for address in ANNOUNCED {
        assert_eq!(network.knock_from("node", at(address, WEB)), Knock::Open, "{address} from the node");
        assert_eq!(network.knock_from("pod", at(address, WEB)), Knock::Open, "{address} from its pod");
    }
}

#[test]
fn a_bound_address_gives_its_service_and_no_other_socket_of_the_host() {
    let network = Network::new();
    network.bind_on_node(&ANNOUNCED);
    network.serve_on_node(&[SSH, WEB]);
    assert_eq!(network.knock(at(ANNOUNCED[0], SSH)), Knock::Open, "the control: without the table it does");
    let _filter = filtered(&network, table(false));
    for (address, own) in ANNOUNCED.into_iter().zip(NODE) {
        assert_eq!(network.knock(at(address, WEB)), Knock::Open, "{address}");
        assert_eq!(network.knock(at(address, SSH)), Knock::Refused, "{address}");
        assert_eq!(network.knock(at(own, SSH)), Knock::Open, "{own}");
        assert_eq!(network.knock_from("node", at(address, SSH)), Knock::Open, "the host among itself");
    }
}

#[test]
fn an_address_of_the_host_that_lies_in_an_aggregate_is_left_alone() {
    let network = Network::new();
    network.serve_on_node(&[SSH]);
    network.bind_on_node(&UNUSED);
    let _filter = filtered(&network, table(false));
    for address in UNUSED {
        assert_eq!(network.knock(at(address, SSH)), Knock::Open, "{address}");
    }
}

#[test]
fn echo_is_answered_as_set_and_never_by_an_unused_address() {
    for bound in [false, true] {
        let network = Network::new();
        if bound {
            network.bind_on_node(&ANNOUNCED);
        }
        let mut filter = filtered(&network, table(false));
        for address in ANNOUNCED {
            assert!(!network.ping(address), "{address}, bound: {bound}");
        }
        let (filter, replaced) = network.on_node(move || {
            let replaced = filter.replace(&table(true)).unwrap();
            (filter, replaced)
        });
        assert!(replaced.messages > 0);
        for (address, unused) in ANNOUNCED.into_iter().zip(UNUSED) {
            assert!(network.ping(address), "{address}, bound: {bound}");
            assert!(!network.ping(unused), "{unused}");
        }
        drop(filter);
    }
}

#[test]
fn refusals_are_answered_at_a_bounded_rate() {
    let bound = f64::from(REFUSALS_PER_SECOND);
    for address in [ANNOUNCED[0], UNUSED[0]] {
        let network = Network::new();
        let _filter = filtered(&network, table(false));
        let start = Instant::now();
        let refused = network.refused_of_many(at(address, 443), 4 * REFUSALS_PER_SECOND);
        let seconds = start.elapsed().as_secs_f64();
        let most = bound * (seconds + 1.0);
        assert!((bound..=most).contains(&f64::from(refused)), "{address}: {refused} in {seconds} s");
    }
}

#[test]
fn a_changed_or_removed_table_is_noticed_and_put_back_and_our_own_changes_are_not_taken_for_others() {
    let network = Network::new();
    let before = network.on_node({
        let network = network.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut filter = NfTables::open().unwrap();
                let mut watch = filter.watch().unwrap();
                filter.replace(&table(false)).unwrap();
                filter.replace(&FilterTable { addresses: [].into(), ..table(false) }).unwrap();
                filter.replace(&table(false)).unwrap();
                network.nft("add table inet other { chain c { accept; }; }");
                let nobody = tokio::time::timeout(Duration::from_millis(300), watch.disturbed()).await;
                assert!(nobody.is_err(), "our own changes and another table's");
                let before = network.nft("list table inet bellhop");
                for tampering in [
                    "delete table inet bellhop",
                    "insert rule inet bellhop refuse accept",
                    "add element inet bellhop services-v4 { 203.0.113.7 . tcp . 22 }",
                    "flush ruleset",
                ] {
                    network.nft(tampering);
                    let noticed = tokio::time::timeout(PATIENCE, watch.disturbed()).await;
                    noticed.unwrap_or_else(|_| panic!("{tampering} was not noticed")).unwrap();
                    filter.forget();
                    filter.replace(&table(false)).unwrap();
                    assert_eq!(network.nft("list table inet bellhop"), before, "after {tampering}");
                }
                before
            })
        }
    });
    assert!(before.contains("203.0.113.7 . tcp . 80"), "{before}");
}

#[test]
fn ten_thousand_addresses_are_written_at_once_and_one_more_costs_two_messages() {
    let network = Network::new();
    let many = |count: u32| {
        let mut table = FilterTable::default();
        for index in 0..count {
            let address = std::net::Ipv4Addr::from(0xcb00_0000 + index);
            table.addresses.insert(address.into(), [tcp(80), tcp(443)].into());
        }
        table
    };
    let (whole, one, took) = network.on_node(move || {
        let mut filter = NfTables::open().unwrap();
        let start = Instant::now();
        let whole = filter.replace(&many(10_000)).unwrap();
        let took = start.elapsed();
        (whole, filter.replace(&many(10_001)).unwrap(), took)
    });
    println!(
        "10,000 addresses: {} messages, {} bytes, {took:?}; one more: {one:?}",
        whole.messages, whole.bytes
    );
    assert!(whole.messages < 100 && whole.bytes < 1_000_000, "{whole:?}");
    assert!(one.messages == 2 && one.bytes < 400, "{one:?}");
    assert!(took < PATIENCE, "{took:?}");
    let elements = network.nft("list set inet bellhop services-v4").matches(" . tcp . ").count();
    assert_eq!(elements, 20_002);
}

#[test]
fn a_new_process_takes_over_the_table_and_an_empty_one_takes_it_away() {
    let network = Network::new();
    drop(filtered(&network, table(true)));
    let mut next = filtered(&network, FilterTable { echo_reply: false, ..table(true) });
    let listed = network.nft("list table inet bellhop");
    assert!(listed.contains("chain arriving") && !listed.contains("chain echo"), "{listed}");
    next.replace(&FilterTable::default()).unwrap();
    assert_eq!(network.nft("list tables"), "");
}

#[test]
fn what_the_kernel_refuses_is_told_with_what_would_be_right() {
    let network = Network::new();
    let error = network.on_node(|| {
        // SAFETY: no pointers. The system call itself is of this thread alone, which ends with this closure; the C
        // library's function of that name would change all threads.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        NfTables::open().err()
    });
    let error = error.expect("a process without CAP_NET_ADMIN must not get a filter");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("CAP_NET_ADMIN")), "{error:?}");
}
