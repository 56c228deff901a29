//! The Secrets that BGPPeers name: what one holds, and the peer with its password.
//!
//! Nothing here shows what a Secret holds: it is not decoded by types whose errors name values, and what is told of it is
//! its type, the names of its keys, and where an octet is wrong.

use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::objects::BgpPeer;
use bellhop_core::password::PasswordError;
use bellhop_core::{ObjectName, ObjectRef, Password, Problem};
use k8s_openapi::ByteString;
use serde::Deserialize as _;
use serde_json::Value;

/// The type that is read: of a user and a password, as MetalLB has it too.
const TYPE: &str = "kubernetes.io/basic-auth";

/// The key of the password.
const KEY: &str = "password";

/// Most names of keys shown of a Secret.
const KEYS_SHOWN: usize = 8;

/// A Secret of Bellhop's own namespace.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Secret {
    pub(crate) name: ObjectName,
    pub(crate) password: Result<Password, SecretFault>,
}

/// Why a Secret holds no password of a session. Tells nothing of what it holds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SecretFault {
    #[error(
        "has the type {0} and must have the type {TYPE}; a Secret's type cannot be changed: delete it and make it anew"
    )]
    Type(String),
    #[error("has {0} and must have the key {KEY}")]
    NoKey(String),
    #[error("has under the key {KEY} no text in base64 (RFC 4648); stringData takes plain text")]
    Encoding,
    #[error("has a password that {0}")]
    Password(#[from] PasswordError),
}

/// What is known of a Secret that a BGPPeer names.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Known {
    /// It was not read yet.
    Unread,
    /// It does not exist.
    Absent,
    /// The API server does not show it, in its words.
    Refused(String),
    /// It was read.
    Read(Result<Password, SecretFault>),
}

/// Reads a Secret (core/v1).
pub(crate) fn read(name: &ObjectName, value: &Value) -> Secret {
    Secret { name: name.clone(), password: password(value) }
}

fn password(value: &Value) -> Result<Password, SecretFault> {
    // The API server's default (`core/v1` defaults.go).
    let type_ = value.get("type").and_then(Value::as_str).filter(|type_| !type_.is_empty());
    let type_ = type_.unwrap_or("Opaque");
    if type_ != TYPE {
        return Err(SecretFault::Type(type_.to_owned()));
    }
    let of = |field: &str| value.get(field).and_then(Value::as_object);
    // As the API server does it: what stands in stringData goes over data.
    if let Some(text) = of("stringData").and_then(|fields| fields.get(KEY)) {
        return Ok(Password::new(text.as_str().ok_or(SecretFault::Encoding)?.as_bytes())?);
    }
    let Some(text) = of("data").and_then(|fields| fields.get(KEY)) else {
        let keys = ["data", "stringData"].into_iter().filter_map(of).flat_map(|fields| fields.keys());
        let mut keys: Vec<&str> = keys.map(String::as_str).collect();
        keys.truncate(KEYS_SHOWN);
        let shown =
            if keys.is_empty() { "no data".to_owned() } else { format!("the keys {}", keys.join(", ")) };
        return Err(SecretFault::NoKey(shown));
    };
    // Its error would show the text.
    let ByteString(octets) = ByteString::deserialize(text).map_err(|_| SecretFault::Encoding)?;
    Ok(Password::new(&octets)?)
}

/// A BGPPeer with the password of the Secret that it names, and what is wrong with that Secret.
///
/// Where the Secret cannot be used, the password known last of it stays with the peer. Without one the version in force
/// stays whole (`None`), if it can be used; else the peer is in force without a password, and waits.
pub(crate) fn with_password(
    object: &ObjectRef,
    wanted: &Arc<BgpPeer>,
    in_force: Option<&Arc<BgpPeer>>,
    known: &Known,
    namespace: &str,
) -> (Option<Arc<BgpPeer>>, Option<Problem>) {
    let Some(secret) = &wanted.password_secret else { return (Some(wanted.clone()), None) };
    let with = |password: Option<Password>| {
        if wanted.password == password {
            return wanted.clone();
        }
        Arc::new(BgpPeer { password, ..(**wanted).clone() })
    };
    let (reason, found) = match known {
        Known::Read(Ok(password)) => return (Some(with(Some(password.clone()))), None),
        Known::Unread => (None, String::new()),
        Known::Absent => (Some(Reason::SecretMissing), "does not exist".to_owned()),
        Known::Refused(words) => {
            let found = format!("cannot be read: {words}; the Role must allow get on secrets");
            (Some(Reason::Forbidden), found)
        }
        Known::Read(Err(fault)) => (Some(Reason::InvalidSecret), fault.to_string()),
    };
    let same = |peer: &&Arc<BgpPeer>| peer.password_secret.as_ref() == Some(secret);
    let last = [Some(wanted), in_force].into_iter().flatten().filter(same);
    let last = last.filter_map(|peer| peer.password.clone()).next();
    let stays = in_force.is_some_and(|peer| !peer.awaits_password());
    let (version, effect) = match last {
        Some(password) => (Some(with(Some(password))), "the password known last stays in force"),
        None if stays => (None, "the version before this one stays in force"),
        None => (Some(with(None)), "no session is opened before it can be used"),
    };
    let problem = reason.map(|reason| {
        let message = format!("the Secret {namespace}/{secret} {found}; {effect}");
        Problem::new(object.clone(), reason.as_str(), BgpPeer::PASSWORD_FIELD, &**secret, message)
    });
    (version, problem)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(value: &Value) -> String {
        password(value).unwrap_err().to_string()
    }

    #[test]
    fn a_secret_of_basic_auth_holds_the_password() {
        let expected = Ok(Password::new(b"hush").unwrap());
        assert_eq!(password(&json!({"type": TYPE, "data": {"password": "aHVzaA=="}})), expected);
        let both =
            json!({"type": TYPE, "stringData": {"password": "hush"}, "data": {"password": "b3RoZXI="}});
        assert_eq!(password(&both), expected);
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_without_what_it_holds() {
        let data = |text: &str| json!({"type": TYPE, "data": {"password": text}});
        for (value, words) in [
            (
                json!({"data": {"password": "aHVzaA=="}}),
                "type Opaque and must have the type kubernetes.io/basic-auth",
            ),
            (json!({"type": "kubernetes.io/tls", "data": {"tls.key": "aHVzaA=="}}), "type kubernetes.io/tls"),
            (json!({"type": TYPE}), "has no data and must have the key password"),
            (json!({"type": TYPE, "data": {"username": "aHVzaA=="}}), "has the keys username and must"),
            (data("hush!"), "no text in base64"),
            (json!({"type": TYPE, "data": {"password": 7}}), "no text in base64"),
            (json!({"type": TYPE, "stringData": {"password": 7}}), "no text in base64"),
            (data(""), "is empty and must have 1 to 80 octets"),
            (data("aHVzaAo="), "control character (0x0a) at octet 5"),
            (data("aAA="), "control character (0x00) at octet 2"),
            (data(&"aHVz".repeat(27)), "has 81 octets and may have at most 80"),
        ] {
            let told = fault(&value);
            assert!(told.contains(words), "{told}");
            assert!(!told.contains("hush") && !told.contains("aHVz"), "{told}");
        }
    }
}
