//! A hostile guest: it takes all the memory that it can get.

use bellhop_policy::{Decision, NoSettings, Route, RouteRequest, plugin};

fn route(_: &NoSettings, _: &RouteRequest) -> Result<Decision<Route>, String> {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 20]);
        std::hint::black_box(&hoard);
    }
}

plugin! {
    name: "memory-hog",
    settings: NoSettings,
    hooks: { route: route },
}
