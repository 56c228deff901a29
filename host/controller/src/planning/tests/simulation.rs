//! Two controllers, one of them paused now and then with writes under way; watches that lag; answers that are lost.

use super::*;

/// A small generator (SplitMix64), so that a seed is the whole story of a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

struct Run {
    api: Api,
    replicas: [Replica; 2],
    random: Random,
    now: Instant,
    /// Who holds the Lease.
    leader: usize,
    /// Whether others write statuses and delete claims.
    tampering: bool,
    /// Who is stopped.
    paused: Option<usize>,
    /// The address that each Service was given first.
    given: BTreeMap<Arc<str>, IpAddr>,
}

impl Run {
    fn new(seed: u64, tampering: bool) -> Self {
        let mut api = Api::default();
        api.put_pool(pool("a", "203.0.113.0-203.0.113.255"));
        api.log.push(Entry::Delta(Delta::Synced));
        let mut run = Self {
            api,
            replicas: [Replica::new(), Replica::new()],
            random: Random(seed),
            now: Instant::now(),
            leader: 0,
            tampering,
            paused: None,
            given: BTreeMap::new(),
        };
        run.replicas[0].lead(run.now, true);
        run
    }

    /// One thing happens.
    fn happen(&mut self) {
        let name = format!("s{}", self.random.below(12));
        match self.random.below(40) {
            0..4 => self.api.put(service(&name)),
            4..6 => self.api.delete(&name),
            6 if self.api.services.contains_key(&key(&name)) => {
                let wants_address = self.random.below(3) > 0;
                if !wants_address {
                    self.given.remove(&self.api.services[&key(&name)].service.uid);
                }
                self.api.put(Service { wants_address, ..service(&name) });
            }
            7 if self.tampering => self.steal(&name),
            8 if self.tampering => self.lose_claim(),
            9 => self.change_leader(),
            10 => self.paused = Some(self.random.below(2)),
            11 | 12 => self.resume(),
            13 => self.now += Duration::from_millis(self.random.below(20_000) as u64),
            _ => self.turn(),
        }
    }

    fn steal(&mut self, name: &str) {
        let address = IpAddr::from([203, 0, 113, self.random.below(30) as u8]);
        // Evidence that is destroyed together with the claim cannot lead back to the address.
        let held =
            self.api.services.get(&key(name)).is_some_and(|object| {
                object.ingress.iter().all(|address| self.api.claims.contains_key(address))
            });
        if held && self.random.below(2) == 0 {
            self.api.steal(name, &[address]);
        }
    }

    /// Somebody deletes a claim whose Service's status tells what it was.
    fn lose_claim(&mut self) {
        let lists = |(address, claim): &(&IpAddr, &api::ClaimObject)| {
            claim.claim.holders.iter().all(|holder| {
                let object = self.api.services.get(&holder.service);
                object.is_some_and(|object| {
                    object.service.uid == holder.uid
                        && object.ingress == [**address]
                        && object.service.wants_address
                })
            })
        };
        let lost = self.api.claims.iter().filter(lists).map(|(address, _)| *address).next();
        if let Some(address) = lost {
            self.api.set_claim(address, None);
        }
    }

    /// The Lease runs out, and the other one takes it; whoever is paused does not notice.
    fn change_leader(&mut self) {
        let next = 1 - self.leader;
        if self.paused == Some(next) {
            return;
        }
        if self.paused != Some(self.leader) {
            self.replicas[self.leader].lead(self.now, false);
        }
        self.leader = next;
        self.replicas[next].lead(self.now, true);
    }

    fn resume(&mut self) {
        if let Some(paused) = self.paused.take() {
            // Its clock went on: what it sends now is refused before it notices that it does not lead.
            self.flush_unsent(paused);
            if paused != self.leader && self.replicas[paused].leading {
                self.replicas[paused].lead(self.now, false);
            }
        }
    }

    fn flush_unsent(&mut self, index: usize) {
        let lease = index == self.leader;
        for order in std::mem::take(&mut self.replicas[index].orders) {
            self.replicas[index].send(order, lease);
        }
    }

