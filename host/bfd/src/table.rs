//! All sessions of a process: who they are, whose a packet is, and which one is due first.
//!
//! ```text
//! sessions   Discriminator ──► Session, key, its deadline
//! keys       (key, hops) ────► Discriminator       for packets that do not know it yet
//! deadlines  {(when, Discriminator)}               kept with every input, so that the first is at hand
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::error::{InsertError, ReconfigureError, Refusal};
use crate::machine::{Hops, Input, Output, Session, SessionConfig};
use crate::metrics::Tally;
use crate::timer::Jitter;
use crate::wire::{Discriminator, Packet};

/// The most sessions of a table. A node has a session for each BGP neighbour, rarely more than a few dozen; a thousand
/// at the common 300 ms are about 4,000 packets a second in each direction, which one thread can still read and answer
/// between two deadlines. More than that is a mistake in a selector, better told than tried.
pub const MAX_SESSIONS: usize = 1024;

/// Between whom a session is. IPv4-mapped IPv6 addresses are taken as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey {
    /// The address of this side.
    pub local: IpAddr,
    /// The neighbour's address.
    pub remote: IpAddr,
    /// Index of the interface that packets of a single hop session must arrive on (RFC 5881 §3); 0: any. Taken as 0 for
    /// a multihop session, whose packets may come in over any (RFC 5883 §4).
    pub interface: u32,
}

impl SessionKey {
    fn normal(self, hops: Hops) -> Self {
        Self {
            local: self.local.to_canonical(),
            remote: self.remote.to_canonical(),
            interface: if hops == Hops::Single { self.interface } else { 0 },
        }
    }

    fn check(&self, hops: Hops) -> Result<(), InsertError> {
        for (field, address) in [("local", self.local), ("remote", self.remote)] {
            let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
            if address.is_unspecified() || address.is_multicast() || broadcast {
                return Err(InsertError::Address { field, address });
            }
        }
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return Err(InsertError::Families { local: self.local, remote: self.remote });
        }
        let link_local = matches!(self.remote, IpAddr::V6(remote) if remote.is_unicast_link_local());
        if link_local && (self.interface == 0 || hops == Hops::Multi) {
            return Err(InsertError::Interface(self.remote));
        }
        Ok(())
    }

    /// A packet that came this way is from this neighbour, to this address, over this interface.
    fn covers(&self, way: &Self) -> bool {
        self.local == way.local
            && self.remote == way.remote
            && (self.interface == 0 || self.interface == way.interface)
    }
}

/// How a packet came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Destination address.
    pub local: IpAddr,
    /// Source address.
    pub remote: IpAddr,
    /// Index of the interface that it came in on.
    pub interface: u32,
    /// TTL or Hop Limit that it arrived with.
    pub ttl: u8,
    /// Which port it came to.
    pub hops: Hops,
}

/// What a session of the table tells the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Emitted {
    /// The session.
    pub discriminator: Discriminator,
    /// Between whom it is.
    pub key: SessionKey,
    /// Over how many hops, and so to which port.
    pub hops: Hops,
    /// What it tells.
    pub output: Output,
}

#[derive(Debug)]
struct Entry {
    key: SessionKey,
    hops: Hops,
    session: Session,
    /// As it stands in the set of deadlines.
    deadline: Option<Instant>,
}

/// The sessions of a process.
#[derive(Debug)]
pub struct Table {
    sessions: BTreeMap<Discriminator, Entry>,
    keys: BTreeMap<(SessionKey, Hops), Discriminator>,
    deadlines: BTreeSet<(Instant, Discriminator)>,
    random: Jitter,
    refused: Tally<{ Refusal::CATEGORIES.len() }>,
    /// Kept so that a packet costs no allocation.
    scratch: Vec<Output>,
}

