//! Settings: what `spec.config` of a DecisionPolicy may hold, read strictly, described by a JSON schema.
//!
//! [`settings!`](crate::settings) declares them; the types here are what their fields may be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::constant::{self, Part};
use crate::json::Json;

/// A type that settings may be made of.
pub trait Setting: Sized {
    /// Its JSON schema (draft 2020-12), in pieces.
    const SCHEMA: &'static [Part];

    /// True if a field of this type may be left out; [`Setting::absent`] says what that means.
    const OPTIONAL: bool = false;

    /// Reads it from a value.
    ///
    /// # Errors
    /// Where the value is none of its values: the path, the value, and what would be right.
    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError>;

    /// What an absent field means; `None` where the field is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// Where a value stands in `spec.config`: `config.rules[2].prepend`.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// `config` itself.
    Root,
    /// A member of an object.
    Field(&'a Path<'a>, &'a str),
    /// An item of a list, counted from 0.
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("config"),
            Self::Field(parent, name) => {
                let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if plain { write!(f, "{parent}.{name}") } else { write!(f, "{parent}[{name:?}]") }
            }
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A setting that is not what it may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingError(String);

impl SettingError {
    /// `path: is value, expected expected`.
    pub fn expected(path: &Path<'_>, value: &Json<'_>, expected: &str) -> Self {
        Self(format!("{path}: is {value}, expected {expected}"))
    }

    /// `path: message`.
    pub fn at(path: &Path<'_>, message: &str) -> Self {
        Self(format!("{path}: {message}"))
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingError {}

/// Reads settings from the JSON text of `spec.config`; an empty text and `null` read as `{}`.
///
/// # Errors
/// Where the text is not JSON or not these settings.
pub fn settings_from_json<S: Setting>(text: &str) -> Result<S, SettingError> {
    let text = if text.trim().is_empty() || text.trim() == "null" { "{}" } else { text };
    let value = Json::parse(text).map_err(|error| SettingError(format!("config: {error}")))?;
    S::read(&value, &Path::Root)
}

/// Settings of a policy that has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoSettings;

impl Setting for NoSettings {
    const SCHEMA: &'static [Part] = &[Part::Raw(r#"{"type":"object","additionalProperties":false}"#)];

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        match value {
            Json::Object(members) if members.is_empty() => Ok(Self),
            _ => Err(SettingError::expected(path, value, "no settings: this policy has none")),
        }
    }
}

impl Setting for bool {
    const SCHEMA: &'static [Part] = &[Part::Raw(r#"{"type":"boolean"}"#)];

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        match value {
            Json::Bool(value) => Ok(*value),
            _ => Err(SettingError::expected(path, value, "true or false")),
        }
    }
}

/// Whole numbers of a machine type.
macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const SCHEMA: &'static [Part] = &[
                Part::Raw(r#"{"type":"integer","minimum":0,"maximum":"#),
                Part::Number(<$type>::MAX as u64),
                Part::Raw("}"),
            ];

            fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
                match value {
                    Json::Number(text) if let Ok(number) = text.parse() => Ok(number),
                    _ => Err(SettingError::expected(path, value, &format!("a whole number from 0 to {}", <$type>::MAX))),
                }
            }
        }
    )*};
}
whole_number!(u8, u16, u32, u64);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Within<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Within<MIN, MAX> {
    /// The number, if it is in the range.
    pub const fn new(number: u64) -> Option<Self> {
        if MIN <= number && number <= MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Setting for Within<MIN, MAX> {
    const SCHEMA: &'static [Part] = &[
        Part::Raw(r#"{"type":"integer","minimum":"#),
        Part::Number(MIN),
        Part::Raw(r#","maximum":"#),
        Part::Number(MAX),
        Part::Raw("}"),
    ];

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        let number = if let Json::Number(text) = value { text.parse().ok() } else { None };
        number.and_then(Self::new).ok_or_else(|| {
            SettingError::expected(path, value, &format!("a whole number from {MIN} to {MAX}"))
        })
    }
}

impl Setting for String {
    const SCHEMA: &'static [Part] = &[Part::Raw(r#"{"type":"string"}"#)];

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        match value {
            Json::String(text) => Ok(text.clone()),
            _ => Err(SettingError::expected(path, value, "a string")),
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    const SCHEMA: &'static [Part] = T::SCHEMA;
    const OPTIONAL: bool = true;

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        if *value == Json::Null { Ok(None) } else { T::read(value, path).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const SCHEMA: &'static [Part] =
        &[Part::Raw(r#"{"type":"array","items":"#), Part::All(T::SCHEMA), Part::Raw("}")];

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        let Json::Array(items) = value else { return Err(SettingError::expected(path, value, "a list")) };
        items.iter().enumerate().map(|(index, item)| T::read(item, &Path::Index(path, index))).collect()
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    const SCHEMA: &'static [Part] =
        &[Part::Raw(r#"{"type":"object","additionalProperties":"#), Part::All(T::SCHEMA), Part::Raw("}")];

    fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
        let Json::Object(members) = value else {
            return Err(SettingError::expected(path, value, "an object"));
        };
        members
            .iter()
            .map(|(name, item)| Ok((name.clone(), T::read(item, &Path::Field(path, name))?)))
            .collect()
    }
}

/// A type that is written as a string and read by `FromStr`, with its description in the schema.
macro_rules! written_as_string {
    ($type:ty, $schema:literal, $expected:literal) => {
        impl Setting for $type {
            const SCHEMA: &'static [Part] = &[Part::Raw($schema)];

            fn read(value: &Json<'_>, path: &Path<'_>) -> Result<Self, SettingError> {
                match value {
                    Json::String(text) if let Ok(read) = text.parse() => Ok(read),
                    _ => Err(SettingError::expected(path, value, $expected)),
                }
            }
        }
    };
}
written_as_string!(
    IpAddr,
    r#"{"type":"string","description":"An IPv4 or IPv6 address."}"#,
    "an IPv4 or IPv6 address"
);
written_as_string!(
    crate::Community,
    r#"{"type":"string","description":"A community (RFC 1997), as 65000:100 or by its well-known name, as no-export."}"#,
    "a community: two numbers of 0 to 65535 as 65000:100, or a well-known name as no-export"
);
written_as_string!(
    crate::LargeCommunity,
    r#"{"type":"string","description":"A large community (RFC 8092), as 64512:1:2."}"#,
    "a large community: three numbers of 0 to 4294967295 as 64512:1:2"
);

/// The object's members, or why it is none. For [`settings!`](crate::settings).
#[doc(hidden)]
pub fn members<'v, 'a>(
    value: &'v Json<'a>,
    path: &Path<'_>,
    fields: &[&str],
) -> Result<&'v [(String, Json<'a>)], SettingError> {
    let Json::Object(members) = value else { return Err(SettingError::expected(path, value, "an object")) };
    match members.iter().find(|(name, _)| !fields.iter().any(|field| constant::is_camel_of(name, field))) {
        None => Ok(members),
        Some((name, _)) => {
            let known: Vec<String> = fields.iter().map(|field| constant::camel_of(field)).collect();
            let message = format!("unknown field, expected one of {}", known.join(", "));
            Err(SettingError::at(&Path::Field(path, name), &message))
        }
    }
}

/// One field of an object. For [`settings!`](crate::settings).
#[doc(hidden)]
pub fn field<T: Setting>(
    members: &[(String, Json<'_>)],
    path: &Path<'_>,
    field: &str,
    default: Option<fn() -> T>,
) -> Result<T, SettingError> {
    match members.iter().find(|(name, _)| constant::is_camel_of(name, field)) {
        Some((name, value)) => T::read(value, &Path::Field(path, name)),
        None => default.map(|default| default()).or_else(T::absent).ok_or_else(|| {
            SettingError::at(&Path::Field(path, &constant::camel_of(field)), "is missing, and it is required")
        }),
    }
}

/// Declares settings: each struct or enum with its strict reader and its JSON schema.
///
/// Documentation comments become descriptions in the schema, and field names are written in camel case. A field with
/// `= value` may be left out; so may an `Option`. Enums have cases without fields and are written by their case's name.
/// Unknown fields are refused.
///
/// ```
/// use bellhop_policy::{settings, settings_from_json};
///
/// settings! {
///     /// When to prepend.
///     #[derive(Debug)]
///     pub struct Settings {
///         /// Label of the peer that is looked at.
///         pub peer_label: String,
///         /// How many times.
///         pub prepend: u8 = 1,
///         /// For which sessions.
///         pub session: Session = Session::External,
///     }
///
///     /// Kind of session.
///     #[derive(Debug, PartialEq)]
///     pub enum Session {
///         /// With another AS.
///         External,
///         /// Within the AS.
///         Internal,
///     }
/// }
///
/// let settings: Settings = settings_from_json(r#"{"peerLabel": "tier"}"#).expect("valid");
/// assert_eq!((settings.prepend, settings.session), (1, Session::External));
/// let error = settings_from_json::<Settings>(r#"{"peerLabel": "tier", "prepend": 300}"#).unwrap_err();
/// assert_eq!(error.to_string(), "config.prepend: is 300, expected a whole number from 0 to 255");
/// ```
#[macro_export]
macro_rules! settings {
    () => {};
    (
        $(#[doc = $doc:literal])*
        $(#[derive($($derive:path),* $(,)?)])?
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field_visibility:vis $field:ident : $type:ty $(= $default:expr)?
            ),* $(,)?
        }
        $($rest:tt)*
    ) => {
        $(#[doc = $doc])*
        $(#[derive($($derive),*)])?
        $visibility struct $name {
            $($(#[doc = $field_doc])* $field_visibility $field: $type,)*
        }

        impl $crate::Setting for $name {
            const SCHEMA: &'static [$crate::constant::Part] = {
                use $crate::constant::Part;
                &[
                    Part::Raw("{\"type\":\"object\",\"description\":"),
                    Part::Lines(&[$($doc),*]),
                    Part::Raw(",\"additionalProperties\":false,\"required\":["),
                    Part::List(&[$($crate::__required!($field, $type $(, $default)?)),*]),
                    Part::Raw("],\"properties\":{"),
                    Part::List(&[$(Part::All(&[
                        Part::Camel(stringify!($field)),
                        Part::Raw(":{\"description\":"),
                        Part::Lines(&[$($field_doc),*]),
                        Part::Raw(",\"allOf\":["),
                        Part::All(<$type as $crate::Setting>::SCHEMA),
                        Part::Raw("]}"),
                    ])),*]),
                    Part::Raw("}}"),
                ]
            };

            fn read(
                value: &$crate::Json<'_>,
                path: &$crate::Path<'_>,
            ) -> ::core::result::Result<Self, $crate::SettingError> {
                let members = $crate::__members(value, path, &[$(stringify!($field)),*])?;
                Ok(Self {
                    $($field: $crate::__field::<$type>(members, path, stringify!($field), $crate::__default!($type $(, $default)?))?,)*
                })
            }
        }

        $crate::settings! { $($rest)* }
    };
    (
        $(#[doc = $doc:literal])*
        $(#[derive($($derive:path),* $(,)?)])?
        $visibility:vis enum $name:ident {
            $($(#[doc = $case_doc:literal])* $case:ident),+ $(,)?
        }
        $($rest:tt)*
    ) => {
        $(#[doc = $doc])*
        $(#[derive($($derive),*)])?
        $visibility enum $name {
            $($(#[doc = $case_doc])* $case,)+
        }

        impl $crate::Setting for $name {
            const SCHEMA: &'static [$crate::constant::Part] = {
                use $crate::constant::Part;
                &[
                    Part::Raw("{\"type\":\"string\",\"description\":"),
                    Part::Lines(&[$($doc),*]),
                    Part::Raw(",\"enum\":["),
                    Part::List(&[$(Part::Text(stringify!($case))),+]),
                    Part::Raw("]}"),
                ]
            };

            fn read(
                value: &$crate::Json<'_>,
                path: &$crate::Path<'_>,
            ) -> ::core::result::Result<Self, $crate::SettingError> {
                match value {
                    $($crate::Json::String(text) if text == stringify!($case) => Ok(Self::$case),)+
                    _ => {
                        let cases: &[&str] = &[$(stringify!($case)),+];
                        let expected = ::std::format!("one of {}", cases.join(", "));
                        Err($crate::SettingError::expected(path, value, &expected))
                    }
                }
            }
        }

        $crate::settings! { $($rest)* }
    };
}

/// The name of a field if it is required, else nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! __required {
    ($field:ident, $type:ty, $default:expr) => {
        $crate::constant::Part::All(&[])
    };
    ($field:ident, $type:ty) => {
        if <$type as $crate::Setting>::OPTIONAL {
            $crate::constant::Part::All(&[])
        } else {
            $crate::constant::Part::Camel(stringify!($field))
        }
    };
}

/// The default of a field, if it has one.
#[doc(hidden)]
#[macro_export]
macro_rules! __default {
    ($type:ty) => {
        ::core::option::Option::None
    };
    ($type:ty, $default:expr) => {
        ::core::option::Option::Some(|| -> $type { $default })
    };
}

#[cfg(test)]
mod tests;
