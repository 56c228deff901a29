use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::{Community, LargeCommunity};

crate::settings! {
    /// What the tests
    /// set.
    #[derive(Debug, PartialEq)]
    struct Sample {
        /// Must be there.
        first_field: String,
        /// May be left out.
        weight: Within<1, 100> = Within::new(7).expect("in range"),
        maybe: Option<u16>,
        mode: Mode = Mode::Soft,
        items: Vec<Item> = Vec::new(),
        labels: BTreeMap<String, String> = BTreeMap::new(),
    }

    /// How.
    #[derive(Debug, PartialEq)]
    enum Mode {
        /// Softly.
        Soft,
        /// At once.
        Hard,
    }

    /// One.
    #[derive(Debug, PartialEq)]
    struct Item {
        /// Communities.
        communities: Vec<Community> = Vec::new(),
        /// Large ones.
        large: Option<LargeCommunity>,
        /// Address.
        address: Option<IpAddr>,
        /// Yes or no.
        yes: bool = false,
    }
}

fn read(text: &str) -> Result<Sample, String> {
    settings_from_json(text).map_err(|error| error.to_string())
}

#[test]
fn fields_left_out_have_their_defaults() {
    let sample = read(r#"{"firstField": "a"}"#).unwrap();
    assert_eq!((sample.weight.get(), sample.maybe, sample.mode), (7, None, Mode::Soft));
    assert!(sample.items.is_empty() && sample.labels.is_empty());
}

#[test]
fn every_type_is_read() {
    let sample = read(
        r#"{"firstField": "a", "weight": 100, "maybe": 65535, "mode": "Hard", "labels": {"x.y/z": "v"},
            "items": [{"communities": ["65000:1", "no-export"], "large": "1:2:3", "address": "2001:db8::1", "yes": true}]}"#,
    )
    .unwrap();
    assert_eq!(sample.mode, Mode::Hard);
    assert_eq!(sample.labels["x.y/z"], "v");
    let item = &sample.items[0];
    assert_eq!(item.communities, [Community(65000 << 16 | 1), Community::NO_EXPORT]);
    assert_eq!(item.large, Some(LargeCommunity { global: 1, local1: 2, local2: 3 }));
    assert_eq!(item.address, Some("2001:db8::1".parse().unwrap()));
    assert!(item.yes);
}

#[test]
fn what_is_wrong_is_named_with_path_value_and_what_would_be_right() {
    for (text, message) in [
        ("", "config.firstField: is missing, and it is required"),
        ("[]", "config: is a list, expected an object"),
        ("{", "config: not JSON at byte 1: the text ends, expected a name in double quotes"),
        (r#"{"firstField": 1}"#, "config.firstField: is 1, expected a string"),
        (
            r#"{"first_field": "a"}"#,
            "config.first_field: unknown field, expected one of firstField, weight, maybe, mode, items, labels",
        ),
        (r#"{"firstField": "a", "weight": 0}"#, "config.weight: is 0, expected a whole number from 1 to 100"),
        (
            r#"{"firstField": "a", "maybe": 1.5}"#,
            "config.maybe: is 1.5, expected a whole number from 0 to 65535",
        ),
        (r#"{"firstField": "a", "mode": "soft"}"#, "config.mode: is \"soft\", expected one of Soft, Hard"),
        (
            r#"{"firstField": "a", "items": [{}, {"communities": ["65000:1", "65536:1"]}]}"#,
            "config.items[1].communities[1]: is \"65536:1\", expected a community: two numbers of 0 to 65535 as 65000:100, or a well-known name as no-export",
        ),
        (
            r#"{"firstField": "a", "items": [{"address": "1.2.3"}]}"#,
            "config.items[0].address: is \"1.2.3\", expected an IPv4 or IPv6 address",
        ),
        (
            r#"{"firstField": "a", "labels": {"x.y/z": 1}}"#,
            "config.labels[\"x.y/z\"]: is 1, expected a string",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn the_schema_is_json_that_names_what_is_required() {
    const LENGTH: usize = constant::length(Sample::SCHEMA);
    static SCHEMA: [u8; LENGTH] = constant::bytes(Sample::SCHEMA);
    let text = constant::text(&SCHEMA);
    let Json::Object(members) = Json::parse(text).expect(text) else { panic!("{text}") };
    let get = |name: &str| &members.iter().find(|(known, _)| known == name).expect(name).1;
    assert_eq!(get("description"), &Json::String("What the tests set.".into()));
    assert_eq!(get("required"), &Json::Array(vec![Json::String("firstField".into())]));
    assert_eq!(get("additionalProperties"), &Json::Bool(false));
    assert!(text.contains(r#""minimum":1,"maximum":100"#), "{text}");
    assert!(text.contains(r#""enum":["Soft","Hard"]"#), "{text}");
}

#[test]
fn a_policy_without_settings_refuses_any() {
    assert!(settings_from_json::<NoSettings>("").is_ok() && settings_from_json::<NoSettings>("null").is_ok());
    let error = settings_from_json::<NoSettings>(r#"{"a": 1}"#).unwrap_err();
    assert_eq!(error.to_string(), "config: is an object, expected no settings: this policy has none");
}
