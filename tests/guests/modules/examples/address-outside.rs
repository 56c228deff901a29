//! A hostile guest: it chooses addresses that it was not offered. Service label `answer` says which.

use std::net::{IpAddr, Ipv4Addr};

use bellhop_policy::{Address, AddressRequest, Choice, Decision, Family, NoSettings, plugin};

fn address(_: &NoSettings, request: &AddressRequest) -> Result<Decision<Address>, String> {
    let choice = match request.service.label("answer") {
        Some("candidate") => Choice::Candidate(u32::MAX),
        Some("pool") => Choice::Pool("no-such-pool".into()),
        Some("family") => {
            Choice::Exact("2001:db8::bad".parse::<IpAddr>().map_err(|error| error.to_string())?)
        }
        _ => Choice::Exact(Ipv4Addr::new(8, 8, 8, 8).into()),
    };
    Ok(Address::Choose(vec![vec![(Family::Ipv4, choice)]]).into())
}

plugin! {
    name: "address-outside",
    settings: NoSettings,
    hooks: { address: address },
    inputs: { service_labels: ["answer"] },
}