    /// A replica does something, or one of its writes reaches the server, or an answer comes back.
    fn turn(&mut self) {
        let index = self.random.below(2);
        match self.random.below(4) {
            // Writes on the wire arrive also while their sender is paused.
            0 if !self.replicas[index].sent.is_empty() => {
                let at = self.random.below(self.replicas[index].sent.len());
                let order = self.replicas[index].sent.swap_remove(at);
                let result = match self.random.below(12) {
                    0 => Err(unavailable()),
                    1 => {
                        let _ = self.api.execute(&order.write);
                        Err(unavailable())
                    }
                    _ => self.api.execute(&order.write),
                };
                self.note_given();
                self.replicas[index].answers.push((order.id, result));
            }
            _ if self.paused == Some(index) => {}
            1 if !self.replicas[index].answers.is_empty() => {
                let at = self.random.below(self.replicas[index].answers.len());
                self.replicas[index].take_answer(self.now, at);
            }
            2 => {
                let entries = self.random.below(6);
                self.replicas[index].watch(self.now, &self.api, entries);
            }
            _ => {
                self.replicas[index].step(self.now);
                self.flush_unsent(index);
            }
        }
    }

    /// Remembers the address that each Service was given first: it is to have it in the end.
    fn note_given(&mut self) {
        for (address, object) in &self.api.claims {
            for holder in &object.claim.holders {
                let live = self.api.services.get(&holder.service);
                let given = live.is_some_and(|live| {
                    live.service.uid == holder.uid && live.service.wants_address && live.ingress == [*address]
                });
                if !given {
                    continue;
                }
                self.given.entry(holder.uid.clone()).or_insert(*address);
            }
        }
    }

    /// Lets everything come to rest under one leader, and looks at what came of it.
    fn rest(&mut self, seed: u64) {
        self.resume();
        let leader = self.leader;
        for round in 0..3_000 {
            self.now += Duration::from_millis(200);
            for index in 0..2 {
                for order in std::mem::take(&mut self.replicas[index].sent) {
                    let result = self.api.execute(&order.write);
                    self.replicas[index].answers.push((order.id, result));
                }
                while !self.replicas[index].answers.is_empty() {
                    self.replicas[index].take_answer(self.now, 0);
                }
                self.replicas[index].watch(self.now, &self.api, usize::MAX / 2);
                self.replicas[index].step(self.now);
                self.flush_unsent(index);
            }
            let idle = self.replicas.iter().all(|replica| {
                replica.sent.is_empty() && replica.answers.is_empty() && replica.cursor == self.api.log.len()
            });
            if idle && round > 600 {
                break;
            }
        }
        for (key, object) in &self.api.services {
            let context = format!("seed {seed}, leader {leader}, {key}: {object:?}");
            let claimed: Vec<IpAddr> = self
                .api
                .claims
                .values()
                .filter(|claim| claim.claim.holders.iter().any(|holder| holder.uid == object.service.uid))
                .map(|claim| claim.claim.address)
                .collect();
            if object.service.wants_address {
                assert_eq!(object.ingress.len(), 1, "{context}");
                assert_eq!(object.ingress, claimed, "{context}");
                let given = self.given.get(&object.service.uid).filter(|_| !self.tampering);
                if let Some(given) = given {
                    assert_eq!(object.ingress, [*given], "moved: {context}");
                }
            } else {
                assert!(claimed.is_empty(), "{context}");
                assert!(!services::is_ours(&object.conditions), "{context}");
            }
        }
        for claim in self.api.claims.values() {
            let holder = &claim.claim.holders[0];
            let live = self.api.services.get(&holder.service);
            assert!(live.is_some_and(|live| live.service.uid == holder.uid), "seed {seed}: orphan {claim:?}");
        }
    }
}

fn simulate(seed: u64, tampering: bool) {
    let mut run = Run::new(seed, tampering);
    for _ in 0..1_500 {
        run.happen();
    }
    run.rest(seed);
}

#[test]
fn whatever_leaders_do_no_address_is_held_twice_and_no_service_loses_the_one_that_it_was_given() {
    for seed in 0..100 {
        simulate(seed, false);
    }
}

#[test]
fn whatever_others_write_every_service_ends_with_one_address_that_its_claim_and_its_status_agree_on() {
    for seed in 0..100 {
        simulate(seed, true);
    }
}
