use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bellhop_core::names::NamespacedName;
use bellhop_core::objects::{AddressClaim, DecidedBy, Holder, Port, Protocol};

use super::*;

/// Tells this test binary, started again as a child, which state directory to write into.
const CHILD_STATE: &str = "BELLHOP_TEST_CLAIM_WRITER";

/// How often the writer is killed.
const KILLS: u32 = 25;

fn claim(address: &str, name: &str) -> AddressClaim {
    AddressClaim {
        address: address.parse().unwrap(),
        pool: Some("public".into()),
        holders: vec![Holder {
            service: NamespacedName::new("web", name),
            // Texts that YAML would take for numbers or booleans must come back as texts.
            uid: "0123".into(),
            ports: vec![
                Port { protocol: Protocol::Tcp, port: 80 },
                Port { protocol: Protocol::Udp, port: 53 },
            ],
            sharing_key: Some("yes".into()),
        }],
        decided_by: Some(
            DecidedBy {
                policy: "by-label".into(),
                digest: "12e4".into(),
                note: Some("line one\nline: two # three".into()),
            }
            .into(),
        ),
    }
}

fn open(state: &Path) -> ClaimFiles {
    ClaimFiles::open(WriterLock::try_acquire(state).unwrap().expect("nobody else writes")).unwrap()
}

/// Every claim of a state directory; fails on one that is not whole.
fn read(state: &Path) -> Vec<AddressClaim> {
    let mut claims: Vec<_> = fs::read_dir(ClaimFiles::folder(state))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            claim_from_yaml(&text).unwrap_or_else(|error| panic!("{}: {error}: {text:?}", path.display()))
        })
        .collect();
    claims.sort_by_key(|claim| claim.address);
    claims
}

#[test]
fn a_claim_reads_back_as_it_was_written() {
    for claim in [
        claim("203.0.113.7", "shop"),
        claim("2001:db8::7", "shop"),
        AddressClaim { pool: None, holders: Vec::new(), decided_by: None, ..claim("203.0.113.8", "shop") },
    ] {
        let text = claim_to_yaml(&claim).unwrap();
        assert!(
            text.contains("apiVersion: bellhop.dev/v1alpha1") && text.contains("kind: AddressClaim"),
            "{text}"
        );
        assert_eq!(claim_from_yaml(&text).unwrap(), claim, "{text}");
    }
}

#[test]
fn a_claim_is_named_after_its_address_and_a_wrong_name_is_refused() {
    assert_eq!(claim_name("203.0.113.7".parse().unwrap()), "203.0.113.7");
    assert_eq!(claim_name("2001:db8::7".parse().unwrap()), "2001-0db8-0000-0000-0000-0000-0000-0007");
    let text = claim_to_yaml(&claim("203.0.113.7", "shop")).unwrap();
    // The name comes before the address.
    let text = text.replacen("203.0.113.7", "203.0.113.8", 1);
    let error = claim_from_yaml(&text).unwrap_err().to_string();
    assert!(error.contains("203.0.113.8") && error.contains("203.0.113.7"), "{error}");
}

#[test]
fn a_second_creation_of_an_address_fails_and_leaves_the_first() {
    let state = tempfile::tempdir().unwrap();
    let mut files = open(state.path());
    files.create(&claim("203.0.113.7", "first")).unwrap();
    let error = files.create(&claim("203.0.113.7", "second")).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert_eq!(read(state.path()), [claim("203.0.113.7", "first")]);
}

#[test]
fn a_claim_is_replaced_and_released() {
    let state = tempfile::tempdir().unwrap();
    let mut files = open(state.path());
    let address = "2001:db8::7".parse().unwrap();
    assert!(matches!(files.update(&claim("2001:db8::7", "a")), Err(StoreError::Missing { .. })));
    files.create(&claim("2001:db8::7", "a")).unwrap();
    files.update(&claim("2001:db8::7", "b")).unwrap();
    assert_eq!(read(state.path()), [claim("2001:db8::7", "b")]);
    files.release(address).unwrap();
    files.release(address).expect("a claim that is gone already is as it should be");
    assert_eq!(
        fs::read_dir(ClaimFiles::folder(state.path())).unwrap().count(),
        0,
        "nothing temporary is left"
    );
}

#[test]
fn the_writer_removes_what_a_killed_one_left() {
    let state = tempfile::tempdir().unwrap();
    drop(open(state.path()));
    let left = ClaimFiles::folder(state.path()).join(".claim-1-1");
    fs::write(&left, "half a cl").unwrap();
    let _files = open(state.path());
    assert!(!left.exists());
}

#[test]
fn the_fake_keeps_the_rules_of_the_files_and_fails_where_it_is_told_to() {
    let mut store = FakeClaims::default();
    store.create(&claim("203.0.113.1", "a")).unwrap();
    store.broken.insert("203.0.113.2".parse().unwrap());
    store.unreadable.insert("203.0.113.3".parse().unwrap());
    let category = |result: Result<(), StoreError>| result.unwrap_err().category();
    assert_eq!(category(store.create(&claim("203.0.113.1", "b"))), "exists");
    assert_eq!(category(store.create(&claim("203.0.113.2", "b"))), "io");
    assert_eq!(category(store.create(&claim("203.0.113.3", "b"))), "exists");
    assert_eq!(category(store.update(&claim("203.0.113.4", "b"))), "missing");
    assert_eq!(store.claims.len(), 1);
}

/// The child's part of the tests below: takes the lock, says so, and writes until it is killed.
#[test]
fn the_child_that_writes_claims_until_it_is_killed() {
    let Some(state) = std::env::var_os(CHILD_STATE) else { return };
    let state = Path::new(&state);
    let mut files = open(state);
    fs::write(state.join("ready"), "").unwrap();
    for turn in 0_u32.. {
        let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, u8::try_from(turn % 8).unwrap()));
        let change = match turn / 8 % 3 {
            0 => files.create(&AddressClaim { address, ..claim("203.0.113.0", "a") }),
            1 => files.update(&AddressClaim { address, ..claim("203.0.113.0", "b") }),
            _ => files.release(address),
        };
        // Claims of the child before are there already, or are not.
        assert!(!matches!(change, Err(StoreError::Io { .. } | StoreError::Encode { .. })), "{change:?}");
    }
}

fn start_writer(state: &Path) -> Child {
    let _ = fs::remove_file(state.join("ready"));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "claims::tests::the_child_that_writes_claims_until_it_is_killed"])
        .env(CHILD_STATE, state)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !state.join("ready").exists() {
        assert!(Instant::now() < deadline, "the writer did not start");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

#[test]
fn every_claim_file_is_whole_after_the_writer_is_killed_at_any_moment() {
    let state = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let mut child = start_writer(state.path());
        // Moments are spread, so that kills hit every step of a write.
        std::thread::sleep(Duration::from_micros(u64::from(kill) * 1_370 % 11_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for claim in read(state.path()) {
            assert_eq!(claim.holders.len(), 1);
        }
    }
}

#[test]
fn while_one_process_writes_another_cannot_and_after_its_death_it_can() {
    let state = tempfile::tempdir().unwrap();
    let mut child = start_writer(state.path());
    assert!(WriterLock::try_acquire(state.path()).unwrap().is_none(), "the lock is with the child");
    child.kill().unwrap();
    child.wait().unwrap();
    let lock =
        WriterLock::try_acquire(state.path()).unwrap().expect("the kernel let go of the dead child's lock");
    assert!(WriterLock::try_acquire(state.path()).unwrap().is_none(), "not twice in one process either");
    drop(lock);
    assert!(WriterLock::try_acquire(state.path()).unwrap().is_some());
}
