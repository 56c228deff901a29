//! Identities: equal values get one number, and an object that was seen is known by its address in memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bellhop_core::names::{ObjectName, ServiceKey};

use crate::cache::Generations;

/// Entries that a table may grow to before it is swept for the first time; below it a sweep is not worth its cost.
const FIRST_SWEEP: usize = 1024;

/// Most objects known by address at one time. Live objects keep their place, so this is reached only where few objects
/// are asked about in very many ways; then the table starts anew.
const KNOWN_OBJECTS_MAX: usize = 1 << 18;

/// Names held per kind and generation: a cluster has fewer Services, nodes and peers than this.
const NAMES: usize = 1 << 16;

/// A shared value with its identity. Numbers are never used twice, so that a key made of them can only ever mean one
/// thing.
#[derive(Debug)]
pub(crate) struct Interned<T> {
    pub(crate) id: u64,
    pub(crate) value: Arc<T>,
}

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Self {
        Self { id: self.id, value: self.value.clone() }
    }
}

/// Gives equal values one identity for as long as somebody holds the value.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: HashMap<Arc<T>, u64>,
    next: u64,
    sweep_at: usize,
}

impl<T: Hash + Eq> Interner<T> {
    pub(crate) fn new() -> Self {
        Self { values: HashMap::new(), next: 0, sweep_at: FIRST_SWEEP }
    }

    pub(crate) fn intern(&mut self, value: T) -> Interned<T> {
        if let Some((value, id)) = self.values.get_key_value(&value) {
            return Interned { id: *id, value: value.clone() };
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value, _| Arc::strong_count(value) > 1);
            self.sweep_at = FIRST_SWEEP.max(self.values.len() * 2);
        }
        let id = self.next;
        self.next += 1;
        let value = Arc::new(value);
        self.values.insert(value.clone(), id);
        Interned { id, value }
    }
}

/// Something remembered about an object by its address. The entry holds a weak reference: the allocation, and with it
/// the address, cannot be given to another object while the entry stands, and the object itself is not kept alive.
pub(crate) trait Known {
    /// False once the object is gone.
    fn alive(&self) -> bool;
}

/// Entries by the address of the objects they are about; grows with the live objects only.
#[derive(Debug)]
pub(crate) struct KnownObjects<K, E> {
    entries: HashMap<K, E>,
    sweep_at: usize,
}

impl<K: Hash + Eq, E: Known> KnownObjects<K, E> {
    pub(crate) fn new() -> Self {
        Self { entries: HashMap::new(), sweep_at: FIRST_SWEEP }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&E> {
        self.entries.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, entry: E) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| entry.alive());
            if self.entries.len() >= KNOWN_OBJECTS_MAX {
                self.entries.clear();
            }
            self.sweep_at = FIRST_SWEEP.max(self.entries.len() * 2);
        }
        self.entries.insert(key, entry);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Numbers for the names of Services, nodes and peers, so that what is remembered about a place outlives the objects
/// there and costs no hashing of strings.
#[derive(Debug)]
pub(crate) struct Names {
    services: Generations<ServiceKey, u64>,
    nodes: Generations<ObjectName, u64>,
    peers: Generations<ObjectName, u64>,
    next: u64,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            services: Generations::new(NAMES),
            nodes: Generations::new(NAMES),
            peers: Generations::new(NAMES),
            next: 1,
        }
    }

    pub(crate) fn service(&mut self, key: &ServiceKey) -> u64 {
        number(&mut self.services, &mut self.next, key)
    }

    pub(crate) fn node(&mut self, name: &ObjectName) -> u64 {
        number(&mut self.nodes, &mut self.next, name)
    }

    pub(crate) fn peer(&mut self, name: &ObjectName) -> u64 {
        number(&mut self.peers, &mut self.next, name)
    }
}

fn number<K: Hash + Eq + Clone>(names: &mut Generations<K, u64>, next: &mut u64, key: &K) -> u64 {
    names.get(key).unwrap_or_else(|| {
        let id = *next;
        *next += 1;
        names.insert(key.clone(), id);
        id
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;

    impl Known for Weak<u32> {
        fn alive(&self) -> bool {
            self.strong_count() > 0
        }
    }

    #[test]
    fn equal_values_have_one_identity_and_different_ones_two() {
        let mut interner = Interner::new();
        let (a, b, c) = (
            interner.intern("x".to_owned()),
            interner.intern("x".to_owned()),
            interner.intern("y".to_owned()),
        );
        assert_eq!(a.id, b.id);
        assert!(Arc::ptr_eq(&a.value, &b.value));
        assert_ne!(a.id, c.id);
    }

    #[test]
    fn values_that_nobody_holds_are_swept_and_their_identity_is_not_used_again() {
        let mut interner = Interner::new();
        let held = interner.intern(u32::MAX);
        let first = interner.intern(0u32).id;
        for value in 1..100_000u32 {
            interner.intern(value);
        }
        assert!(interner.values.len() <= 2 * FIRST_SWEEP, "{} values are kept", interner.values.len());
        assert_eq!(interner.intern(u32::MAX).id, held.id);
        assert_ne!(interner.intern(0).id, first);
    }

    #[test]
    fn objects_that_are_gone_leave_the_table() {
        let mut known = KnownObjects::new();
        let alive: Vec<Arc<u32>> = (0..10).map(Arc::new).collect();
        for object in &alive {
            known.insert(Arc::as_ptr(object) as usize, Arc::downgrade(object));
        }
        for value in 0..100_000 {
            let object = Arc::new(value);
            known.insert(Arc::as_ptr(&object) as usize, Arc::downgrade(&object));
        }
        assert!(known.entries.len() <= 2 * FIRST_SWEEP);
        assert!(alive.iter().all(|object| known.get(&(Arc::as_ptr(object) as usize)).is_some()));
    }
}
