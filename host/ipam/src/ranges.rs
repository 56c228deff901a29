//! Sets of addresses of one family, as disjoint ranges of numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_core::Family;

/// The number of an address within its family.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of a number; numbers of IPv4 have 32 bits.
pub(crate) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// Numbers as disjoint ranges, both ends included: a /64 costs one entry, and each hole in it one more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct RangeSet {
    ranges: BTreeMap<u128, u128>,
    len: u128,
}

/// How many numbers there are from `first` to `last`; one too few for all 2^128 of them.
fn length(first: u128, last: u128) -> u128 {
    (last - first).saturating_add(1)
}

impl RangeSet {
    /// How many numbers are in the set, saturating.
    pub(crate) fn len(&self) -> u128 {
        self.len
    }

    /// Adds the numbers from `first` to `last`.
    pub(crate) fn insert(&mut self, first: u128, last: u128) {
        self.remove(first, last);
        let (mut first, mut last) = (first, last);
        self.len = self.len.saturating_add(length(first, last));
        if let Some((&start, &end)) = self.ranges.range(..first).next_back()
            && end.checked_add(1) == Some(first)
        {
            first = start;
        }
        if let Some(next) = last.checked_add(1)
            && let Some(end) = self.ranges.remove(&next)
        {
            last = end;
        }
        self.ranges.insert(first, last);
    }

    /// Removes the numbers from `first` to `last`.
    pub(crate) fn remove(&mut self, first: u128, last: u128) {
        let before = self.ranges.range(..first).next_back().filter(|(_, end)| **end >= first);
        let touched: Vec<(u128, u128)> = before
            .into_iter()
            .chain(self.ranges.range(first..=last))
            .map(|(&start, &end)| (start, end))
            .collect();
        for (start, end) in touched {
            self.ranges.remove(&start);
            self.len = self.len.saturating_sub(length(start.max(first), end.min(last)));
            if start < first {
                self.ranges.insert(start, first - 1);
            }
            if end > last {
                self.ranges.insert(last + 1, end);
            }
        }
    }

    /// The numbers, lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u128> {
        self.ranges.iter().flat_map(|(&first, &last)| first..=last)
    }

    /// True when the set has this number.
    pub(crate) fn contains(&self, number: u128) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, &last)| number <= last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_range_set_holds_what_a_plain_set_holds(
            steps in prop::collection::vec((any::<bool>(), 0_u128..64, 0_u128..16), 0..40),
        ) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (insert, first, length) in steps {
                if insert {
                    set.insert(first, first + length);
                    model.extend(first..=first + length);
                } else {
                    set.remove(first, first + length);
                    model.retain(|number| !(first..=first + length).contains(number));
                }
                prop_assert_eq!(set.len(), model.len() as u128);
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert!((0..90).all(|number| set.contains(number) == model.contains(&number)));
                let adjacent = set.ranges.iter().zip(set.ranges.keys().skip(1)).any(|((_, end), next)| end + 1 == *next);
                prop_assert!(!adjacent, "neighbouring ranges are merged");
            }
        }
    }

    #[test]
    fn the_whole_of_ipv6_is_one_range_and_has_a_hole_after_one_removal() {
        let mut set = RangeSet::default();
        set.insert(0, u128::MAX);
        set.remove(7, 7);
        assert_eq!(set.ranges.len(), 2);
        assert!(set.contains(u128::MAX) && !set.contains(7));
        set.insert(7, 7);
        assert_eq!(set.ranges.len(), 1);
    }
}
