//! A bounded map that forgets by generations.

use std::collections::HashMap;
use std::hash::Hash;

/// At most two times `capacity` entries: once the young generation is full it becomes the old one, and what was still
/// in the old one is forgotten. What is asked for in between is carried over, so that the working set stays.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity }
    }

    /// The value at `key`, which counts as used.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.keys().filter(|key| !self.young.contains_key(key)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut cache = Generations::new(4);
        for key in 0..100 {
            cache.insert(key, key);
            assert_eq!(cache.get(&0), Some(0), "the entry in use was forgotten at {key}");
            assert!(cache.len() <= 8);
        }
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn a_newer_value_hides_the_old_generation() {
        let mut cache = Generations::new(2);
        cache.insert("a", 1);
        cache.insert("b", 1);
        cache.insert("c", 1);
        cache.insert("a", 2);
        assert_eq!(cache.get(&"a"), Some(2));
    }
}
