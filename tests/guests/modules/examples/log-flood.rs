//! A hostile guest: it logs without end, then answers.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, log, plugin};

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    let filler = "x".repeat(1000);
    for line in 0..1000 {
        log!(Warn, "line {line} {filler}");
    }
    Ok(Decision::use_default().with_note("logged 1000 lines"))
}

plugin! {
    name: "log-flood",
    settings: NoSettings,
    hooks: { route: route },
}
