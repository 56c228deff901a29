//! A lab with Bellhop in it and manifests of the test's own, and what the routers hear of them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bellhop_lab::Lab;
use bellhop_lab::bellhop::{Bellhop, Programs, tail};
use bellhop_lab::command::output_of;
use bellhop_lab::lab::Guard;
use bellhop_lab::manifests::Manifests;
use bellhop_lab::netns::Namespace;
use bellhop_lab::observe::bgp::{Family, Neighbor, Path, UpdateLog, host_route, table};
use bellhop_lab::plan::{Node, Router};
use bellhop_lab::wait::wait_for;
use serde_json::Value;

/// Far above what anything here takes; a slow machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// What the routers' FRR offers, so that a hold time below it is the speaker's wish.
pub(crate) const HOLD_TIME: &str = "9s";
/// Lines of each log that a failure shows.
const TAIL: usize = 12;

/// All nodes of the lab.
pub(crate) const NODES: [Node; 3] = Node::ALL;
/// The first one.
pub(crate) const NODE: Node = Node::ALL[0];

/// What a router holds, by prefix, both families.
pub(crate) type Heard = BTreeMap<String, Vec<Path>>;

/// A lab, the nodes' processes, and their manifests. The lab goes with it.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) bellhop: Bellhop,
    manifests: Manifests,
    guard: Option<Guard>,
    marks: Cell<u8>,
}

impl Site {
    /// A lab whose manifests hold the nodes, two pools and the nodes' AS number; no process runs yet.
    pub(crate) fn up(prefix: &str) -> Self {
        let programs = Programs::from_environment().unwrap();
        let lab = Lab::named(prefix, env!("CARGO_BIN_EXE_lab")).unwrap();
        let guard = Guard::up(lab.clone()).unwrap();
        let manifests = Manifests::empty(lab.run().join("manifests")).unwrap();
        let bellhop = Bellhop::new(lab.clone(), programs, manifests.folder());
        let site = Self { lab, bellhop, manifests, guard: Some(guard), marks: Cell::new(0) };
        for node in NODES {
            site.label_node(node, "{}");
        }
        site.put("SpeakerConfig", "default", "{asn: 64500, drain: {wait: 1s}}");
        for (name, addresses) in [
            ("public", "203.0.113.0/25, '2001:db8:53::/64'"),
            ("inside", "203.0.113.128/25, '2001:db8:53:1::/64'"),
        ] {
            let spec = format!("{{addresses: [{addresses}]}}");
            site.put_labelled("AddressPool", name, &format!("{{reach: {name}}}"), &spec);
        }
        site
    }

    /// Starts the process of each of these nodes.
    pub(crate) fn start(mut self, nodes: &[Node]) -> Self {
        for node in nodes {
            self.bellhop.start(*node).unwrap();
        }
        self
    }

    /// Both routers as peers, named as they are: an external one at the edge, an internal one in the core.
    pub(crate) fn with_routers(self) -> Self {
        for (router, role) in [(Router::A, "edge"), (Router::B, "core")] {
            let labels = format!("{{role: {role}}}");
            self.put_labelled("BGPPeer", router.name(), &labels, &peer(router, ""));
        }
        self
    }

    /// Ends the processes and removes the lab.
    pub(crate) fn down(mut self) {
        self.guard.take().unwrap().down().unwrap();
    }

    /// Writes an object of one of Bellhop's own kinds, anew or in place of what it was.
    pub(crate) fn put(&self, kind: &str, name: &str, spec: &str) {
        self.put_labelled(kind, name, "{}", spec);
    }

    /// The same with labels.
    pub(crate) fn put_labelled(&self, kind: &str, name: &str, labels: &str, spec: &str) {
        let text = format!(
            "apiVersion: bellhop.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {spec}\n"
        );
        self.write(kind, name, &text);
    }

    /// Writes a manifest of any kind.
    pub(crate) fn write(&self, kind: &str, name: &str, text: &str) {
        self.manifests.write(&file(kind, name), text).unwrap();
    }

    /// Removes an object.
    pub(crate) fn remove(&self, kind: &str, name: &str) {
        self.manifests.remove(&file(kind, name)).unwrap();
    }

