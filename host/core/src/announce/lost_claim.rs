//! What becomes of an address whose claim is gone, though nobody let go of it.
//!
//! The controller releases a claim only after the Service's status has stopped to list the address. A claim that goes
//! while the status still lists it was lost: somebody deleted it, or its kind as a whole, as when a CustomResourceDefinition
//! is taken away and put back. The controller makes it again for the same Service before it allocates anything else, so
//! until then the node goes on: traffic is served all the while, and no other Service can be given the address without a
//! claim, which ends this at once. A status alone announces nothing: only an address that was held by a claim is kept.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::objects::Service;
use crate::world::World;

/// For how long a lost claim is waited for: enough to put a kind back by hand or by a chart, and for a controller to start,
/// lead and make thousands of claims. Whoever takes claims away for good has no controller, and no answer sooner.
pub const LOST_CLAIM_GRACE: Duration = Duration::from_secs(300);

/// Until when a Service keeps an address that it held and that no claim gives it now; `None` where it does not keep it.
/// `before`: what this said when the plan in force was made.
pub(super) fn kept_until(
    world: &World,
    service: &Service,
    address: IpAddr,
    before: Option<Instant>,
    now: Instant,
) -> Option<Instant> {
    let lost = !world.claims().contains_key(&address) && service.published.contains(&address);
    let until = before.unwrap_or(now + LOST_CLAIM_GRACE);
    (lost && now < until).then_some(until)
}
