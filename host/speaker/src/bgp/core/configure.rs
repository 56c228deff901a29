//! Another configuration comes into force.

use std::net::IpAddr;
use std::time::Instant;

use bellhop_bgp::{Input, Peer, StopReason};
use bellhop_core::peer::Neighbour;
use bellhop_core::{ObjectName, RouteAttributes};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bellhop_net::nftables::redirect::Redirect;
use ipnet::IpNet;

use super::super::connection::Presence;
use super::super::ranges::{Range, range_of};
use super::super::session::{Session, machine_config};
use super::super::transport::transport;
use super::super::{BgpConfig, PeerConfig, PeerProblem, SessionName};
use super::{Core, Shared};

impl Core {
    pub(super) fn configure(
        &mut self,
        shared: &mut Shared,
        config: BgpConfig,
    ) -> Vec<(ObjectName, PeerProblem)> {
        shared.ranges.retain(|name, _| config.peers.contains_key(name));
        self.end(shared, |session| !config.peers.contains_key(session.peer()));
        let mut problems = Vec::new();
        let mut taken: Vec<(&Neighbour, &ObjectName)> = Vec::new();
        // Who is a neighbour stays it: a newcomer disturbs no session, whatever its name.
        let (staying, others): (Vec<_>, Vec<_>) = config.peers.iter().partition(|(name, peer)| {
            let session = shared.sessions.get(*name).map(|session| &session.config);
            let known = session.or_else(|| shared.ranges.get(*name).map(|range| &range.config));
            known.is_some_and(|known| known.neighbour.is_same(&peer.neighbour))
        });
        for (name, peer) in staying.into_iter().chain(others) {
            if let Some((_, other)) = taken.iter().find(|(other, _)| other.is_same(&peer.neighbour)) {
                let problem =
                    PeerProblem::Taken { neighbour: peer.neighbour.clone(), other: (*other).clone() };
                problems.push((name.clone(), problem));
                continue;
            }
            taken.push((&peer.neighbour, name));
            let result = match &peer.neighbour {
                Neighbour::Range { .. } => self.configure_range(shared, &config, peer),
                Neighbour::Address(_) | Neighbour::Interface(_) => self.configure_one(shared, &config, peer),
            };
            if let Err(problem) = result {
                problems.push((name.clone(), problem));
            }
        }
        for (name, problem) in &problems {
            tracing::warn!(peer = %name, %problem, "this peer's configuration cannot be used");
        }
        self.end_strays(shared);
        self.rewatch(shared);
        self.discovery.configure(shared.sessions.values(), &self.reports);
        self.listen(shared, &config);
        self.config = Some(config);
        problems
    }

    /// A peer that is one router.
    fn configure_one(
        &mut self,
        shared: &mut Shared,
        config: &BgpConfig,
        peer: &PeerConfig,
    ) -> Result<(), PeerProblem> {
        if let Some(session) = shared.sessions.get_mut(&peer.name) {
            return self.reconfigure(session, config, peer);
        }
        let remote = peer.neighbour.address().or_else(|| self.discovery.heard_on(&peer.neighbour));
        let mut session = self.open(peer.name.clone(), config, peer, remote)?;
        // What was a range before: what is wanted of the peer is told once.
        if let Some(range) = shared.ranges.remove(&peer.name) {
            self.end(shared, |session| session.peer() == &peer.name);
            self.want(&mut session, &range.wanted);
        }
        shared.sessions.insert(peer.name.clone(), session);
        Ok(())
    }

    /// A peer that is a range.
    fn configure_range(
        &mut self,
        shared: &mut Shared,
        config: &BgpConfig,
        peer: &PeerConfig,
    ) -> Result<(), PeerProblem> {
        machine_config(config, peer).check()?;
        let before = shared.sessions.get(&peer.name).map(|session| session.machine.routes_wanted());
        self.end(shared, |session| session.name == peer.name);
        let wanted = before.unwrap_or_default().into_iter().collect();
        let range =
            shared.ranges.entry(peer.name.clone()).or_insert_with(|| Range { config: peer.clone(), wanted });
        range.config = peer.clone();
        for session in shared.sessions.values_mut().filter(|session| session.peer() == &peer.name) {
            self.reconfigure(session, config, peer)?;
        }
        Ok(())
    }

    /// Ends the sessions of ranges with neighbours that have become another peer's, or nobody's.
    fn end_strays(&mut self, shared: &mut Shared) {
        let single: Vec<IpAddr> =
            shared.sessions.values().filter_map(|session| session.config.neighbour.address()).collect();
        let ranges = std::mem::take(&mut shared.ranges);
        let is_stray = |session: &Session| {
            let Some(remote) = session.remote.filter(|_| ranges.contains_key(session.peer())) else {
                return false;
            };
            single.contains(&remote) || range_of(&ranges, remote) != Some(session.peer())
        };
        self.end(shared, is_stray);
        shared.ranges = ranges;
    }

