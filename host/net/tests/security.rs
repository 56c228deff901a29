//! TCP MD5 and TTL security on real sockets, in network namespaces of their own. Needs root and iproute2.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use bellhop_core::Password;
use bellhop_net::tcp::{self, DialOptions, Md5Drops, Ttl, md5_drops, set_password, set_ttl};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What must come about does within this, on a busy machine: retransmissions double from a fifth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A dial that must stay without an answer is given up after this: its first segment and one more were dropped.
const SILENCE: Duration = Duration::from_millis(1500);

const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

/// Runs `test` on a thread in a network namespace of its own, with `lo` up, inside a tokio runtime of that thread.
fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: no arguments in memory; it moves this thread only, and the thread ends with the test.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "this test needs root: {}", io::Error::last_os_error());
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "this test needs iproute2");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn password(text: &str) -> Password {
    Password::new(text.as_bytes()).unwrap()
}

fn listen(address: &str, known: &[(IpAddr, &Password)]) -> TcpListener {
    tcp::listen(
        SocketAddr::new(address.parse().unwrap(), 0),
        known.iter().map(|(neighbour, password)| ((*neighbour).into(), *password)),
    )
    .unwrap()
}

async fn dial(
    listener: &TcpListener,
    password: Option<&str>,
    ttl: Ttl,
    patience: Duration,
) -> io::Result<TcpStream> {
    dial_from(None, listener, password, ttl, patience).await
}

async fn dial_from(
    source: Option<&str>,
    listener: &TcpListener,
    password: Option<&str>,
    ttl: Ttl,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let password = password.map(|text| Password::new(text.as_bytes()).unwrap());
    let options = DialOptions {
        source: source.map(|text| text.parse().unwrap()),
        interface: None,
        ttl,
        password,
        timeout,
    };
    tcp::dial(listener.local_addr()?, &options).await
}

/// What `from` says arrives.
async fn arrives(from: &mut TcpStream, to: &mut TcpStream, word: &[u8]) {
    from.write_all(word).await.unwrap();
    heard(to, word).await;
}

async fn heard(stream: &mut TcpStream, word: &[u8]) {
    let mut buffer = vec![0; word.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut buffer)).await.expect("nothing arrives").unwrap();
    assert_eq!(buffer, word);
}

/// Whether nothing arrives for this long.
async fn is_silent(stream: &TcpStream, time: Duration) -> bool {
    tokio::time::timeout(time, stream.peek(&mut [0])).await.is_err()
}

async fn until(what: &str, mut holds: impl FnMut(Md5Drops) -> bool) {
    let begin = Instant::now();
    while !holds(md5_drops().unwrap()) {
        assert!(begin.elapsed() < PATIENCE, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn two_with_one_password_connect_and_talk_over_both_families() {
    in_namespace(async || {
        for address in LOOPBACKS {
            let (neighbour, key) = (address.parse().unwrap(), password("hush"));
            let listener = listen(address, &[(neighbour, &key)]);
            let mut client = dial(&listener, Some("hush"), Ttl::Default, PATIENCE).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            arrives(&mut client, &mut server, b"ping").await;
            arrives(&mut server, &mut client, b"pong").await;
        }
        assert_eq!(md5_drops().unwrap(), Md5Drops::default());
    });
}

#[test]
fn another_password_or_none_has_no_answer_and_is_counted() {
    in_namespace(async || {
        for address in LOOPBACKS {
            let key = password("hush");
            let signing = listen(address, &[(address.parse().unwrap(), &key)]);
            let open = listen(address, &[]);
            let before = md5_drops().unwrap();
            let wrong = dial(&signing, Some("hash"), Ttl::Default, SILENCE).await.unwrap_err();
            let unsigned = dial(&signing, None, Ttl::Default, SILENCE).await.unwrap_err();
            let unexpected = dial(&open, Some("hush"), Ttl::Default, SILENCE).await.unwrap_err();
            for error in [wrong, unsigned, unexpected] {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            }
            let after = md5_drops().unwrap();
            assert!(after.wrong > before.wrong, "{after:?}");
            assert!(after.unsigned > before.unsigned, "{after:?}");
            assert!(after.unexpected > before.unexpected, "{after:?}");
        }
    });
}

#[test]
fn the_password_of_one_neighbour_or_range_is_nobody_elses() {
    in_namespace(async || {
        let key = password("hush");
        let listener = listen("127.0.0.1", &[("127.0.0.2".parse().unwrap(), &key)]);
        let to = async |source, password| {
            dial_from(Some(source), &listener, password, Ttl::Default, SILENCE).await.is_ok()
        };
        assert!(to("127.0.0.2", Some("hush")).await && !to("127.0.0.2", None).await);
        assert!(to("127.0.0.3", None).await);
        let range: IpNet = "127.0.4.0/24".parse().unwrap();
        set_password(&listener, range, Some(&key)).unwrap();
        assert!(to("127.0.4.7", Some("hush")).await && !to("127.0.4.7", None).await);
        assert!(to("127.0.5.7", None).await);
        set_password(&listener, range, None).unwrap();
        assert!(to("127.0.4.7", None).await);
    });
}

#[test]
fn a_new_password_on_both_sides_leaves_the_connection_and_loses_nothing() {
    in_namespace(async || {
        for address in LOOPBACKS {
            let neighbour: IpAddr = address.parse().unwrap();
            let (old, new) = (password("the old one"), password("the new one"));
            let listener = listen(address, &[(neighbour, &old)]);
            let mut client = dial(&listener, Some("the old one"), Ttl::Default, PATIENCE).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            arrives(&mut client, &mut server, b"before").await;

            let before = md5_drops().unwrap();
            set_password(&client, IpNet::from(neighbour), Some(&new)).unwrap();
            client.write_all(b"in between").await.unwrap();
            until("the other side drops what it cannot check", |now| now.wrong > before.wrong).await;
            assert!(
                is_silent(&server, Duration::from_millis(100)).await,
                "what has another signature arrived"
            );

            set_password(&server, IpNet::from(neighbour), Some(&new)).unwrap();
            heard(&mut server, b"in between").await;
            arrives(&mut server, &mut client, b"after").await;
        }
    });
}

#[test]
fn ttl_security_takes_what_is_near_and_drops_what_is_not() {
    in_namespace(async || {
        for address in LOOPBACKS {
            let listener = listen(address, &[]);
            let near = |hops| Ttl::Security(hops);
            // The listener answers with 255, as whoever dials with TTL security wants it.
            let mut client = dial(&listener, None, near(1), PATIENCE).await.unwrap();
            let (mut server, remote) = listener.accept().await.unwrap();
            set_ttl(&server, remote.ip(), near(1)).unwrap();
            arrives(&mut client, &mut server, b"near").await;
            arrives(&mut server, &mut client, b"near too").await;

            // As over one router more than may be, and as over as many as may be.
            set_ttl(&client, remote.ip(), Ttl::Sent(254)).unwrap();
            client.write_all(b"far").await.unwrap();
            assert!(is_silent(&server, SILENCE).await, "what came from too far arrived");
            set_ttl(&server, remote.ip(), near(2)).unwrap();
            heard(&mut server, b"far").await;
        }
    });
}
