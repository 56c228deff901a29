//! The cases: what each proves, where it has to be shown, and why some are decided otherwise.

use super::Case;

/// The machine alone, or a plan alone.
const UNIT: &str = "unit";
/// Two machines in virtual time.
const SIMULATION: &str = "simulation";
/// The driver with a scripted neighbour on a loopback socket.
const LOOPBACK: &str = "loopback";
/// A real router, a real kernel or a real cluster, whichever.
const LAB: &str = "lab";

const fn case(id: &'static str, at: &'static [&'static str], proves: &'static str) -> Case {
    Case { id, at, proves, otherwise: None }
}

/// One that Bellhop decides otherwise, and why.
const fn otherwise(id: &'static str, proves: &'static str, why: &'static str) -> Case {
    Case { id, at: &[], proves, otherwise: Some(why) }
}

/// Groups of cases, as the page shows them: a heading and what stands below it.
pub(super) const CATALOGUE: &[(&str, &[Case])] = &[
    ("Coming up", COMING_UP),
    ("OPEN", OPEN),
    ("What is received", RECEIVED),
    ("Timers", TIMERS),
    ("Announcing", ANNOUNCING),
    ("Restart and drain", RESTART),
    ("Security and liveness", SECURITY),
    ("Behaviours of other load balancers", PEERS),
];

const COMING_UP: &[Case] = &[
    case(
        "bgp-1",
        &["lab: FRR", "lab: BIRD", "lab: GoBGP"],
        "A session that we dial comes up with FRR, BIRD and GoBGP.",
    ),
    case(
        "bgp-2",
        &["lab: FRR", "lab: BIRD", "lab: GoBGP"],
        "A session that FRR, BIRD or GoBGP dials comes up.",
    ),
    case(
        "bgp-3",
        &[SIMULATION, LOOPBACK, LAB],
        "Both dial and our identifier is higher: our connection stays.",
    ),
    case(
        "bgp-4",
        &[SIMULATION, LOOPBACK, LAB],
        "Both dial and our identifier is lower: theirs stays, ours gets Cease 6/7 or a close.",
    ),
    case(
        "bgp-5",
        &[SIMULATION],
        "Equal identifiers in different ASes: the higher AS number decides (RFC 6286).",
    ),
    case(
        "bgp-6",
        &[SIMULATION, LOOPBACK],
        "A second connection beside an established session is refused; with graceful restart it replaces the session silently.",
    ),
    case("bgp-7", &[SIMULATION], "The late close of a collision's loser does not touch the winner."),
    case(
        "bgp-8",
        &[SIMULATION],
        "Pairs that start at once, with ten thousand seeds: each has its session, with less than three dials of either side.",
    ),
    case(
        "bgp-9",
        &[LAB],
        "A refused dial is repeated fast, so that a listener that appears is found within a second or so.",
    ),
    case(
        "bgp-10",
        &[UNIT, SIMULATION],
        "A dial without any answer times out; the retries back off, with jitter in its bounds.",
    ),
    case("bgp-11", &[LAB], "A connection comes from the configured source address and interface."),
    case(
        "bgp-12",
        &[LOOPBACK],
        "A connection from nobody's address is closed, silently or with 6/5, and disturbs nothing.",
    ),
    case(
        "bgp-13",
        &[LOOPBACK, LAB],
        "Neighbours of an address range are taken, by an AS number that is exact, internal or external.",
    ),
    case(
        "bgp-14",
        &[UNIT, LOOPBACK],
        "A peer that is removed while it connects or is established says 6/3, and leaves no socket, timer or task.",
    ),
];

const OPEN: &[Case] = &[
    case("bgp-15", &[UNIT, LOOPBACK], "Another version than 4: 2/1 with the version that is spoken."),
    case("bgp-16", &[UNIT, LOOPBACK], "Another AS than the configured one: 2/2."),
    case("bgp-17", &[UNIT, LOOPBACK], "AS 0: 2/2."),
    case("bgp-18", &[UNIT, LOOPBACK], "Identifier 0, or our own from an internal neighbour: 2/3."),
    case("bgp-19", &[UNIT, LOOPBACK], "An optional parameter that nobody knows: 2/4."),
    case(
        "bgp-20",
        &[UNIT, LOOPBACK],
        "A hold time of one or two seconds: 2/6. (We have no minimum of our own above that.)",
    ),
    case("bgp-21", &[UNIT, LOOPBACK], "Hold time 0: no KEEPALIVE is sent and none is waited for."),
    case("bgp-22", &[UNIT, LOOPBACK], "The lesser hold time counts, and a KEEPALIVE goes every third of it."),
    case(
        "bgp-23",
        &[UNIT, LOOPBACK],
        "A neighbour without capabilities: IPv4 alone, AS numbers of two octets.",
    ),
    case(
        "bgp-24",
        &[UNIT, LOOPBACK],
        "A neighbour that answers 2/7 is offered fewer capabilities at the next try, and that is remembered.",
    ),
    case("bgp-25", &[UNIT, LOOPBACK], "No family in common: 2/7 with our families as its data."),
    case(
        "bgp-26",
        &[UNIT, LOOPBACK],
        "Optional parameters of more than 255 octets (RFC 9072), written and read.",
    ),
    case(
        "bgp-27",
        &[UNIT, LOOPBACK],
        "Our AS of four octets towards a neighbour of two: AS_TRANS in OPEN and AS_PATH, and AS4_PATH beside it.",
    ),
    case(
        "bgp-28",
        &[UNIT, LOOPBACK],
        "Capabilities that come twice or that nobody knows; of graceful restart the last counts.",
    ),
    case("bgp-29", &[UNIT, LOOPBACK], "Roles that do not go together: 2/11."),
    case("bgp-30", &[UNIT, LOOPBACK], "An OPEN of more than 4096 octets: 1/2."),
];

const RECEIVED: &[Case] = &[
    case("bgp-31", &[UNIT], "A marker that is not all ones: 1/1."),
    case(
        "bgp-32",
        &[UNIT],
        "Lengths out of bounds, and OPEN and UPDATE that are too short: 1/2 with the length.",
    ),
    case("bgp-33", &[UNIT], "A message of no type: 1/3."),
    case("bgp-34", &[UNIT], "One octet at a time, and several messages at once."),
    case("bgp-35", &[UNIT], "Mutated messages with a fixed seed: no panic, and bounded time."),
    case(
        "bgp-36",
        &[UNIT],
        "Each malformed attribute has its consequence of RFC 7606: routes withdrawn, the attribute left out, or the session reset.",
    ),
    case(
        "bgp-37",
        &[UNIT],
        "UPDATEs that only withdraw, End-of-RIBs of both families, and an UPDATE that says nothing.",
    ),
    case("bgp-38", &[UNIT, LAB], "A router that echoes our 11,000 routes: the session stays, memory too."),
    case("bgp-39", &[UNIT, LAB], "A neighbour with 100,000 routes: counted, dropped, memory bounded."),
    case("bgp-40", &[UNIT], "A message that has no place in its state: 5/1 to 5/3 (RFC 6608)."),
    case("bgp-41", &[UNIT], "A malformed NOTIFICATION is not answered; the connection closes."),
    case("bgp-42", &[UNIT], "Families that nobody knows are ignored, in OPEN, UPDATE and ROUTE-REFRESH."),
    otherwise(
        "bgp-43",
        "Too many prefixes from a neighbour: 6/1, and it is held down.",
        "Nothing of what a neighbour announces is kept, so that no number of prefixes is too many: they are counted and \
         dropped (bgp-39). A limit could only end sessions, and with them our own announcements.",
    ),
];

const TIMERS: &[Case] = &[
    case(
        "bgp-44",
        &[UNIT],
        "The hold timer ends OpenSent (after long), OpenConfirm and Established with 4/0.",
    ),
    case("bgp-45", &[UNIT], "KEEPALIVEs come after 75 to 100 % of their interval."),
    case("bgp-46", &[UNIT], "KEEPALIVEs pass ten megabytes that wait for a slow reader."),
    case(
        "bgp-47",
        &[UNIT],
        "A neighbour that reads nothing is reset after the send hold time: 8/0 as far as it goes (RFC 9687).",
    ),
    case(
        "bgp-48",
        &[UNIT],
        "A clock that leaps, as after a suspend, does no harm; only the driver's monotonic clock counts.",
    ),
    case(
        "bgp-49",
        &[UNIT],
        "Twenty flaps: held down longer each time, and from the least again after a stable time.",
    ),
];

const ANNOUNCING: &[Case] = &[
    case(
        "bgp-50",
        &[UNIT],
        "11,000 routes with one set of attributes take 18 UPDATEs, none above 4096 octets.",
    ),
    case(
        "bgp-51",
        &[UNIT],
        "Large attributes leave less room for prefixes and never overflow; what fills a message is refused and told, never cut.",
    ),
    case("bgp-52", &[UNIT], "MP_REACH_NLRI is the first attribute (RFC 7606); IPv4 stands in the body."),
    case(
        "bgp-53",
        &[UNIT],
        "IPv6 over an IPv4 session with its own next hop; without one the family is held back, and told.",
    ),
    case("bgp-54", &[UNIT], "IPv4 over an IPv6 next hop where both asked for it, and only there (RFC 8950)."),
    otherwise(
        "bgp-55",
        "On the link the global next hop has the link-local one beside it.",
        "FRR 8.4 ties a link-local next hop to the session: with it the IPv6 routes of a graceful restart are deleted, \
         without it none is.",
    ),
    case(
        "bgp-56",
        &[UNIT, LAB],
        "A session between link-local addresses, found by the interface alone (unnumbered).",
    ),
    case(
        "bgp-57",
        &[UNIT],
        "Internal: LOCAL_PREF and an empty path. External: no LOCAL_PREF, our AS once and each prepend.",
    ),
    case(
        "bgp-58",
        &[UNIT],
        "Communities are sorted and stand once; large and extended ones too; no-export, graceful-shutdown and blackhole.",
    ),
    case("bgp-59", &[UNIT, LAB], "Other attributes replace a route; nothing is withdrawn."),
    case("bgp-60", &[UNIT], "A flap between two looks of the neighbour leaves nothing on the wire."),
    case("bgp-61", &[UNIT], "A withdrawal and an announcement of one prefix become the last of both."),
    case("bgp-62", &[UNIT], "The same again sends no octet."),
    case("bgp-63", &[UNIT, LAB], "An aggregate is announced once, and goes with the last address in it."),
    case(
        "bgp-64",
        &[UNIT],
        "A policy gives each peer other attributes; where it fails the last ones stay; its late answer is dropped.",
    ),
    case(
        "bgp-65",
        &[UNIT],
        "A route refresh brings the whole family, between BoRR and EoRR where both know them; of another family nothing.",
    ),
    case(
        "bgp-66",
        &[UNIT, LOOPBACK],
        "1,000 flaps towards a slow neighbour become one UPDATE; what waits in buffers is bounded; others are not delayed.",
    ),
];

const RESTART: &[Case] = &[
    case(
        "bgp-67",
        &[LAB],
        "Killed with graceful restart: R and F in the next OPEN, and no route is deleted in the router's kernel however late the \
         announcements.",
    ),
    case(
        "bgp-68",
        &[UNIT, LAB],
        "No connection before everything was read and every policy is active or failed, or half the restart time is over.",
    ),
    case("bgp-69", &[UNIT], "End-of-RIB once per family and session, also without a route."),
    case(
        "bgp-70",
        &[UNIT, LAB],
        "An upgrade closes without a word; a drain says graceful-shutdown, waits, withdraws, then 6/2 with its text, whole characters \
         of at most 255 octets.",
    ),
    case(
        "bgp-71",
        &[UNIT],
        "With NOTIFICATION support of graceful restart we end for good by 6/9 Hard Reset (RFC 8538).",
    ),
    case("bgp-72", &[UNIT], "A neighbour that restarted gets everything again, and the End-of-RIBs."),
];

const SECURITY: &[Case] = &[
    case(
        "bgp-73",
        &[LAB],
        "MD5 passwords right, wrong, absent and rotated, per neighbour and per range; TTL security; TTL 1 and multihop.",
    ),
    case(
        "bgp-74",
        &[UNIT, LAB],
        "BFD: up, 6/10 within the detection time of a frozen neighbour, AdminDown is no failure, never up as configured, C bit 0, \
         multihop.",
    ),
];

const PEERS: &[Case] = &[
    case("peers-65", &[LAB], "With graceful restart the data path has no gap while a speaker restarts."),
    case("peers-66", &[LAB], "Without it there is one, which shows that the test before can see it."),
    case("peers-72", &[LAB], "Routers accept a router ID that is configured."),
    case("peers-73", &[LAB], "Peers with graceful restart have their sessions."),
    case("peers-74", &[LAB], "A router sees the local AS number of its peer."),
    case("peers-75", &[LAB], "A password from a Secret gives a session."),
    case(
        "peers-77",
        &[LAB],
        "BFD by default and by a whole profile comes up in both families and both at once, and the router says so. (There with echo \
         mode, which Bellhop has not.)",
    ),
    case("peers-78", &[LAB], "A change of something else never flaps BFD."),
    case(
        "peers-79",
        &[LAB],
        "One configuration after another keeps the addresses that are announced in use.",
    ),
    case("peers-80", &[LAB], "Peers that are added one by one have their sessions."),
    case("peers-81", &[LAB], "Communities and local preference arrive, in both families."),
    case("peers-82", &[LAB], "Large communities arrive."),
    case("peers-83", &[LAB], "Local preference alone arrives."),
    case("peers-84", &[LAB], "A community alone arrives."),
    case(
        "peers-85",
        &[LAB],
        "A community by its alias arrives (there an object of its own, here in SpeakerConfig).",
    ),
    case("peers-86", &[LAB], "An Advertisement that selects pools announces those alone."),
    case(
        "peers-87",
        &[LAB],
        "Of Advertisements that overlap on a prefix one decides, by priority. (There their communities are united.)",
    ),
    case(
        "peers-88",
        &[LAB],
        "Other communities, local preference or aggregation length are announced anew in the right form, in both families.",
    ),
    case(
        "peers-92",
        &[LAB],
        "Every field of a BFDProfile is in force (there it stands in FRR's configuration).",
    ),
    case(
        "peers-93",
        &[LAB],
        "Every parameter of a peer is in force (there it stands in FRR's configuration).",
    ),
    case("peers-94", &[LAB], "Other timers come into force and no route is lost."),
    case("peers-95", &[LAB], "The connect retry time bounds how long a session that was lost stays away."),
    case("peers-96", &[LAB], "A Service over layer 2 and BGP keeps one when the other's Advertisement goes."),
    case(
        "peers-97",
        &[LAB],
        "An AS number left open: of the right kind it gives a session, of the wrong one it is refused.",
    ),
    case("peers-98", &[LAB], "Prefixes of both families over one IPv4 session."),
    case("peers-99", &[LAB], "Prefixes of both families over one IPv6 session."),
    case("peers-100", &[LAB], "A session of each family, and only IPv6 is announced."),
    case("peers-101", &[LAB], "A session of each family, and only IPv4 is announced."),
    case("peers-102", &[LAB], "Local preference and communities in both families over one session."),
    case("peers-103", &[LAB], "An Advertisement that names peers is heard by those alone."),
    case("peers-104", &[LAB], "Two Advertisements and two peers: each peer hears its own communities."),
    case("peers-105", &[LAB], "Two Services, two Advertisements, split over nodes."),
    case("peers-106", &[LAB], "One Service, two Advertisements, split over nodes."),
    case("peers-107", &[LAB], "A node that gets the label announces."),
    case(
        "peers-108",
        &[LAB],
        "An Advertisement that selects nothing any more withdraws its own Service and no other.",
    ),
    case(
        "peers-109",
        &[LAB],
        "A peer that selects nodes has sessions from those alone, in every mapping of peers to nodes.",
    ),
    case("peers-110", &[LAB], "Each node may have an AS number of its own."),
    case("peers-111", &[LAB], "Selectors of pools and of Services must both hold."),
    case("peers-112", &[LAB], "Several selectors of Services."),
    case(
        "peers-113",
        &[LAB],
        "An edit of an Advertisement's selector of Services announces and withdraws what it changes.",
    ),
    case("peers-114", &[LAB], "So does an edit of a Service's labels."),
    case("peers-115", &[LAB], "A host route of a selected Service beside the aggregate of its pool."),
    case(
        "peers-116",
        &[LAB],
        "Of Advertisements whose selectors overlap one decides, by priority. (There their communities add up.)",
    ),
    case("peers-117", &[LAB], "Advertisements that do not overlap have communities of their own."),
    case("peers-118", &[LAB], "Unnumbered sessions carry IPv4, IPv6 and both, with BFD and without."),
];
