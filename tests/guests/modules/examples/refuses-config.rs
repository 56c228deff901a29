//! A guest whose settings have a rule between fields, so that a config can be refused.

use bellhop_policy::{Decision, Route, RouteRequest, plugin, settings};

settings! {
    /// Two numbers in order.
    pub struct Settings {
        /// The lower one.
        pub low: u16 = 1,
        /// The upper one.
        pub high: u16,
    }
}

fn in_order(settings: &Settings) -> Result<(), String> {
    if settings.low <= settings.high {
        return Ok(());
    }
    Err(format!("config.low: is {}, expected at most config.high, {}", settings.low, settings.high))
}

fn route(settings: &Settings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(Decision::use_default().with_note(format!("{} to {}", settings.low, settings.high)))
}

plugin! {
    name: "refuses-config",
    settings: Settings,
    validate: in_order,
    hooks: { route: route },
}
