//! Binding addresses, in network namespaces of their own. Needs root and iproute2.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use bellhop_net::addresses::{AddressBinder, LABEL, LoopbackBinder, ROUTE_PROTOCOL, Synced};
use bellhop_net::interfaces::local_addresses;
use serde_json::Value;

/// How long the kernel may take for what it does by itself: link-local addresses (2 s), expiry of the shortest lifetime
/// (3 s), on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` on a thread in a network namespace of its own, with `lo` up, inside a tokio runtime of that thread.
fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: no arguments in memory; it moves this thread only, and the thread ends with the test.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(
            moved,
            0,
            "this test needs root to make a network namespace: {}",
            std::io::Error::last_os_error()
        );
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("this test needs iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &str) -> Vec<Value> {
    let text = ip(&format!("-j {arguments}"));
    if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() }
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The IPv4 addresses on `lo` with our label.
fn bound_v4() -> Vec<Value> {
    let interfaces = json("-4 addr show dev lo");
    let addresses =
        interfaces.iter().flat_map(|interface| interface["addr_info"].as_array().unwrap().clone());
    addresses.filter(|address| address["label"] == LABEL).collect()
}

fn bound_v6() -> Vec<Value> {
    json(&format!("-6 route show table local type local proto {ROUTE_PROTOCOL}"))
}

/// The source that the kernel takes for a destination; `None` where there is no way.
fn source_for(destination: &str) -> Option<String> {
    let output = Command::new("ip").args(["-j", "route", "get", destination]).output().unwrap();
    let routes: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    routes.first()?["prefsrc"].as_str().map(ToOwned::to_owned)
}

/// A link with link-local addresses only, and default routes over it.
fn link_with_link_local_addresses() {
    ip("link add up0 type veth peer name peer0");
    ip("link set up0 up");
    ip("link set peer0 up");
    let link_local = |dev: &str| -> Option<String> {
        let interfaces = json(&format!("-6 addr show dev {dev} scope link"));
        let address = interfaces.first()?["addr_info"].get(0)?.clone();
        let settled = address.get("tentative").is_none();
        settled.then(|| address["local"].as_str().map(ToOwned::to_owned)).flatten()
    };
    eventually("link-local addresses", || link_local("up0").is_some() && link_local("peer0").is_some());
    ip(&format!("-6 route add default via {} dev up0", link_local("peer0").unwrap()));
    ip("route add default dev up0");
}

#[test]
fn bound_addresses_are_of_host_scope_and_expire() {
    in_namespace(async || {
        let mut binder = LoopbackBinder::open().unwrap();
        let synced = binder.sync(&set(&["203.0.113.7", "2001:db8::7"])).await.unwrap();
        assert_eq!(synced, Synced { added: 2, removed: 0, renewed: 0 });

        let v4 = bound_v4();
        assert_eq!(v4.len(), 1, "{v4:?}");
        assert_eq!(v4[0]["local"], "203.0.113.7");
        assert_eq!((v4[0]["prefixlen"].as_u64(), v4[0]["scope"].as_str()), (Some(32), Some("host")));
        let left = v4[0]["valid_life_time"].as_u64().unwrap();
        assert!((150..=180).contains(&left), "{left} s");

        let v6 = bound_v6();
        assert_eq!(v6.len(), 1, "{v6:?}");
        assert_eq!((v6[0]["dst"].as_str(), v6[0]["dev"].as_str()), (Some("2001:db8::7"), Some("lo")));
        let left = v6[0]["expires"].as_u64().unwrap();
        assert!((150..=180).contains(&left), "{left} s");
    });
}

#[test]
fn a_sync_without_a_change_does_nothing_and_one_with_a_change_does_only_that() {
    in_namespace(async || {
        let mut binder = LoopbackBinder::open().unwrap();
        let first = set(&["203.0.113.7", "203.0.113.8", "2001:db8::7", "2001:db8::8"]);
        assert_eq!(binder.sync(&first).await.unwrap().added, 4);
        assert_eq!(binder.sync(&first).await.unwrap(), Synced::default());
        let second = set(&["203.0.113.8", "203.0.113.9", "2001:db8::8"]);
        assert_eq!(binder.sync(&second).await.unwrap(), Synced { added: 1, removed: 2, renewed: 0 });
        assert_eq!((bound_v4().len(), bound_v6().len()), (2, 1));
    });
}

