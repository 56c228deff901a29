//! A hostile guest: it calls itself without end.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

#[allow(unconditional_recursion, reason = "what this guest is for")]
fn deeper(depth: u64) -> u64 {
    std::hint::black_box(deeper(std::hint::black_box(depth + 1))) + 1
}

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(Decision::use_default().with_note(deeper(0).to_string()))
}

plugin! {
    name: "deep-recursion",
    settings: NoSettings,
    hooks: { route: route },
}