    /// Gives a node these labels beside its host name.
    pub(crate) fn label_node(&self, node: Node, labels: &str) {
        let name = node.name();
        let further = labels.trim_start_matches('{');
        let labels = format!("{{kubernetes.io/hostname: {name}, {further}");
        let text = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {labels}}}\nstatus:\n  addresses:\n  \
             - {{type: InternalIP, address: {}}}\n  - {{type: InternalIP, address: '{}'}}\n  \
             conditions: [{{type: Ready, status: 'True'}}]\n",
            node.ipv4(),
            node.ipv6()
        );
        self.write("Node", &name, &text);
    }

    /// A Service on every node with these labels and addresses.
    pub(crate) fn serve(&self, name: &str, labels: &str, addresses: &[IpAddr]) {
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let families: BTreeSet<&str> = addresses.iter().map(|address| family_name(*address)).collect();
        let policy = if families.len() == 2 { "RequireDualStack" } else { "SingleStack" };
        let families = families.into_iter().collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: shop\n  name: {name}\n  labels: {labels}\n  \
             annotations: {{bellhop.dev/addresses: '{}'}}\nspec:\n  type: LoadBalancer\n  ipFamilyPolicy: {policy}\n  \
             ipFamilies: [{families}]\n  ports: [{{port: 8080, protocol: TCP}}]\n",
            list.join(",")
        );
        for family in ["IPv4", "IPv6"] {
            text += &format!(
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  namespace: shop\n  \
                 name: {name}-{0}\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: {family}\n\
                 ports: [{{port: 8080}}]\nendpoints:\n",
                family.to_lowercase()
            );
            for node in NODES {
                let address: IpAddr = if family == "IPv4" { node.ipv4().into() } else { node.ipv6().into() };
                text += &format!(
                    "- {{addresses: ['{address}'], nodeName: {}, conditions: {{ready: true}}}}\n",
                    node.name()
                );
            }
        }
        self.write("Service", name, &text);
    }

    /// Waits until these nodes have read every edit before.
    pub(crate) fn until_read(&self, nodes: &[Node]) {
        // Nobody is at this address. What is written later is read no earlier.
        let address = Ipv4Addr::new(192, 0, 2, 128 + self.marks.get());
        self.marks.set((self.marks.get() + 1) % 64);
        self.put("BGPPeer", "mark", &format!("{{peerAddress: {address}, peerASN: 64499}}"));
        for node in nodes {
            self.until("the edit is read", || match self.peer_status(*node, "mark") {
                told if told["address"] == address.to_string() => Ok(()),
                told => Err(told.to_string()),
            });
        }
    }

    /// Everything that a router holds.
    pub(crate) fn heard(&self, router: Router) -> Result<Heard, String> {
        let frr = self.lab.frr(router);
        let mut heard = Heard::new();
        for family in Family::ALL {
            heard.extend(table(&frr, family).map_err(|error| format!("{error:#}"))?);
        }
        heard.retain(|_, paths| !paths.is_empty());
        Ok(heard)
    }

    /// Waits until what a router holds is as `holds` says.
    pub(crate) fn until_heard(&self, router: Router, what: &str, holds: impl Fn(&Heard) -> bool) {
        self.until(&format!("{} hears {what}", router.name()), || {
            let heard = self.heard(router)?;
            if holds(&heard) { Ok(()) } else { Err(format!("{heard:?}")) }
        });
    }

    /// Waits until a router hears just these prefixes, each from just these nodes.
    pub(crate) fn until_routes(&self, router: Router, wanted: &[(String, Vec<Node>)]) {
        let wanted: BTreeMap<_, _> = wanted.iter().filter(|(_, nodes)| !nodes.is_empty()).cloned().collect();
        let what = format!("{wanted:?}");
        self.until_heard(router, &what, |heard| {
            let nodes = |paths: &Vec<Path>| paths.iter().filter_map(Path::node).collect::<Vec<_>>();
            heard.iter().map(|(prefix, paths)| (prefix.clone(), nodes(paths))).eq(wanted.clone())
        });
    }

    /// Waits until a router hears just these prefixes from [`NODE`].
    pub(crate) fn until_prefixes(&self, router: Router, wanted: &[String]) {
        let wanted: Vec<_> = wanted.iter().map(|prefix| (prefix.clone(), vec![NODE])).collect();
        self.until_routes(router, &wanted);
    }

    /// Waits until something holds. A failure shows the ends of all logs.
    pub(crate) fn until<T>(&self, what: &str, look: impl FnMut() -> Result<T, String>) -> T {
        wait_for(what, DEADLINE, look).unwrap_or_else(|unmet| panic!("{unmet}\n{}", self.log_tails()))
    }

    fn log_tails(&self) -> String {
        let nodes = NODES.into_iter().map(|node| self.bellhop.log_tail(node, TAIL));
        let logs = Router::ALL.map(|router| self.lab.frr(router).folder().join("bgpd.log"));
        nodes.chain(logs.iter().map(|log| tail(log, TAIL))).collect::<Vec<_>>().join("\n")
    }

    /// What a router says of each of its neighbours, by address.
    pub(crate) fn neighbours(&self, router: Router) -> BTreeMap<IpAddr, Value> {
        self.lab.frr(router).bgpd_json("show bgp neighbors json").unwrap()
    }

    /// What a router says of one neighbour.
    pub(crate) fn neighbour(&self, router: Router, address: impl Into<IpAddr>) -> Value {
        self.neighbours(router).remove(&address.into()).unwrap_or_default()
    }

    /// Waits until the session of a router with this neighbour is up and is as `holds` says.
    pub(crate) fn until_session(
        &self,
        router: Router,
        address: impl Into<IpAddr>,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) {
        let address = address.into();
        self.until(&format!("{} with {address}: {what}", router.name()), || {
            let seen = self.neighbour(router, address);
            if seen["bgpState"] == "Established" && holds(&seen) { Ok(()) } else { Err(seen.to_string()) }
        });
    }

    /// Waits until just these nodes have a session with a router.
    pub(crate) fn until_sessions(&self, router: Router, wanted: &[Node]) {
        self.until(&format!("{} has sessions with {wanted:?} alone", router.name()), || {
            let up: Vec<Node> = self
                .sessions(router)
                .iter()
                .filter(|(_, session)| session.is_established())
                .filter_map(|(address, _)| Node::of_address(*address))
                .collect();
            if up == wanted { Ok(()) } else { Err(format!("{up:?}")) }
        });
    }

    /// A router's sessions, by the neighbour's address.
    pub(crate) fn sessions(&self, router: Router) -> BTreeMap<IpAddr, Neighbor> {
        self.lab.frr(router).bgpd_json("show bgp neighbors json").unwrap()
    }

    /// Changes a router's configuration below `router bgp`.
    pub(crate) fn configure(&self, router: Router, lines: &[&str]) {
        let begin = format!("router bgp {}", router.asn());
        self.lab.frr(router).configure_bgpd(&[&[begin.as_str()], lines].concat()).unwrap();
    }

    /// Runs commands of nft in a member of the lab.
    pub(crate) fn nft(&self, member: &Namespace, commands: &str) -> String {
        output_of(member.command("nft").arg(commands)).unwrap()
    }

    /// How many packets a named counter of the table `ip watch` has counted in a member.
    pub(crate) fn counted(&self, member: &Namespace, counter: &str) -> u64 {
        let text = self.nft(member, &format!("list counter ip watch {counter}"));
        let words: Vec<&str> = text.split_whitespace().collect();
        let packets = words.windows(2).find(|pair| pair[0] == "packets").map(|pair| pair[1].parse());
        packets.unwrap().unwrap()
    }

    /// Which Advertisement decides what a router hears of a Service's first address, as `bellhop explain` tells it.
    pub(crate) fn deciding(&self, node: Node, service: &str, router: Router) -> String {
        let object = format!("service/shop/{service}");
        let json = self.bellhop.tool_json(node, &["explain", &object]).unwrap();
        let peers = json["addresses"][0]["peers"].as_array().cloned().unwrap_or_default();
        let peer = peers.iter().find(|peer| peer["peer"] == router.name());
        peer.and_then(|peer| peer["advertisement"].as_str()).unwrap_or_default().to_owned()
    }

    /// What a node says of its session with a peer.
    pub(crate) fn peer_status(&self, node: Node, peer: &str) -> Value {
        let status = self.bellhop.tool_json(node, &["status"]).unwrap();
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers.into_iter().find(|row| row["name"] == peer).unwrap_or_default()
    }
}

