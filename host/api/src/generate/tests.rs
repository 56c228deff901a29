use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

/// The folders that have them: one for people and kubectl, one for the chart, which can only carry what is in its own folder.
fn committed() -> [PathBuf; 2] {
    ["crds", "charts/bellhop/files/crds"]
        .map(|folder| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder))
}

fn each_schema(mut f: impl FnMut(&str, &JSONSchemaProps)) {
    for mut crd in crds() {
        let kind = crd.spec.names.kind.clone();
        super::each_schema(std::slice::from_mut(&mut crd), &mut |path, schema| {
            f(&format!("{kind}{path}"), schema)
        });
    }
}

#[test]
fn the_committed_crds_are_the_generated_ones() {
    for folder in committed() {
        if std::env::var_os("BELLHOP_WRITE_CRDS").is_some() {
            write_crds(&folder).unwrap();
        }
        let place = folder.display();
        let mut expected = BTreeSet::new();
        for (name, text) in crds_yaml() {
            let found = fs::read_to_string(folder.join(&name)).unwrap_or_default();
            assert!(found == text, "{place}/{name} is not what the types give; run `make crds`");
            expected.insert(name);
        }
        let found: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".yaml"))
            .collect();
        assert_eq!(found, expected, "{place} has a file that no type gives");
    }
}

#[test]
fn every_kind_has_a_page_and_the_committed_one_is_the_generated_one() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/kinds");
    for (name, text) in kind_pages() {
        if std::env::var_os("BELLHOP_WRITE_CRDS").is_some() {
            fs::write(folder.join(&name), &text).unwrap();
        }
        let found = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(found == text, "docs/kinds/{name} is not what the types give; run `make crds`");
    }
    assert_eq!(kind_pages().len(), crds().len());
}

#[test]
fn every_generated_file_reads_back_as_the_crd_it_was_made_from() {
    for (crd, (name, text)) in crds().iter().zip(crds_yaml()) {
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, whole_numbers(serde_json::to_value(crd).unwrap()), "{name}");
    }
}

#[test]
fn every_string_list_and_map_has_a_maximum() {
    each_schema(|path, schema| match schema.type_.as_deref() {
        Some("string") if schema.enum_.is_none() => {
            assert!(schema.max_length.is_some(), "{path} has no maxLength")
        }
        Some("array") => assert!(schema.max_items.is_some(), "{path} has no maxItems"),
        Some("object") if schema.additional_properties.is_some() => {
            assert!(schema.max_properties.is_some(), "{path} has no maxProperties");
        }
        Some("integer") => {
            assert!(schema.minimum.is_some(), "{path} has no minimum");
            let bounded = schema.maximum.is_some() || path.ends_with(".observedGeneration");
            assert!(bounded, "{path} has no maximum");
        }
        _ => {}
    });
}

#[test]
fn no_field_may_be_null_because_null_stands_for_an_absent_one() {
    each_schema(|path, schema| assert!(schema.nullable.is_none(), "{path} is nullable"));
}

#[test]
fn every_schema_is_structural() {
    each_schema(|path, schema| {
        let anything = schema.x_kubernetes_int_or_string == Some(true);
        assert!(schema.type_.is_some() || anything, "{path} has no type");
        assert!(
            schema.any_of.is_none() && schema.one_of.is_none() && schema.all_of.is_none(),
            "{path} has branches"
        );
        assert!(schema.ref_path.is_none(), "{path} has a $ref");
        let closed = matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Bool(_)));
        assert!(!closed, "{path} has a boolean additionalProperties");
        assert!(
            schema.properties.is_none() || schema.additional_properties.is_none(),
            "{path} has both properties and additionalProperties"
        );
    });
}

#[test]
fn only_the_settings_of_a_plugin_may_hold_unknown_fields() {
    let mut open = Vec::new();
    each_schema(|path, schema| {
        if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
            open.push(path.to_owned());
        }
    });
    assert_eq!(open, ["DecisionPolicy.spec.config"]);
}

#[test]
fn every_field_of_every_spec_is_described() {
    each_schema(|path, schema| {
        let own = path.contains('.') && !path.ends_with("[]") && !path.ends_with("{}");
        if own && !path.ends_with(".status") && !path.ends_with(".spec") {
            let described = schema.description.as_deref().is_some_and(|text| !text.is_empty());
            assert!(described, "{path} has no description");
        }
    });
}

#[test]
fn every_kind_is_cluster_scoped_with_status_category_and_short_name() {
    for crd in crds() {
        let kind = &crd.spec.names.kind;
        assert_eq!(crd.spec.group, crate::GROUP);
        assert_eq!(crd.spec.scope, "Cluster", "{kind}");
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&["bellhop".to_owned()][..]), "{kind}");
        assert!(
            crd.spec.names.short_names.as_ref().is_some_and(|names| names[0].starts_with("bh")),
            "{kind}"
        );
        let [version] = &crd.spec.versions[..] else { panic!("{kind} has several versions") };
        assert_eq!(version.name, crate::VERSION);
        assert!(
            version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()),
            "{kind} has no status"
        );
    }
}

#[test]
fn every_format_is_one_that_the_api_server_knows() {
    each_schema(|path, schema| {
        let known = [None, Some("int32"), Some("int64"), Some("date-time")];
        assert!(known.contains(&schema.format.as_deref()), "{path} has format {:?}", schema.format);
    });
}

#[test]
fn defaults_stand_in_the_schema() {
    let mut defaults = std::collections::BTreeMap::new();
    each_schema(|path, schema| {
        if let Some(default) = &schema.default {
            defaults.insert(path.to_owned(), default.0.clone());
        }
    });
    for (path, value) in [
        ("AddressPool.spec.autoAssign", serde_json::json!(true)),
        ("BGPPeer.spec.peerPort", serde_json::json!(179)),
        ("BGPPeer.spec.holdTime", serde_json::json!("90s")),
        (
            "BGPPeer.spec.gracefulRestart",
            serde_json::json!({"enabled": true, "restartTime": "120s", "notifications": false}),
        ),
        ("BFDProfile.spec.transmitInterval", serde_json::json!("300ms")),
        ("DecisionPolicy.spec.plugin.key", serde_json::json!("module.wasm.zst")),
        ("DecisionPolicy.spec.failurePolicy", serde_json::json!("KeepLast")),
        ("SpeakerConfig.spec.drain.wait", serde_json::json!("10s")),
    ] {
        assert_eq!(defaults.get(path), Some(&value), "{path}");
    }
}

#[test]
fn nothing_is_required_that_has_a_sensible_default() {
    let mut required = BTreeSet::new();
    each_schema(|path, schema| {
        if path.contains(".spec") && !path.contains("elector") {
            required.extend(schema.required.iter().flatten().map(|name| format!("{path}.{name}")));
        }
    });
    let expected = [
        "AddressClaim.spec.address",
        "AddressClaim.spec.decidedBy.policy",
        "AddressClaim.spec.holders[].name",
        "AddressClaim.spec.holders[].namespace",
        "AddressClaim.spec.holders[].ports[].port",
        "AddressClaim.spec.holders[].ports[].protocol",
        "AddressClaim.spec.holders[].uid",
        "AddressPool.spec.addresses",
        "BGPPeer.spec.bfd.profile",
        "BGPPeer.spec.peerRange.prefix",
        "BGPPeer.spec.role.name",
        "DecisionPolicy.spec.hook",
        "DecisionPolicy.spec.plugin",
        "DecisionPolicy.spec.plugin.configMap",
        "DecisionPolicy.spec.plugin.sha256",
    ];
    assert_eq!(required, expected.map(String::from).into());
}
