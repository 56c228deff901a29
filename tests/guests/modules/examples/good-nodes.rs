//! A good `nodes` guest: each kind of verdict can be had from it by Node label `verdict`.

use bellhop_policy::{Decision, NoSettings, NodeRequest, Readiness, Verdict, plugin};

fn node(_: &NoSettings, request: &NodeRequest<'_>) -> Result<Decision<Verdict>, String> {
    let node = request.node;
    Ok(match node.label("verdict") {
        Some("draining") => Verdict::Draining("asked to".into()).into(),
        Some("ineligible") => Verdict::Ineligible("asked to".into()).into(),
        Some("weight") => Verdict::Eligible(u32::from(node.local_endpoints)).into(),
        Some("facts") => Decision::use_default().with_note(format!(
            "{} ready {} unschedulable {} taints {} of {} ready {}",
            node.name.as_deref().unwrap_or("unknown"),
            node.ready == Readiness::Ready,
            node.unschedulable,
            node.taints.len(),
            request.summary.total,
            request.summary.ready,
        )),
        Some("error") => return Err("asked to fail".into()),
        _ => Decision::use_default(),
    })
}

plugin! {
    name: "good-nodes",
    settings: NoSettings,
    hooks: { nodes: node },
    inputs: {
        node_labels: ["verdict"],
        topology_keys: ["topology.kubernetes.io/zone"],
        node_identity: true,
        node_taints: true,
        node_conditions: true,
        local_endpoints: true,
    },
    self_tests: [
        {
            name: "each node gets its own verdict",
            config: "{}",
            hook: Nodes,
            request: r#"{"service": {}, "nodes": [{"labels": [["verdict", "draining"]]}, {}]}"#,
            expect: r#"[{"draining": "asked to"}, "useDefault"]"#,
        },
    ],
}
