//! Four network namespaces in a row, and what can be asked of them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

/// How long answers to connections that begin together are waited for: less than the second after which they are tried
/// again.
const BEFORE_RETRY: Duration = Duration::from_millis(700);

/// How long an answer to a datagram, which nobody repeats, may take.
const ANSWER: Duration = Duration::from_secs(3);

/// What a closed door takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Knock {
    Open,
    Refused,
    Silent,
}

/// Namespaces `client`, `router`, `node` and `pod`; gone with the last clone.
#[derive(Clone)]
pub(crate) struct Network(Arc<Namespaces>);

struct Namespaces {
    tag: String,
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in ["client", "router", "node", "pod"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{name}", self.tag)]).status();
        }
    }
}

/// A connection of the client to the pod.
pub(crate) struct Connection {
    client: TcpStream,
    pod: TcpStream,
}

impl Connection {
    /// Sends a word there and back.
    pub(crate) fn exchange(&mut self, word: &str) {
        let say = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(word.as_bytes()).unwrap();
            let mut heard = vec![0; word.len()];
            to.read_exact(&mut heard).unwrap();
            assert_eq!(heard, word.as_bytes());
        };
        say(&mut self.client, &mut self.pod);
        say(&mut self.pod, &mut self.client);
    }
}

impl Network {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let tag = format!("bhf{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self(Arc::new(Namespaces { tag }));
        for name in ["client", "router", "node", "pod"] {
            ip(&format!("netns add {}", network.name(name)));
            network.ip(name, "link set lo up");
        }
        for (number, left, right) in [(1, "client", "router"), (2, "router", "node"), (3, "node", "pod")] {
            // The left end has the lower address, but the client, which is no router.
            let [left_host, right_host] = if number == 1 { [2, 1] } else { [1, 2] };
            let (left_link, right_link) = (format!("to-{right}"), format!("to-{left}"));
            let link = format!(
                "link add {left_link} type veth peer name {right_link} netns {}",
                network.name(right)
            );
            network.ip(left, &link);
            for (namespace, link, host) in [(left, &left_link, left_host), (right, &right_link, right_host)] {
                network.ip(namespace, &format!("addr add 10.{number}.0.{host}/24 dev {link}"));
                network.ip(namespace, &format!("addr add fd00:{number}::{host}/64 dev {link} nodad"));
                network.ip(namespace, &format!("link set {link} up"));
            }
        }
        for name in ["router", "node"] {
            network.set(name, "net/ipv4/ip_forward", "1");
            network.set(name, "net/ipv6/conf/all/forwarding", "1");
        }
        for (namespace, gateway) in [("client", "1::1"), ("node", "2::1"), ("pod", "3::1")] {
            network.ip(namespace, &format!("route add default via 10.{}", gateway.replace("::", ".0.")));
            network.ip(namespace, &format!("-6 route add default via fd00:{gateway}"));
        }
        network.ip("router", "route add 203.0.113.0/24 via 10.2.0.2");
        network.ip("router", "-6 route add 2001:db8:7::/64 via fd00:2::2");
        network.ip("router", "route add 10.3.0.0/24 via 10.2.0.2");
        network.ip("router", "-6 route add fd00:3::/64 via fd00:2::2");
        // The neighbours are known, and every packet that is counted is one of the test's.
        for address in ["10.2.0.2", "fd00:2::2"] {
            network.run("client", "ping", &["-c", "1", "-W", "5", address]);
        }
        network
    }

    fn name(&self, namespace: &str) -> String {
        format!("{}-{namespace}", self.0.tag)
    }

