//! A hostile guest: its answer is larger than an UPDATE.

use bellhop_policy::{Attributes, Community, Decision, NoSettings, Route, RouteRequest, plugin};

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    let communities = (0..10_000).map(Community).collect();
    Ok(Route::Advertise(Attributes { communities, ..Attributes::default() }).into())
}

plugin! {
    name: "ten-thousand-communities",
    settings: NoSettings,
    hooks: { route: route },
}