/// A watch over the routers: which sessions are up, and what is withdrawn from now on.
pub(crate) struct Watch<'a> {
    site: &'a Site,
    routers: Vec<(Router, BTreeMap<IpAddr, Neighbor>, UpdateLog)>,
}

impl<'a> Watch<'a> {
    pub(crate) fn begin(site: &'a Site) -> Self {
        let of = |router| {
            let sessions = site.sessions(router).into_iter().filter(|(_, session)| session.is_established());
            (router, sessions.collect(), UpdateLog::start(site.lab.frr(router)).unwrap())
        };
        Self { site, routers: Router::ALL.map(of).into() }
    }

    /// Every session is the one that it was, and each router was told to forget just these prefixes.
    pub(crate) fn withdrew(self, expected: &[(Router, &[String])]) {
        self.sessions_stand(&[]);
        for (router, _, log) in &self.routers {
            let lines = log.withdrawals().unwrap();
            let found: BTreeSet<&str> = lines.iter().filter_map(|line| prefix_of(line)).collect();
            let expected = expected.iter().filter(|(of, _)| of == router).flat_map(|(_, prefixes)| *prefixes);
            assert_eq!(found, expected.map(String::as_str).collect(), "withdrawn from {}", router.name());
        }
    }

    /// The same where every router was told to forget the same.
    pub(crate) fn withdrew_from_all(self, prefixes: &[String]) {
        self.withdrew(&Router::ALL.map(|router| (router, prefixes)));
    }