    /// Ends sessions for good.
    fn end(&mut self, shared: &mut Shared, which: impl Fn(&Session) -> bool) {
        let gone: Vec<SessionName> = shared
            .sessions
            .values()
            .filter(|session| which(session))
            .map(|session| session.name.clone())
            .collect();
        for name in gone {
            if let Some(mut session) = shared.sessions.remove(&name) {
                self.feed(&mut session, Input::Stop(StopReason::Deconfigured));
                self.names.remove(&session.life);
            }
        }
    }

    /// Tells a new session what is wanted of its peer.
    pub(super) fn want(&mut self, session: &mut Session, wanted: &BTreeMap<IpNet, Arc<RouteAttributes>>) {
        for (prefix, attributes) in wanted {
            self.feed(session, Input::Set { prefix: *prefix, attributes: Some(attributes.clone()) });
        }
    }

    /// Listens where somebody may connect, and has connections to other ports redirected there.
    fn listen(&mut self, shared: &Shared, config: &BgpConfig) {
        let peers = shared.sessions.values().map(|session| &session.config);
        // A range beside its sessions: their passwords and ports are its own.
        let peers = peers.chain(shared.ranges.values().map(|range| &range.config));
        let mut passwords = BTreeMap::new();
        let mut redirects = Vec::new();
        let mut connects = false;
        for peer in peers {
            connects |= peer.waits();
            let from = match &peer.neighbour {
                Neighbour::Address(address) => IpNet::from(*address),
                Neighbour::Range { prefix, .. } => *prefix,
                Neighbour::Interface(_) => continue,
            };
            if let Some(password) = peer.authentication.password() {
                passwords.insert(from, password.clone());
            }
            if let (Some(port), Some(listen)) = (peer.redirect_port, &config.listen) {
                redirects.push(Redirect { from, at: peer.source_address, port, to: listen.port });
            }
        }
        self.listeners.apply(config.listen.clone().filter(|_| connects), passwords, &self.reports);
        self.plan_listen_retry();
        self.redirection.apply(redirects.into_iter().collect(), &self.reports);
    }

    /// A new session; one whose neighbour is known begins to connect.
    pub(super) fn open(
        &mut self,
        name: SessionName,
        config: &BgpConfig,
        peer: &PeerConfig,
        remote: Option<IpAddr>,
    ) -> Result<Session, PeerProblem> {
        self.lives += 1;
        let life = self.lives;
        let machine = Peer::new(machine_config(config, peer), self.seed(life))?;
        self.names.insert(life, name.clone());
        let early = peer.graceful_restart.filter(|_| config.restarting && !self.ready);
        let mut session = Session {
            name,
            life,
            config: peer.clone(),
            machine,
            remote,
            links: HashMap::new(),
            presence: Presence::default(),
            established_since: None,
            updates_before: 0,
            connect_early_at: early.map(|restart| Instant::now() + restart.restart_time / 2),
            hint: None,
            path: None,
            forgotten_at: None,
        };
        if !session.is_held() {
            self.feed(&mut session, Input::Start);
        }
        if self.ready {
            self.feed(&mut session, Input::Ready);
        }
        Ok(session)
    }

    fn reconfigure(
        &mut self,
        session: &mut Session,
        config: &BgpConfig,
        peer: &PeerConfig,
    ) -> Result<(), PeerProblem> {
        let machine = machine_config(config, peer);
        machine.check()?;
        let before = std::mem::replace(&mut session.config, peer.clone());
        let mut moved = transport(&before) != transport(peer);
        if before.authentication != peer.authentication {
            // A session that is up and signs goes on with the other password; any other one begins anew with it.
            let signed = before.authentication.password().is_some();
            match peer.authentication.password() {
                Some(password) if signed && session.is_established() => {
                    tracing::info!(peer = %session.name, "the password is changed under the session");
                    session.links.values().for_each(|link| {
                        link.password.send_replace(Some(password.clone()));
                    });
                }
                _ => moved = true,
            }
        }
        if moved {
            self.feed(session, Input::Stop(StopReason::ConfigurationChange));
        }
        if !before.neighbour.is_same(&peer.neighbour) && !matches!(peer.neighbour, Neighbour::Range { .. }) {
            session.remote = peer.neighbour.address().or_else(|| self.discovery.heard_on(&peer.neighbour));
        }
        let mut outputs = Vec::new();
        let reset = session.machine.reconfigure(Instant::now(), machine, &mut outputs)?;
        self.carry_out(session, outputs);
        if moved && !session.is_held() {
            self.feed(session, Input::Start);
        }
        if moved || reset {
            tracing::info!(peer = %session.name, "reset for its new configuration");
        }
        self.pump(session);
        Ok(())
    }
}
