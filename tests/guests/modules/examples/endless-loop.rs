//! A hostile guest: it never answers.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

fn route(_: &NoSettings, request: &RouteRequest) -> Result<Decision<Route>, String> {
    let mut rounds = request.service.labels.len();
    loop {
        rounds = std::hint::black_box(rounds.wrapping_add(1));
    }
}

plugin! {
    name: "endless-loop",
    settings: NoSettings,
    hooks: { route: route },
}
