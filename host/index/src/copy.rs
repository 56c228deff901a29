//! The form of a policy's copy: an immutable ConfigMap of the controller's with one version, module and spec. The
//! controller writes it, and both it and the speakers read it here.

use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::objects::{DecisionPolicy, ModuleSource};
use bellhop_core::{ObjectName, ObjectRef, Problem};
use serde_json::{Value, json};

use crate::convert::{self, Kind, Options, Outcome, Projection};

/// Key of the module in a copy.
pub const COPY_MODULE_KEY: &str = "module.wasm.zst";

/// Key of the spec in a copy, as JSON.
pub const COPY_SPEC_KEY: &str = "policy.json";

/// The policy `name` as a copy of one of its versions has it; `None` where that is not the form of a copy.
pub fn policy_of_copy(name: &ObjectName, copy: &ModuleSource) -> Option<Arc<DecisionPolicy>> {
    let object = ObjectRef::cluster(Kind::DecisionPolicy.as_str(), name.clone());
    match read(&object, copy, &Options::default()) {
        (Some(Projection::Policy(policy)), _) => Some(policy),
        _ => None,
    }
}

/// The policy `object` as a copy has it, and what is wrong with the copy. Fields that are not known are of a newer version
/// and passed over. The module is the copy's own: under the key that its spec names, where the copy has that, else under
/// [`COPY_MODULE_KEY`], as a spec may name the key that the author's ConfigMap had.
pub(crate) fn read(
    object: &ObjectRef,
    copy: &ModuleSource,
    options: &Options,
) -> (Option<Projection>, Vec<Problem>) {
    let field = format!("status.active.configMap[{}].data[{COPY_SPEC_KEY}]", copy.name);
    let broken = |reason: Reason, message: String| {
        (None, vec![Problem::new(object.clone(), reason.as_str(), field.clone(), "", message)])
    };
    let Some(text) = copy.data.get(COPY_SPEC_KEY) else {
        return broken(Reason::MissingField, "is missing; the leading controller must write the copy".into());
    };
    let mut spec: Value = match serde_json::from_slice(text) {
        Ok(spec) => spec,
        Err(error) => return broken(Reason::InvalidSyntax, format!("is not JSON: {error}")),
    };
    if let Some(plugin) = spec.get_mut("plugin").and_then(Value::as_object_mut) {
        let named = plugin.get("key").and_then(Value::as_str).filter(|key| copy.data.contains_key(*key));
        let key = named.unwrap_or(COPY_MODULE_KEY).to_owned();
        plugin.insert("key".into(), key.into());
        plugin.insert("configMap".into(), (&*copy.name).into());
    }
    let mut value = json!({
        "apiVersion": Kind::DecisionPolicy.api_version(),
        "kind": Kind::DecisionPolicy.as_str(),
        "metadata": {"name": &*object.name},
        "spec": spec,
    });
    convert::without_unknown(Kind::DecisionPolicy, &mut value);
    match convert::convert(Kind::DecisionPolicy, object, value, options) {
        Outcome::Read(projection, problems) => (projection, problems),
        Outcome::Ignored(why) => broken(Reason::InvalidValue, why.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy with this spec and a module under each of these keys.
    fn copy(spec: &Value, keys: &[&str]) -> ModuleSource {
        let modules = keys.iter().map(|key| ((*key).into(), b"\0asm".as_slice().into()));
        let spec = (COPY_SPEC_KEY.into(), spec.to_string().into_bytes().into());
        ModuleSource { name: "the-copy".into(), data: modules.chain([spec]).collect() }
    }

    fn spec(key: &str) -> Value {
        json!({"hook": "Route", "plugin": {"configMap": "mine", "key": key, "sha256": "ab".repeat(32)}})
    }

    #[test]
    fn a_copy_that_a_newer_version_wrote_is_read_without_the_fields_that_are_not_known() {
        let mut newer = spec(COPY_MODULE_KEY);
        newer["shadow"] = json!({"percent": 5});
        newer["plugin"]["signature"] = json!("x");
        newer["match"] = json!({"zoneSelector": {}});
        let known = policy_of_copy(&"p".into(), &copy(&spec(COPY_MODULE_KEY), &[COPY_MODULE_KEY])).unwrap();
        let read = policy_of_copy(&"p".into(), &copy(&newer, &[COPY_MODULE_KEY])).unwrap();
        assert_eq!(&*read.config_map, "the-copy");
        assert_eq!(read, known);
    }

    #[test]
    fn the_module_is_found_whichever_key_it_has_in_the_copy_and_had_in_the_authors_config_map() {
        for (named, there, found) in [
            ("authors.wasm", COPY_MODULE_KEY, COPY_MODULE_KEY),
            ("newer.wasm", "newer.wasm", "newer.wasm"),
            (COPY_MODULE_KEY, COPY_MODULE_KEY, COPY_MODULE_KEY),
        ] {
            let policy = policy_of_copy(&"p".into(), &copy(&spec(named), &[there])).unwrap();
            assert_eq!(&*policy.module_key, found, "{named} {there}");
        }
    }

    #[test]
    fn what_is_no_copy_is_no_policy() {
        let empty = ModuleSource { name: "c".into(), data: Default::default() };
        assert_eq!(policy_of_copy(&"p".into(), &empty), None);
        assert_eq!(policy_of_copy(&"p".into(), &copy(&json!([]), &[])), None);
        assert_eq!(policy_of_copy(&"p".into(), &copy(&json!({"hook": "Route"}), &[])), None);
    }
}
