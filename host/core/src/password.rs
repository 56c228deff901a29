//! The password of a BGP session: a key of TCP MD5 (RFC 2385).

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The password of a BGP session, which signs every segment of its connection (RFC 2385). It is never shown: its `Debug` has
/// no octet of it, and nothing that people read is made from it.
///
/// Serialised, as hexadecimal text, it is written to the objects kept on the node and to nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<[u8]>);

/// Why octets cannot be a password. Tells nothing of them but where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PasswordError {
    /// There are none.
    #[error("is empty and must have 1 to {} octets (RFC 2385)", Password::MAX)]
    Empty,
    /// More than Linux signs with.
    #[error("has {0} octets and may have at most {max} (TCP_MD5SIG_MAXKEYLEN of Linux)", max = Password::MAX)]
    TooLong(usize),
    /// A line break, NUL or other control character, which no router's configuration can hold.
    #[error(
        "has a control character ({byte:#04x}) at octet {at}, which no router's configuration can hold; one at the end \
         is the line break that echo adds: use printf, or kubectl create secret --from-literal"
    )]
    Control {
        /// The octet.
        byte: u8,
        /// Where it stands, from 1.
        at: usize,
    },
}

impl Password {
    /// Most octets (`TCP_MD5SIG_MAXKEYLEN` of `linux/tcp.h`).
    pub const MAX: usize = 80;

    /// Octets as a password.
    ///
    /// # Errors
    /// Where there are none, too many, or a control character among them.
    pub fn new(octets: &[u8]) -> Result<Self, PasswordError> {
        if octets.is_empty() {
            return Err(PasswordError::Empty);
        }
        if octets.len() > Self::MAX {
            return Err(PasswordError::TooLong(octets.len()));
        }
        match octets.iter().position(u8::is_ascii_control) {
            Some(index) => Err(PasswordError::Control { byte: octets[index], at: index + 1 }),
            None => Ok(Self(octets.into())),
        }
    }

    /// The octets, for the kernel.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(not shown)")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::hex::text(&self.0))
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The error must not show the text.
        let octets = crate::hex::bytes(&text).ok_or_else(|| D::Error::custom("is no hexadecimal text"))?;
        Self::new(&octets).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;

    use super::*;

    #[test]
    fn a_password_has_1_to_80_octets_and_no_control_character() {
        assert_eq!(Password::new(b""), Err(PasswordError::Empty));
        assert!(Password::new(&[b'x'; 80]).is_ok() && Password::new(b"x").is_ok());
        assert_eq!(Password::new(&[b'x'; 81]), Err(PasswordError::TooLong(81)));
        assert_eq!(Password::new(b"secret\n"), Err(PasswordError::Control { byte: 0x0A, at: 7 }));
        assert_eq!(Password::new(b"a\0b"), Err(PasswordError::Control { byte: 0, at: 2 }));
        assert!(Password::new("größe mit Leerzeichen".as_bytes()).is_ok());
    }

    #[test]
    fn a_password_is_not_shown_and_comes_back_from_where_it_is_kept() {
        let password = Password::new(b"hush-hush").unwrap();
        assert!(!format!("{password:?} {:?}", Some(&password)).contains("hush"));
        let read = |text: &str| {
            let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
                text.into_deserializer();
            Password::deserialize(text)
        };
        assert_eq!(read(&crate::hex::text(password.octets())), Ok(password));
        let error = read("hush-hush").unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
