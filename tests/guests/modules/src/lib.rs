//! What the guests share. Each guest is an example of this package.

#![forbid(unsafe_code)]

use bellhop_policy::{Decision, Route, RouteRequest};

/// A route decision that never comes to pass because the guest misbehaves first.
pub fn route_default(_: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(Decision::use_default())
}
