//! A hostile guest: its error text is 8 MiB long.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    Err("x".repeat(8 << 20))
}

plugin! {
    name: "huge-string",
    settings: NoSettings,
    hooks: { route: route },
}
