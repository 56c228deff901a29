//! Which routes each router is told, and what is withheld.

use bellhop_core::report::{AggregateSource, Answer, RouteRow};
use bellhop_core::{Family, ObjectName};

use super::super::Planning;
use crate::bgp::{BgpSnapshot, PeerSnapshot, SessionName, State};

impl Planning {
    /// The routes of every session; of a peer without any, as of a range that nobody came from, those that are wanted.
    pub(super) fn routes(&self, only: Option<&str>) -> Answer {
        if let Some(only) = only
            && !self.world.peers().contains_key(only)
        {
            return Answer::NotFound(format!("there is no BGPPeer {only}"));
        }
        let snapshot = self.bgp.snapshot();
        let mut rows = Vec::new();
        for (peer, routes) in self.announcer.wanted() {
            if only.is_some_and(|only| only != &**peer) {
                continue;
            }
            for (name, session) in sessions_of(&snapshot, peer) {
                let sent = self.bgp.routes_sent(&name);
                for (prefix, attributes) in routes {
                    let host_route = prefix.prefix_len() == prefix.max_prefix_len();
                    let services = host_route.then(|| self.announcer.services_of(prefix.addr()));
                    let aggregate =
                        self.announcer.aggregate(peer, *prefix).map(|aggregate| AggregateSource {
                            advertisement: aggregate.advertisement.to_string(),
                            addresses: aggregate.contributors,
                        });
                    let sent = sent.get(prefix).is_some_and(|sent| sent == attributes);
                    rows.push(RouteRow {
                        peer: name.to_string(),
                        prefix: *prefix,
                        services: services.into_iter().flatten().map(ToString::to_string).collect(),
                        aggregate,
                        attributes: attributes.clone(),
                        sent,
                        withheld: (!sent).then(|| withheld(session, Family::of(prefix.addr()))),
                    });
                }
            }
        }
        Answer::Routes(rows)
    }
}

/// The sessions of a peer, or its name alone where there are none.
fn sessions_of<'a>(
    snapshot: &'a BgpSnapshot,
    peer: &ObjectName,
) -> Vec<(SessionName, Option<&'a PeerSnapshot>)> {
    let of_peer = snapshot.peers.iter().filter(|(_, session)| session.peer == *peer);
    let sessions: Vec<_> = of_peer.map(|(name, session)| (name.clone(), Some(session))).collect();
    if sessions.is_empty() { vec![(peer.clone(), None)] } else { sessions }
}

/// Why a router does not have a route that is wanted.
fn withheld(session: Option<&PeerSnapshot>, family: Family) -> String {
    let Some(session) = session else { return "no session".into() };
    if session.state != State::Established {
        return format!("the session is {}", session.state);
    }
    match session.refused.iter().find(|refusal| refusal.family == family) {
        Some(refusal) => refusal.reason.clone(),
        None => "waits for the router to read".into(),
    }
}