#[test]
fn what_others_put_on_lo_is_left_alone() {
    in_namespace(async || {
        ip("addr add 198.51.100.1/32 dev lo");
        ip("-6 addr add 2001:db8:1::1/128 dev lo nodad");
        ip("-6 route add local 2001:db8:2::1/128 dev lo");
        let mut binder = LoopbackBinder::open().unwrap();
        binder.sync(&set(&["203.0.113.7", "2001:db8::7"])).await.unwrap();
        assert_eq!(binder.sync(&set(&[])).await.unwrap(), Synced { added: 0, removed: 2, renewed: 0 });
        let addresses: Vec<_> =
            local_addresses().await.unwrap().into_iter().map(|local| local.address).collect();
        for kept in ["127.0.0.1", "198.51.100.1", "::1", "2001:db8:1::1"] {
            assert!(addresses.contains(&kept.parse().unwrap()), "{kept} in {addresses:?}");
        }
        assert!(ip("-6 route show table local").contains("2001:db8:2::1"));
    });
}

#[test]
fn a_restarted_process_keeps_what_is_wanted_and_removes_what_is_not() {
    in_namespace(async || {
        let mut before = LoopbackBinder::open().unwrap();
        before.sync(&set(&["203.0.113.7", "203.0.113.8", "2001:db8::7", "2001:db8::8"])).await.unwrap();
        drop(before);
        let mut after = LoopbackBinder::open().unwrap();
        let synced = after.sync(&set(&["203.0.113.7", "2001:db8::7"])).await.unwrap();
        assert_eq!(synced, Synced { added: 0, removed: 2, renewed: 0 });
    });
}

#[test]
fn lifetimes_are_renewed_while_the_process_lives_and_run_out_when_it_does_not() {
    in_namespace(async || {
        let wanted = set(&["203.0.113.7", "2001:db8::7"]);
        let mut binder = LoopbackBinder::with_lifetime(Duration::from_secs(6)).unwrap();
        binder.sync(&wanted).await.unwrap();
        let start = Instant::now();
        let mut renewed = 0;
        while start.elapsed() < Duration::from_secs(9) {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let synced = binder.sync(&wanted).await.unwrap();
            assert_eq!((synced.added, synced.removed), (0, 0), "nothing was missing at any time");
            renewed += synced.renewed;
        }
        assert!(renewed >= 4, "{renewed} renewals");
        drop(binder);
        eventually("expiry", || bound_v4().is_empty() && source_for("2001:db8::7").is_none());
    });
}

#[test]
fn a_bound_address_is_never_the_hosts_own_source_even_where_links_have_link_local_addresses_only() {
    in_namespace(async || {
        link_with_link_local_addresses();
        // The control: what a deprecated address on lo would do, and an IPv4 address of ordinary scope.
        ip("-6 addr add 2001:db8::6/128 dev lo nodad preferred_lft 0 valid_lft 100");
        ip("addr add 203.0.113.6/32 dev lo");
        assert_eq!(source_for("2001:db8:ffff::1").as_deref(), Some("2001:db8::6"));
        assert_eq!(source_for("198.51.100.1").as_deref(), Some("203.0.113.6"));
        ip("-6 addr del 2001:db8::6/128 dev lo");
        ip("addr del 203.0.113.6/32 dev lo");

        let mut binder = LoopbackBinder::open().unwrap();
        binder.sync(&set(&["203.0.113.7", "2001:db8::7"])).await.unwrap();
        let v6 = source_for("2001:db8:ffff::1").unwrap();
        assert!(v6.starts_with("fe80:"), "{v6}");
        assert_ne!(source_for("198.51.100.1").as_deref(), Some("203.0.113.7"));
    });
}

#[test]
fn a_bound_address_is_served_by_a_socket_that_listens_on_all() {
    in_namespace(async || {
        let mut binder = LoopbackBinder::open().unwrap();
        binder.sync(&set(&["203.0.113.7", "2001:db8::7"])).await.unwrap();
        let listener = TcpListener::bind("[::]:8080").unwrap();
        for address in ["203.0.113.7:8080", "[2001:db8::7]:8080"] {
            let stream =
                TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5)).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(accepted.peer_addr().unwrap().port(), stream.local_addr().unwrap().port());
        }
    });
}

#[test]
fn the_kernel_is_told_not_to_answer_arp_for_bound_addresses() {
    in_namespace(async || {
        ip("link add up0 type veth peer name peer0");
        let setting = |interface: &str| format!("/proc/sys/net/ipv4/conf/{interface}/arp_ignore");
        std::fs::write(setting("peer0"), "1").unwrap();
        LoopbackBinder::open().unwrap().sync(&set(&["203.0.113.7"])).await.unwrap();
        let value = |interface: &str| std::fs::read_to_string(setting(interface)).unwrap().trim().to_owned();
        assert_eq!([value("up0"), value("default"), value("all")], ["3", "3", "0"]);
        assert_eq!(value("peer0"), "1", "a stricter setting of the host's owner stays");
    });
}
