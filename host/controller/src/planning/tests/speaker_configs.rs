//! Speakers that routers cannot tell apart.

use bellhop_index::{Index, Options};

use super::*;

fn ready(bench: &Bench, name: &str) -> String {
    let object = ObjectRef::cluster("SpeakerConfig", name.to_owned());
    let Status::Conditions(conditions) = &bench.api.objects[&object].status else {
        panic!("it has conditions")
    };
    format!("{:?} {}: {}", conditions[0].status, conditions[0].reason, conditions[0].message)
}

#[test]
fn two_nodes_with_one_router_id_are_named_until_each_has_its_own() {
    let node = |name: &str, address: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{name: {name}}}}}\n\
             status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n---\n"
        )
    };
    let config = |name: &str, spec: &str| {
        format!(
            "apiVersion: bellhop.dev/v1alpha1\nkind: SpeakerConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let nodes = node("east", "192.0.2.71") + &node("west", "192.0.2.72");
    let mut index = Index::new(Options::default());
    let mut bench = Bench::new();
    let mut put = |bench: &mut Bench, text: String| {
        bench.api.put_manifests(index.apply("m.yaml", text.as_bytes()));
        bench.settle();
    };
    put(&mut bench, nodes.clone() + &config("all", "{asn: 64512}"));
    assert_eq!(ready(&bench, "all"), "True Ready: valid and in force");
    put(&mut bench, nodes.clone() + &config("all", "{asn: 64512, routerID: 192.0.2.9}"));
    let told = ready(&bench, "all");
    assert!(
        told.starts_with("False DuplicateRouterID: spec.routerID: \"192.0.2.9\": is the router ID of"),
        "{told}"
    );
    assert!(told.contains("east and west") || told.contains("among them"), "{told}");
    let of = |name: &str, id: &str| {
        config(
            name,
            &format!("{{priority: 1, routerID: {id}, nodeSelector: {{matchLabels: {{name: {name}}}}}}}"),
        )
    };
    let own = of("east", "192.0.2.1") + &of("west", "192.0.2.2");
    put(&mut bench, nodes + &config("all", "{asn: 64512}") + &own);
    for name in ["all", "east", "west"] {
        assert_eq!(ready(&bench, name), "True Ready: valid and in force");
    }
}
