//! A good guest with every hook, which leaves every decision to the built-in rule.

use bellhop_policy::{
    Address, AddressRequest, Decision, NoSettings, NodeRequest, Route, RouteRequest, Verdict, plugin,
};

fn address(_: &NoSettings, _: &AddressRequest) -> Result<Decision<Address>, String> {
    Ok(Decision::use_default())
}

fn node(_: &NoSettings, _: &NodeRequest<'_>) -> Result<Decision<Verdict>, String> {
    Ok(Decision::use_default())
}

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(Decision::use_default())
}

plugin! {
    name: "all-hooks",
    settings: NoSettings,
    hooks: { address: address, nodes: node, route: route },
}
