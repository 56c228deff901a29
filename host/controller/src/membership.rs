//! The Secret with the membership key of the speakers, which the controller makes where there is none and never changes.

use std::fs::File;
use std::io::Read;

use bellhop_core::ObjectRef;
use bellhop_kubernetes::Verb;
use bellhop_kubernetes::WriteError;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// Name of the Secret.
pub(crate) const SECRET: &str = "bellhop-membership";

/// The one type that is made and taken.
const TYPE: &str = "Opaque";

/// Key of the Secret's data.
const KEY: &str = "key";

/// Bytes of the membership key: that of HMAC-SHA-256.
const KEY_BYTES: usize = 32;

/// The manifest of a new Secret.
///
/// # Errors
/// Where the kernel gives no random bytes.
pub(crate) fn manifest(object: &ObjectRef) -> Result<Value, WriteError> {
    let mut key = vec![0; KEY_BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key)).map_err(|error| {
        let message = format!("/dev/urandom: {error}");
        WriteError::Unavailable { verb: Verb::Create, object: object.clone(), message }
    })?;
    Ok(json!({
        "metadata": { "labels": { "app.kubernetes.io/part-of": "bellhop" } },
        "type": TYPE,
        "data": { KEY: ByteString(key) },
    }))
}

/// Looks whether a Secret that is there can be used. It is somebody's, and is not written over.
///
/// # Errors
/// Where it cannot: in which field, and what would be right. No word of what the key is.
pub(crate) fn check(object: &ObjectRef, secret: &Value) -> Result<(), WriteError> {
    let wrong = |what: String| {
        let message = format!("{what}; delete it, and the controller makes one");
        Err(WriteError::Invalid { verb: Verb::Create, object: object.clone(), message })
    };
    match secret["type"].as_str() {
        Some(TYPE) => {}
        other => {
            return wrong(format!(
                "the Secret is there with type \"{}\", not {TYPE}",
                other.unwrap_or_default()
            ));
        }
    }
    let Some(key) = secret["data"].get(KEY) else {
        return wrong(format!(
            "the Secret is there without data.{KEY}, which must be {KEY_BYTES} bytes or more"
        ));
    };
    let bytes = serde_json::from_value::<ByteString>(key.clone()).map_or(0, |key| key.0.len());
    if bytes < KEY_BYTES {
        return wrong(format!(
            "the Secret is there, and its data.{KEY} has {bytes} bytes; {KEY_BYTES} or more are right"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(secret: &Value) -> Result<(), String> {
        let object = ObjectRef::cluster("Secret", SECRET);
        check(&object, secret).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_controller_makes_it_takes_and_no_two_are_alike() {
        let made = || manifest(&ObjectRef::cluster("Secret", SECRET)).unwrap();
        assert_eq!(checked(&made()), Ok(()));
        assert_ne!(made()["data"], made()["data"]);
    }

    #[test]
    fn a_secret_that_is_none_of_ours_is_refused_in_words_that_say_what_would_be_right() {
        let right = "a".repeat(44);
        for (secret, said) in [
            (
                json!({"type": "kubernetes.io/tls", "data": {"key": right}}),
                "type \"kubernetes.io/tls\", not Opaque",
            ),
            (json!({"data": {"key": right}}), "type \"\", not Opaque"),
            (json!({"type": "Opaque"}), "without data.key, which must be 32 bytes or more"),
            (json!({"type": "Opaque", "data": {"password": right}}), "without data.key"),
            (json!({"type": "Opaque", "data": {"key": ""}}), "data.key has 0 bytes; 32 or more are right"),
            (json!({"type": "Opaque", "data": {"key": "c2hvcnQ="}}), "data.key has 5 bytes"),
        ] {
            let error = checked(&secret).unwrap_err();
            assert!(error.contains(said) && error.contains(SECRET), "{error}");
            assert!(error.ends_with("delete it, and the controller makes one"), "{error}");
            assert!(!error.contains("c2hvcnQ") && !error.contains("short"), "{error}");
        }
    }
}
