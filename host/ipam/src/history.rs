//! In which order addresses were released.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::objects::AddressRange;

/// Most releases remembered. A pool that is never used up would make the history grow for ever; beyond this many, what
/// was released longest ago counts as never used, and as such it comes first again, as it should.
pub const HISTORY_MAX: usize = 65_536;

/// Free addresses that were in use before, with the order of their releases.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    by_address: BTreeMap<IpAddr, u64>,
    by_order: BTreeMap<u64, IpAddr>,
    next: u64,
}

impl History {
    /// The next place in the order.
    pub(crate) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Notes a release: its place in the order, and the address that was forgotten for it.
    pub(crate) fn release(&mut self, address: IpAddr) -> (u64, Option<IpAddr>) {
        let order = self.next();
        self.restore(address, order);
        let forgotten = (self.by_order.len() > HISTORY_MAX).then(|| self.by_order.pop_first()).flatten();
        if let Some((_, address)) = forgotten {
            self.by_address.remove(&address);
        }
        (order, forgotten.map(|(_, address)| address))
    }

    /// Puts an address back to the place that [`History::forget`] returned.
    pub(crate) fn restore(&mut self, address: IpAddr, order: u64) {
        self.forget(address);
        self.by_address.insert(address, order);
        self.by_order.insert(order, address);
    }

    /// Drops an address, as it is in use again; its place in the order.
    pub(crate) fn forget(&mut self, address: IpAddr) -> Option<u64> {
        let order = self.by_address.remove(&address)?;
        self.by_order.remove(&order);
        Some(order)
    }

    /// The place of an address.
    pub(crate) fn order(&self, address: IpAddr) -> Option<u64> {
        self.by_address.get(&address).copied()
    }

    /// Released addresses of a range.
    pub(crate) fn within(&self, range: &AddressRange) -> impl Iterator<Item = (IpAddr, u64)> {
        self.by_address.range(range.first()..=range.last()).map(|(&address, &order)| (address, order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_forgets_the_oldest_release_beyond_its_bound() {
        let mut history = History::default();
        let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(number));
        for number in 0..HISTORY_MAX as u32 {
            assert_eq!(history.release(address(number)).1, None);
        }
        assert_eq!(history.release(address(1 << 30)).1, Some(address(0)));
        assert_eq!(history.order(address(0)), None);
        assert_eq!(history.by_address.len(), history.by_order.len());
    }
}
