//! Which scenarios there are, and what an implementation cannot show.

use crate::router::Program;
use Program::{ExaBgp, GoBgp, OpenBgpd};

/// A row of the table.
pub(crate) struct Scenario {
    /// The name of its test in the module of each implementation.
    pub(crate) test: &'static str,
    /// What is shown, in one sentence.
    pub(crate) shows: &'static str,
    /// Which implementations cannot show it, and why.
    pub(crate) lacking: &'static [(Program, &'static str)],
}

impl Scenario {
    /// Why an implementation cannot show it; `None` where it does.
    pub(crate) fn lacks(&self, program: Program) -> Option<&'static str> {
        self.lacking.iter().find(|(lacking, _)| *lacking == program).map(|(_, why)| *why)
    }
}

const NO_TABLE: &str = "it has no routing table, so that there is nothing to keep";
const NO_BFD: &str = "it has no BFD";

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        test: "a_session_comes_up_whoever_dials",
        shows: "A session comes up, whoever dials.",
        lacking: &[],
    },
    Scenario {
        test: "both_families_arrive_with_every_attribute",
        shows: "External: both families over one session with next hop, AS path with prepends, MED, standard, large and \
                extended communities.",
        lacking: &[],
    },
    Scenario {
        test: "an_internal_router_gets_the_local_preference",
        shows: "Internal: the same with local preference and an empty AS path.",
        lacking: &[],
    },
    Scenario {
        test: "eleven_thousand_routes_arrive_and_go",
        shows: "11,000 routes of both families arrive in at most 18 UPDATEs and are withdrawn.",
        lacking: &[],
    },
    Scenario {
        test: "other_attributes_replace_a_route_without_a_gap",
        shows: "Other attributes replace a route; nothing is withdrawn, and no IPv4 route leaves the kernel.",
        lacking: &[],
    },
    Scenario {
        test: "a_route_refresh_brings_everything_again",
        shows: "The router asks for all routes again, and gets them.",
        lacking: &[(GoBgp, "it never asks: its soft reset takes the routes from its own Adj-RIB-In")],
    },
    Scenario {
        test: "a_router_that_restarts_gets_everything_again",
        shows: "The router is killed and starts again: it gets all routes and the End-of-RIBs.",
        lacking: &[],
    },
    Scenario {
        test: "a_password_must_be_the_same_on_both_sides",
        shows: "No session without its MD5 password or with another one; one with it.",
        lacking: &[],
    },
    Scenario {
        test: "a_frozen_router_is_found_by_the_hold_timer",
        shows: "The router freezes: 4/0 after the hold time, and a session again once it thaws.",
        lacking: &[],
    },
    Scenario {
        test: "the_text_of_a_shutdown_is_seen",
        shows: "The text of an administrative shutdown (RFC 9003) is seen at the router.",
        lacking: &[],
    },
    Scenario {
        test: "a_path_that_bfd_loses_ends_the_session_with_6_10",
        shows: "BFD at 100 ms times 3 comes up; frozen, the router is told 6/10 (RFC 9384), and the session comes back.",
        lacking: &[(GoBgp, NO_BFD), (ExaBgp, NO_BFD), (OpenBgpd, NO_BFD)],
    },
    Scenario {
        test: "routes_of_the_router_change_nothing",
        shows: "200 routes of the router's change nothing here: not the kernel, not what we announce.",
        lacking: &[],
    },
    Scenario {
        test: "a_graceful_restart_keeps_routes_and_sweeps_the_rest",
        shows: "Graceful restart of ours: the routes stay while we are gone and until we announce, with no delete in the kernel; \
                what does not come again goes at End-of-RIB.",
        lacking: &[(ExaBgp, NO_TABLE)],
    },
    Scenario {
        test: "a_speaker_that_is_killed_loses_no_route",
        shows: "We are killed, with graceful restart and BFD where there is any (FRR with `check-control-plane-failure`, BIRD \
                with `bfd graceful`): no route is deleted.",
        lacking: &[(ExaBgp, NO_TABLE)],
    },
    Scenario {
        test: "a_router_that_trusts_bfd_drops_the_routes_of_a_killed_speaker",
        shows: "The same with plain BFD: the router drops every route as soon as BFD sees it, and has them again after.",
        lacking: &[(GoBgp, NO_BFD), (ExaBgp, NO_BFD), (OpenBgpd, NO_BFD)],
    },
];
