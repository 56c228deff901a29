use super::*;
use crate::fake;

fn declared(set: &str, pointer: &str) -> Inputs {
    Inputs { from_config: [(set.to_owned(), pointer.to_owned())].into(), ..Default::default() }
}

fn keys(config: &str, pointer: &str) -> Vec<String> {
    effective_inputs(&declared("nodeLabels", pointer), config).unwrap().node_labels.into_iter().collect()
}

#[test]
fn keys_come_from_lists_and_from_the_keys_of_maps() {
    assert_eq!(keys(r#"{"keys":["b","a","b"]}"#, "/keys"), ["a", "b"]);
    assert_eq!(keys(r#"{"match":{"zone":"x","rack":"y"}}"#, "/match"), ["rack", "zone"]);
    assert_eq!(
        keys(r#"{"rules":[{"node":["a"]},{"node":{"b":1}},{"peer":["c"]}]}"#, "/rules/*/node"),
        ["a", "b"]
    );
    assert_eq!(keys(r#"{"by":{"x":["a"],"y":["b"]}}"#, "/by/*"), ["a", "b"]);
    assert_eq!(keys(r#"{"rules":[["a"],["b"]]}"#, "/rules/1"), ["b"]);
    assert_eq!(keys(r#"{"a/b":{"c~d":["x"]}}"#, "/a~1b/c~0d"), ["x"]);
}

#[test]
fn what_the_config_does_not_have_adds_nothing() {
    for config in ["", "null", "{}", r#"{"keys":null}"#, r#"{"other":["a"]}"#, r#"{"keys":[]}"#] {
        assert!(keys(config, "/keys").is_empty(), "{config}");
    }
    assert!(keys(r#"{"rules":"none"}"#, "/rules/*/node").is_empty());
}

#[test]
fn what_is_no_key_is_refused_with_its_place() {
    let inputs =
        |set, pointer, config| effective_inputs(&declared(set, pointer), config).unwrap_err().to_string();
    let error = inputs("nodeLabels", "/keys", r#"{"keys":["a",1]}"#);
    assert!(error.contains("spec.config/keys: found a list with something other than strings"), "{error}");
    let error = inputs("nodeColours", "/keys", "{}");
    assert!(error.contains("\"nodeColours\""), "{error}");
    assert!(inputs("nodeLabels", "/keys", "{").contains("not JSON"));
    let many: Vec<String> = (0..2000).map(|index| index.to_string()).collect();
    let error = inputs("nodeLabels", "/keys", &serde_json::json!({ "keys": many }).to_string());
    assert!(error.contains("more than 1024 keys"), "{error}");
}

#[test]
fn keys_from_the_config_add_to_the_declared_ones() {
    let mut inputs = declared("nodeLabels", "/keys");
    inputs.node_labels = ["zone".to_owned()].into();
    let effective = effective_inputs(&inputs, r#"{"keys":["rack"]}"#).unwrap();
    assert!(effective.node_labels.iter().eq(["rack", "zone"]));
}

#[test]
fn conditions_and_counts_that_are_not_declared_read_as_ready_and_none() {
    let mut node = fake::node_with("n1", bellhop_core::labels::labels([("zone", "a")]), Readiness::Unknown);
    Arc::make_mut(&mut node.node).unschedulable = true;
    let view = node_view(&Inputs::default(), &node);
    assert!(!view.unschedulable);
    assert_eq!((view.ready, view.local_endpoints, view.name), (Readiness::Ready, 0, None));
    assert_eq!(summary(&Inputs::default(), std::slice::from_ref(&node)).ready, 1);
    let inputs =
        Inputs { node_conditions: true, local_endpoints: true, node_identity: true, ..Default::default() };
    let view = node_view(&inputs, &node);
    assert!(view.unschedulable);
    assert_eq!((view.ready, view.local_endpoints, view.name.as_deref()), (Readiness::Unknown, 3, Some("n1")));
    assert_eq!(summary(&inputs, &[node]).ready, 0);
}

#[test]
fn an_edit_of_what_is_not_declared_keeps_the_identity_of_a_service() {
    let inputs = Inputs { service_labels: ["tier".to_owned()].into(), ..Default::default() };
    let mut projector = Projector::new(inputs, Match::default());
    let mut names = Names::new();
    let first = projector.service(&fake::service("web", "a", &[("tier", "gold"), ("x", "1")]), &mut names);
    let other = projector.service(&fake::service("web", "b", &[("tier", "gold"), ("x", "2")]), &mut names);
    let differs = projector.service(&fake::service("web", "a", &[("tier", "tin")]), &mut names);
    assert_eq!(first.view.id, other.view.id);
    assert_ne!(first.place, other.place);
    assert_ne!(first.view.id, differs.view.id);
    assert_eq!(first.place, differs.place, "the place is the name's, whatever the object");
}