    /// Nothing was withdrawn, and every session is the one that it was.
    pub(crate) fn withdrew_nothing(self) {
        self.withdrew(&[]);
    }

    /// Every session but those with these neighbours is the one that it was.
    pub(crate) fn sessions_stand(&self, but: &[IpAddr]) {
        for (router, before, _) in &self.routers {
            let now = self.site.sessions(*router);
            for (address, session) in before.iter().filter(|(address, _)| !but.contains(address)) {
                let same = now.get(address).is_some_and(|now| now.is_same_session(session));
                assert!(same, "{} with {address}: was {session:?}, is {:?}", router.name(), now.get(address));
            }
        }
    }

    /// The prefixes that a router was told of since, whether they came or changed.
    pub(crate) fn announced(&self, router: Router) -> BTreeSet<String> {
        let of = self.routers.iter().find(|(of, ..)| *of == router).unwrap();
        let lines = of.2.announcements().unwrap();
        // FRR reads what it has once more some seconds after its policy was configured.
        let new = lines.iter().filter(|line| !line.contains("duplicate ignored"));
        new.filter_map(|line| prefix_of(line)).map(str::to_owned).collect()
    }
}

/// The prefix that a line of bgpd's log is about.
fn prefix_of(line: &str) -> Option<&str> {
    let is_prefix = |word: &&str| {
        word.split_once('/')
            .is_some_and(|(ip, length)| ip.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok())
    };
    line.split_whitespace().find(is_prefix)
}

fn file(kind: &str, name: &str) -> String {
    format!("{}-{name}.yaml", kind.to_lowercase())
}

fn family_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The spec of a router's BGPPeer, with further fields, each ended by a comma; the timers are short unless given.
pub(crate) fn peer(router: Router, further: &str) -> String {
    let (address, asn) = (router.ipv4(), router.asn());
    let timers = [("holdTime", HOLD_TIME), ("connectRetryTime", "1s")];
    let timers = timers.iter().filter(|(field, _)| !further.contains(field));
    let timers: String = timers.map(|(field, value)| format!("{field}: {value}, ")).collect();
    format!("{{{further} {timers} peerAddress: {address}, peerASN: {asn}}}")
}

/// The addresses of a Service, whose digits are the same in both families; from 128 on they are in the pool `inside`.
pub(crate) fn addresses(number: u8) -> [IpAddr; 2] {
    let digits = u16::from_str_radix(&number.to_string(), 16).unwrap();
    let subnet = u16::from(number >= 128);
    [
        Ipv4Addr::new(203, 0, 113, number).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0x53, subnet, 0, 0, 0, digits).into(),
    ]
}

/// The host routes of Services.
pub(crate) fn routes(numbers: &[u8]) -> Vec<String> {
    numbers.iter().flat_map(|number| addresses(*number)).map(host_route).collect()
}

/// The host routes of a Service, each with the nodes that it comes from.
pub(crate) fn from(number: u8, nodes: &[Node]) -> Vec<(String, Vec<Node>)> {
    routes(&[number]).into_iter().map(|prefix| (prefix, nodes.to_vec())).collect()
}

/// A selector of these nodes.
pub(crate) fn on(nodes: &[Node]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| node.name()).collect();
    // `In` needs a value; nothing has this one.
    let names = if nodes.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    format!("{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{names}]}}]}}")
}