impl Table {
    /// An empty table. `seed` feeds discriminators and jitter: it must be random for each process, so that a packet to
    /// a session of an earlier one finds none here (RFC 5880 §6.8.1).
    pub fn new(seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            random: Jitter::new(seed),
            refused: Tally::new(&Refusal::CATEGORIES),
            scratch: Vec::new(),
        }
    }

    /// Adds a session, which is Down. Its discriminator is its identity from now on: unique, not 0, and random.
    pub fn insert(
        &mut self,
        now: Instant,
        key: SessionKey,
        config: SessionConfig,
    ) -> Result<Discriminator, InsertError> {
        let hops = config.kind.hops();
        let key = key.normal(hops);
        key.check(hops)?;
        if let Some(&discriminator) = self.keys.get(&(key, hops)) {
            return Err(InsertError::Duplicate { discriminator, key });
        }
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(InsertError::Full);
        }
        let discriminator = self.free_discriminator();
        let session = Session::new(now, config, discriminator, self.random.next())?;
        let deadline = session.deadline();
        self.deadlines.extend(deadline.map(|deadline| (deadline, discriminator)));
        self.keys.insert((key, hops), discriminator);
        self.sessions.insert(discriminator, Entry { key, hops, session, deadline });
        Ok(discriminator)
    }

    /// Takes a session out, without a word to the neighbour. To part in order, give [`Input::Disable`] first and wait
    /// for [`Session::farewell`].
    pub fn remove(&mut self, discriminator: Discriminator) -> Option<Session> {
        let entry = self.sessions.remove(&discriminator)?;
        self.keys.remove(&(entry.key, entry.hops));
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, discriminator));
        }
        Some(entry.session)
    }

    /// Takes the payload of a datagram; returns whose it was, or why it was discarded. Refusals are counted: by the
    /// session where it is known that the packet was for it, else by the table.
    pub fn receive(
        &mut self,
        now: Instant,
        arrival: Arrival,
        payload: &[u8],
        out: &mut Vec<Emitted>,
    ) -> Result<Discriminator, Refusal> {
        let found = Packet::decode(payload).and_then(|packet| Ok((packet, self.find_for(&packet, arrival)?)));
        let (packet, discriminator) = found.inspect_err(|refusal| self.refused.count(refusal.category()))?;
        let mut result = Ok(());
        self.with(discriminator, out, |session, outputs| {
            session.note_lateness(now);
            result = session.receive(now, &packet, arrival.ttl, outputs);
            session.settle(now, false, outputs);
        });
        result.map(|()| discriminator)
    }

    /// Gives an input to one session; `false` where there is no such session.
    pub fn handle(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
        input: Input,
        out: &mut Vec<Emitted>,
    ) -> bool {
        self.with(discriminator, out, |session, outputs| session.handle(now, input, outputs)).is_some()
    }

    /// Gives [`Input::Tick`] to every session that is due, with the promise of that input: everything that arrived
    /// before `now`, for any session, was handed in.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Emitted>) {
        // Each at most once, as a session that had its tick is due later than that.
        for _ in 0..self.sessions.len() {
            match self.deadlines.first() {
                Some(&(deadline, discriminator)) if deadline <= now => {
                    self.handle(now, discriminator, Input::Tick, out);
                }
                _ => break,
            }
        }
    }

    /// When [`Table::tick`] is due at the latest; `None` where nothing waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// See [`Session::reconfigure`].
    pub fn reconfigure(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
        config: SessionConfig,
        out: &mut Vec<Emitted>,
    ) -> Result<(), ReconfigureError> {
        let result =
            self.with(discriminator, out, |session, outputs| session.reconfigure(now, config, outputs));
        Ok(result.ok_or(ReconfigureError::Unknown(discriminator))??)
    }

    /// The session of these addresses, interface and kind.
    pub fn find(&self, key: SessionKey, hops: Hops) -> Option<Discriminator> {
        self.keys.get(&(key.normal(hops), hops)).copied()
    }

    /// One session.
    pub fn session(&self, discriminator: Discriminator) -> Option<&Session> {
        self.sessions.get(&discriminator).map(|entry| &entry.session)
    }

    /// All sessions with their addresses, in the order of their discriminators.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.sessions.values().map(|entry| (entry.key, &entry.session))
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Packets refused of which no session is known, by [`Refusal::category`].
    pub fn refused(&self) -> &Tally<{ Refusal::CATEGORIES.len() }> {
        &self.refused
    }

    /// The session of a packet (RFC 5880 §6.8.6, RFC 5881 §3, RFC 5883 §4). Where the packet names it, it must still
    /// have come the session's way: a discriminator can be guessed from anywhere, an address of the link cannot.
    fn find_for(&self, packet: &Packet, arrival: Arrival) -> Result<Discriminator, Refusal> {
        let Arrival { local, remote, interface, hops, .. } = arrival;
        let way = SessionKey { local, remote, interface }.normal(hops);
        let Some(named) = packet.your_discriminator else {
            let any = SessionKey { interface: 0, ..way };
            let found = [way, any].into_iter().find_map(|key| self.keys.get(&(key, hops)));
            return found.copied().ok_or(Refusal::UnknownNeighbour);
        };
        let entry = self.sessions.get(&named).ok_or(Refusal::UnknownDiscriminator(named))?;
        if entry.hops == hops && entry.key.covers(&way) {
            Ok(named)
        } else {
            Err(Refusal::ForeignPath(named))
        }
    }

    /// Lets one session do something, passes on what it tells, and keeps its deadline where it belongs.
    fn with<T>(
        &mut self,
        discriminator: Discriminator,
        out: &mut Vec<Emitted>,
        work: impl FnOnce(&mut Session, &mut Vec<Output>) -> T,
    ) -> Option<T> {
        let entry = self.sessions.get_mut(&discriminator)?;
        let result = work(&mut entry.session, &mut self.scratch);
        let (key, hops) = (entry.key, entry.hops);
        out.extend(self.scratch.drain(..).map(|output| Emitted { discriminator, key, hops, output }));
        let deadline = entry.session.deadline();
        if deadline != entry.deadline {
            if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
                self.deadlines.remove(&(old, discriminator));
            }
            self.deadlines.extend(deadline.map(|deadline| (deadline, discriminator)));
        }
        Some(result)
    }

    fn free_discriminator(&mut self) -> Discriminator {
        // Ends: at most 1,024 of 2^32 numbers are taken, and the generator goes through all of them.
        loop {
            if let Some(discriminator) = Discriminator::new(self.random.next_u32())
                && !self.sessions.contains_key(&discriminator)
            {
                return discriminator;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::harness::config;

    #[test]
    fn a_number_that_is_taken_is_not_allotted_again() {
        let mut table = Table::new(7);
        let key = |last: u8| SessionKey {
            local: IpAddr::from([192, 0, 2, 1]),
            remote: IpAddr::from([192, 0, 2, last]),
            interface: 0,
        };
        let now = Instant::now();
        let first = table.insert(now, key(2), config()).unwrap();
        table.random = Jitter::new(7);
        let second = table.insert(now, key(3), config()).unwrap();
        assert_ne!(first, second);
        assert_eq!((table.len(), table.find(key(2), Hops::Single)), (2, Some(first)));
    }
}
