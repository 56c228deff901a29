//! A hostile guest: it never takes its config.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

fn never(_: &NoSettings) -> Result<(), String> {
    let mut rounds = 0_u64;
    loop {
        rounds = std::hint::black_box(rounds.wrapping_add(1));
    }
}

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(Decision::use_default())
}

plugin! {
    name: "endless-configure",
    settings: NoSettings,
    validate: never,
    hooks: { route: route },
}
