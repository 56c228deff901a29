//! A good `address` guest: each kind of answer can be had from it by Service label `answer`.

use bellhop_policy::{Address, AddressRequest, Choice, Decision, NoSettings, plugin};

fn address(_: &NoSettings, request: &AddressRequest) -> Result<Decision<Address>, String> {
    let chosen = |choice: &dyn Fn(bellhop_policy::Family) -> Option<Choice>| {
        let choices = request.families.iter().filter_map(|family| Some((*family, choice(*family)?)));
        Decision::of(Address::Choose(vec![choices.collect()]))
    };
    let last_of = |family| request.candidates.iter().rposition(|candidate| candidate.family == family);
    Ok(match request.service.label("answer") {
        Some("candidate") => chosen(&|family| Some(Choice::Candidate(last_of(family)? as u32))),
        Some("exact") => chosen(&|family| Some(Choice::Exact(request.candidates[last_of(family)?].ip()?))),
        Some("pool") => chosen(&|_| Some(Choice::Pool(request.pools.last()?.name.clone()))),
        Some("reject") => Address::Reject("asked to".into()).into(),
        Some("error") => return Err("asked to fail".into()),
        _ => Decision::use_default(),
    }
    .with_note(format!("{} pools, {} candidates", request.pools.len(), request.candidates.len())))
}

plugin! {
    name: "good-address",
    settings: NoSettings,
    hooks: { address: address },
    inputs: { service_labels: ["answer"], pool_labels: ["tier"] },
    self_tests: [
        {
            name: "the last candidate is taken",
            config: "null",
            hook: Address,
            request: r#"{
                "service": {"labels": [["answer", "candidate"]]}, "families": ["IPv4"], "pools": [{"name": "p"}],
                "candidates": [[0, "192.0.2.1", 0], [0, "192.0.2.2", 0]]
            }"#,
            expect: r#"{"choose": [[{"family": "IPv4", "candidate": 1}]]}"#,
        },
    ],
}
