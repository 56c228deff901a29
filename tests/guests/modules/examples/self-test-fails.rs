//! A guest that does not do what its own self-test says.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(Decision::use_default())
}

plugin! {
    name: "self-test-fails",
    settings: NoSettings,
    hooks: { route: route },
    self_tests: [
        {
            name: "every route is withheld",
            config: "{}",
            hook: Route,
            request: r#"{"service": {}, "family": "IPv4", "node": {}, "peer": {}}"#,
            expect: r#"{"withhold": "always"}"#,
        },
    ],
}