    fn ip(&self, namespace: &str, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name(namespace)))
    }

    fn set(&self, namespace: &str, setting: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/{setting}"), value.to_owned());
        self.within(namespace, move || std::fs::write(path, value).unwrap());
    }

    fn run(&self, namespace: &str, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(namespace), program]).args(arguments);
        command.output().expect("this test needs iproute2").status.success()
    }

    /// Runs `work` on a thread of its own in a namespace.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let file = File::open(format!("/run/netns/{}", self.name(namespace))).unwrap();
        let thread = std::thread::spawn(move || {
            // SAFETY: the descriptor is open; it moves this thread only, which ends with the work.
            assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(crate) fn on_node<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.within("node", work)
    }

    /// Runs `nft` on the node.
    pub(crate) fn nft(&self, arguments: &str) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name("node"), "nft"]).args(arguments.split(' '));
        let output = command.output().expect("this test needs iproute2");
        assert!(
            output.status.success(),
            "nft {arguments}: {} (this test needs nftables)",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Does what kube-proxy does: destination NAT to the pod, for what passes and for the node itself.
    pub(crate) fn translate_to_pod(&self, addresses: &[&str; 2], port: u16) {
        for (family, address, pod) in [("ip", addresses[0], "10.3.0.2"), ("ip6", addresses[1], "[fd00:3::2]")]
        {
            self.nft(&format!("add table {family} proxy"));
            for hook in ["prerouting", "output"] {
                let base = format!("{{ type nat hook {hook} priority -100; }}");
                self.nft(&format!("add chain {family} proxy {hook} {base}"));
                self.nft(&format!(
                    "add rule {family} proxy {hook} {family} daddr {address} tcp dport {port} dnat to {pod}:8080"
                ));
            }
            // A pod that reaches itself needs another source.
            self.nft(&format!(
                "add chain {family} proxy postrouting {{ type nat hook postrouting priority 100; }}"
            ));
            let own = if family == "ip" { "10.3.0.2" } else { "fd00:3::2" };
            self.nft(&format!(
                "add rule {family} proxy postrouting {family} saddr {own} {family} daddr {own} masquerade"
            ));
        }
        self.within("pod", || accept_all(TcpListener::bind("[::]:8080").unwrap()));
    }

    /// Makes the addresses the node's own, as the binder does.
    pub(crate) fn bind_on_node(&self, addresses: &[&str; 2]) {
        self.ip("node", &format!("addr add {}/32 dev lo scope host", addresses[0]));
        self.ip("node", &format!("-6 route add local {}/128 dev lo", addresses[1]));
    }

    /// Servers on all addresses of the node.
    pub(crate) fn serve_on_node(&self, ports: &[u16]) {
        for port in ports.iter().copied() {
            self.on_node(move || accept_all(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap()));
        }
    }

    /// Connects the client.
    pub(crate) fn knock(&self, to: SocketAddr) -> Knock {
        self.knock_from("client", to)
    }

    /// Connects from a namespace.
    pub(crate) fn knock_from(&self, namespace: &str, to: SocketAddr) -> Knock {
        self.within(namespace, move || match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(_) => Knock::Open,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Knock::Refused,
            Err(_) => Knock::Silent,
        })
    }

    /// Sends one datagram from the client.
    pub(crate) fn knock_udp(&self, to: SocketAddr) -> Knock {
        self.within("client", move || {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
            let socket = if to.is_ipv4() { UdpSocket::bind("0.0.0.0:0").unwrap() } else { socket };
            socket.set_read_timeout(Some(ANSWER)).unwrap();
            socket.connect(to).unwrap();
            socket.send(b"?").unwrap();
            match socket.recv(&mut [0; 8]) {
                Ok(_) => Knock::Open,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Knock::Refused,
                Err(_) => Knock::Silent,
            }
        })
    }

    /// A connection of the client that a pod of its own port has accepted.
    pub(crate) fn connect_to_pod(&self, to: SocketAddr) -> Connection {
        // The listener on 8080 answers knocks; this one takes the port over for one connection.
        let listener = self.within("pod", || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8081)))).unwrap();
            socket.listen(1).unwrap();
            TcpListener::from(socket)
        });
        let family = if to.is_ipv4() { "ip" } else { "ip6" };
        let pod = if to.is_ipv4() { "10.3.0.2" } else { "[fd00:3::2]" };
        let rule = format!("{family} daddr {} tcp dport {}", to.ip(), to.port());
        self.nft(&format!("insert rule {family} proxy prerouting {rule} dnat to {pod}:8081"));
        let client = self.within("client", move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
        let (pod, _) = listener.accept().unwrap();
        for stream in [&client, &pod] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        self.nft(&format!("flush chain {family} proxy prerouting"));
        self.nft(&format!(
            "add rule {family} proxy prerouting {rule} dnat to {}:8080",
            if to.is_ipv4() { "10.3.0.2" } else { "[fd00:3::2]" }
        ));
        Connection { client, pod }
    }

    /// Whether an echo request of the client is answered.
    pub(crate) fn ping(&self, address: &str) -> bool {
        self.run("client", "ping", &["-c", "1", "-W", "1", address])
    }

    /// How many of `count` connections that the client begins at once are refused before the first is tried again.
    pub(crate) fn refused_of_many(&self, to: SocketAddr, count: u32) -> u32 {
        self.within("client", move || {
            let start = Instant::now();
            let sockets: Vec<Socket> = (0..count)
                .map(|_| {
                    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    let _ = socket.connect(&to.into());
                    socket
                })
                .collect();
            std::thread::sleep(BEFORE_RETRY.saturating_sub(start.elapsed()));
            sockets.iter().filter(|socket| socket.take_error().unwrap().is_some()).count() as u32
        })
    }

    /// How many IP packets the node receives from the router while `work` lasts and until it is quiet.
    pub(crate) fn packets_to_node(&self, work: impl FnOnce()) -> u64 {
        let before = self.received_by_node();
        work();
        let mut last = self.received_by_node();
        let deadline = Instant::now() + PATIENCE;
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.received_by_node();
            if now == last || Instant::now() > deadline {
                return now - before;
            }
            last = now;
        }
    }

    fn received_by_node(&self) -> u64 {
        let text = self.ip("node", "-j -s link show dev to-router");
        let links: Vec<Value> = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    }
}

/// Accepts for the life of the namespace; the thread ends with the test program.
fn accept_all(listener: TcpListener) {
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("this test needs iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {} (this test needs root)",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
