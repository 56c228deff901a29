//! Strings that many objects have in common, each allocated once.
//!
//! Thousands of Services repeat a few namespaces, nodes, pools and labels. Each thread remembers the strings it made
//! lately, in a table of fixed size without chains: a string that finds its place taken by another one replaces it. So
//! the table needs no upkeep and cannot grow, and what it misses costs one allocation, as without it.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// Strings remembered by a thread: a Service brings some ten strings of its own, so that one in common, seen with each
/// Service, is replaced once in a hundred times.
const PLACES: usize = 1024;

/// Longest string remembered, in bytes, so that a thread holds on to 256 KiB at most. Label values have at most 63.
const BYTES_MAX: usize = 255;

struct Recent {
    hash: RandomState,
    places: Box<[Option<Arc<str>>]>,
}

thread_local! {
    static RECENT: RefCell<Recent> =
        RefCell::new(Recent { hash: RandomState::new(), places: vec![None; PLACES].into() });
}

/// The text as a shared string, the same allocation as that of an equal one made lately on this thread, where it is
/// remembered.
pub fn shared(text: &str) -> Arc<str> {
    if text.len() > BYTES_MAX {
        return text.into();
    }
    RECENT.with_borrow_mut(|recent| {
        let mut hasher = recent.hash.build_hasher();
        hasher.write(text.as_bytes());
        let place = &mut recent.places[hasher.finish() as usize % PLACES];
        match place {
            Some(known) if **known == *text => known.clone(),
            _ => place.insert(text.into()).clone(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_made_one_after_the_other_are_one_allocation() {
        let (a, b) = (shared("kubernetes.io/hostname"), shared("kubernetes.io/hostname"));
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn a_thread_remembers_no_more_than_it_has_places_and_no_long_string() {
        for number in 0..10 * PLACES {
            let text = number.to_string();
            assert_eq!(*shared(&text), *text);
        }
        let long = "x".repeat(BYTES_MAX + 1);
        assert!(!Arc::ptr_eq(&shared(&long), &shared(&long)));
        RECENT.with_borrow(|recent| assert_eq!(recent.places.len(), PLACES));
    }
}
