//! Maps and sets of a few entries, each one exact allocation at most.
//!
//! A `BTreeMap` with one entry allocates room for eleven. Where the World and the plans keep a map or a set per Service
//! (its peers, addresses, slices), which has one or two entries, that room would be most of a speaker's memory. Look-ups
//! are by binary search; insertions and removals move what is behind, so these are for few entries and not for many.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sorted map of few entries.
#[derive(Clone, PartialEq, Eq)]
pub struct FlatMap<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for FlatMap<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for FlatMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> FlatMap<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.entries.binary_search_by(|(other, _)| other.borrow().cmp(key))
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &self.entries[place].1)
    }

    /// The key as it is kept, and its value.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| (&self.entries[place].0, &self.entries[place].1))
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &mut self.entries[place].1)
    }

    /// True where the key has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Sets the value of a key; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.entries[place].1, value)),
            Err(place) => {
                self.entries.reserve_exact(1);
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        Some(self.entries.remove(place).1)
    }
}

impl<K, V> FlatMap<K, V> {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Values by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Entries by key, the values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Values by key, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl<K: Serialize, V: Serialize> Serialize for FlatMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for FlatMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for FlatMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

/// A sorted set of few entries; the one entry that most sets have needs no allocation at all.
#[derive(Clone)]
pub struct FlatSet<T> {
    entries: Entries<T>,
}

#[derive(Clone)]
enum Entries<T> {
    One(T),
    /// None, or several; one that is left over of several stays here.
    Many(Vec<T>),
}

impl<T> Default for FlatSet<T> {
    fn default() -> Self {
        Self { entries: Entries::Many(Vec::new()) }
    }
}

impl<T: PartialEq> PartialEq for FlatSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for FlatSet<T> {}

impl<T: fmt::Debug> fmt::Debug for FlatSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<T: Ord> FlatSet<T> {
    /// Adds an entry; false where it was there.
    pub fn insert(&mut self, value: T) -> bool {
        let Err(place) = self.as_slice().binary_search(&value) else { return false };
        self.entries = match std::mem::take(self).entries {
            Entries::Many(entries) if entries.is_empty() => Entries::One(value),
            Entries::One(other) if place == 0 => Entries::Many(vec![value, other]),
            Entries::One(other) => Entries::Many(vec![other, value]),
            Entries::Many(mut entries) => {
                entries.reserve_exact(1);
                entries.insert(place, value);
                Entries::Many(entries)
            }
        };
        true
    }

    /// Removes an entry; false where it was not there.
    pub fn remove(&mut self, value: &T) -> bool {
        let Ok(place) = self.as_slice().binary_search(value) else { return false };
        match &mut self.entries {
            Entries::One(_) => *self = Self::default(),
            Entries::Many(entries) => {
                entries.remove(place);
            }
        }
        true
    }

    /// True where the entry is there.
    pub fn contains(&self, value: &T) -> bool {
        self.as_slice().binary_search(value).is_ok()
    }
}

impl<T> FlatSet<T> {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    fn as_slice(&self) -> &[T] {
        match &self.entries {
            Entries::One(entry) => std::slice::from_ref(entry),
            Entries::Many(entries) => entries,
        }
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Entries, sorted.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }
}

impl<'a, T> IntoIterator for &'a FlatSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for FlatSet<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self.entries {
            Entries::One(entry) => (Some(entry), Vec::new()),
            Entries::Many(entries) => (None, entries),
        };
        one.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_flat_map_and_set_hold_what_a_tree_would_after_any_history() {
        let (mut map, mut set) = (FlatMap::new(), FlatSet::new());
        let (mut model, mut model_set) = (BTreeMap::new(), BTreeSet::new());
        let mut state = 7_u32;
        for step in 0..2_000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = state >> 28;
            if state & 1 << 20 == 0 {
                assert_eq!(map.insert(key, step), model.insert(key, step));
                assert_eq!(set.insert(key), model_set.insert(key));
            } else {
                assert_eq!(map.remove(&key), model.remove(&key));
                assert_eq!(set.remove(&key), model_set.remove(&key));
            }
            assert!(map.iter().eq(&model) && map.get(&key) == model.get(&key));
            assert!(set.iter().eq(&model_set) && set.clone().into_iter().eq(model_set.clone()));
            assert!(set.len() == model_set.len() && set.contains(&key) == model_set.contains(&key));
        }
    }

    #[test]
    fn a_map_of_one_entry_has_room_for_one() {
        let mut map = FlatMap::new();
        map.insert(1, [0_u8; 64]);
        assert_eq!(map.entries.capacity(), 1);
    }

    #[test]
    fn a_set_of_one_entry_allocates_nothing() {
        let mut set = FlatSet::new();
        set.insert(1);
        assert!(matches!(set.entries, Entries::One(1)));
        set.remove(&1);
        assert!(matches!(&set.entries, Entries::Many(none) if none.capacity() == 0));
    }
}
