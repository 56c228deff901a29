//! A hostile guest: it panics.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

fn route(_: &NoSettings, request: &RouteRequest) -> Result<Decision<Route>, String> {
    panic!("nobody expected {} labels", request.service.labels.len());
}

plugin! {
    name: "panics",
    settings: NoSettings,
    hooks: { route: route },
}
