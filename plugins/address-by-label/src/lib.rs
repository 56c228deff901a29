//! `address-by-label`: an exact address, a suffix, a range or a pool, named by labels or annotations.
//!
//! See `README.md` for the settings with examples.

mod options;
mod settings;

pub use settings::{Absent, Meaning, Settings};

use bellhop_policy::{Address, AddressRequest, Alternative, Choice, Decision, Service, plugin};
use options::Options;

/// Most alternatives that are answered: half of what the host tries.
const ALTERNATIVES_MAX: usize = 32;

/// The addresses that the Service's labels and annotations name.
///
/// # Errors
/// None; a value that cannot be read is a rejection with the reason.
pub fn address(settings: &Settings, request: &AddressRequest) -> Result<Decision<Address>, String> {
    let reject = |reason: String| Ok(Decision::of(Address::Reject(reason)));
    let pool = match find(settings, &request.service, Meaning::Pool) {
        None => None,
        Some((key, name)) => match request.pools.iter().position(|pool| pool.name == name) {
            Some(index) => Some(index),
            None => return reject(no_such_pool(key, name, request)),
        },
    };
    let named = [Meaning::Address, Meaning::Suffix, Meaning::Range]
        .into_iter()
        .find_map(|meaning| find(settings, &request.service, meaning.clone()).map(|found| (meaning, found)));
    let (source, options) = match named {
        None => match pool.map(|index| &request.pools[index].name) {
            None => return Ok(nothing_named(settings)),
            Some(name) => (
                format!("pool {name}"),
                request.families.iter().map(|family| (*family, Vec::new())).collect(),
            ),
        },
        Some((meaning, (key, value))) => {
            let options = match meaning {
                Meaning::Suffix => options::suffixes(value, settings, pool, request),
                Meaning::Range => options::ranges(value, request),
                Meaning::Address | Meaning::Pool => options::addresses(value, request),
            };
            match options {
                Ok(options) if options.iter().all(|(_, choices)| choices.is_empty()) => {
                    return reject(format!("{key}: {value:?} names no address of {}", families(request)));
                }
                Ok(options) => (format!("{key} is {value}"), options),
                Err(problem) => return reject(format!("{key}: {problem}")),
            }
        }
    };
    let options = fill(options, pool, request);
    if let Some((family, _)) = options.iter().find(|(_, choices)| choices.is_empty()) {
        return reject(format!("{source}, and no pool of this Service has {family} addresses"));
    }
    Ok(Decision::of(Address::Choose(alternatives(&options))).with_note(source))
}

/// The first key with this meaning that the Service or its Namespace has, with its value.
fn find<'a>(settings: &'a Settings, service: &'a Service, meaning: Meaning) -> Option<(&'a str, &'a str)> {
    let keys = settings.keys.iter().filter(|(_, of)| **of == meaning);
    keys.into_iter().find_map(|(key, _)| {
        let value = service
            .annotation(key)
            .or_else(|| service.label(key))
            .or_else(|| service.namespace_label(key))?;
        Some((key.as_str(), value.trim())).filter(|(_, value)| !value.is_empty())
    })
}

fn nothing_named(settings: &Settings) -> Decision<Address> {
    match settings.absent {
        Absent::UseDefault => Decision::use_default(),
        Absent::Reject => {
            let keys: Vec<&str> = settings.keys.keys().map(String::as_str).collect();
            Address::Reject(format!("has none of the labels or annotations {}", keys.join(", "))).into()
        }
    }
}

fn no_such_pool(key: &str, name: &str, request: &AddressRequest) -> String {
    let pools: Vec<&str> = request.pools.iter().map(|pool| pool.name.as_str()).collect();
    let may = if pools.is_empty() { "none".into() } else { pools.join(", ") };
    format!("{key}: {name:?} is no pool that this Service may use; those are: {may}")
}

fn families(request: &AddressRequest) -> String {
    request.families.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// Families that nothing names an address for get any address: of the pool named, else of any pool that has some.
fn fill(options: Options, pool: Option<usize>, request: &AddressRequest) -> Options {
    let fallback = |family| match pool {
        Some(index) => vec![Choice::Pool(request.pools[index].name.clone())],
        None => options::pools_with(family, request),
    };
    let full = |(family, choices): (_, Vec<Choice>)| {
        let choices = if choices.is_empty() { fallback(family) } else { choices };
        (family, choices)
    };
    options.into_iter().map(full).collect()
}

/// Every combination of one choice for each family, the most preferred first: by the sum of their places.
fn alternatives(options: &Options) -> Vec<Alternative> {
    let mut combined: Vec<(usize, Alternative)> = vec![(0, Vec::new())];
    for (family, choices) in options {
        let with = |(rank, chosen): &(usize, Alternative)| {
            let start = (*rank, chosen.clone());
            choices
                .iter()
                .enumerate()
                .map(move |(place, choice)| {
                    let mut chosen = start.1.clone();
                    chosen.push((*family, choice.clone()));
                    (start.0 + place, chosen)
                })
                .collect::<Vec<_>>()
        };
        combined = combined.iter().flat_map(with).collect();
    }
    combined.sort_by_key(|(rank, _)| *rank);
    combined.truncate(ALTERNATIVES_MAX);
    combined.into_iter().map(|(_, alternative)| alternative).collect()
}

plugin! {
    name: "address-by-label",
    settings: Settings,
    validate: settings::validate,
    hooks: { address: address },
    inputs: {
        from_config: {
            service_labels: "/keys",
            service_annotations: "/keys",
            namespace_labels: "/keys",
        },
    },
    self_tests: [
        {
            name: "a suffix is put on the pool's prefix in both families",
            config: r#"{"keys": {"example.com/host": "Suffix"}}"#,
            hook: Address,
            request: r#"{
                "service": {"annotations": [["example.com/host", "10"]]}, "families": ["IPv4", "IPv6"],
                "pools": [{"name": "p", "usage": [["IPv4", 0, 256], ["IPv6", 0, 256]]}],
                "candidates": [[0, "192.0.2.1", 0], [0, "2001:db8::1", 0]]
            }"#,
            expect: r#"{"choose": [[{"family": "IPv4", "exact": "192.0.2.10"}, {"family": "IPv6", "exact": "2001:db8::10"}]]}"#,
        },
        {
            name: "a value that is no address is a rejection that says so",
            config: r#"{"keys": {"example.com/ip": "Address"}}"#,
            hook: Address,
            request: r#"{"service": {"labels": [["example.com/ip", "192.0.2"]]}, "families": ["IPv4"], "pools": [], "candidates": []}"#,
            expect: r#"{"reject": "example.com/ip: \"192.0.2\" is not an IPv4 or IPv6 address"}"#,
        },
        {
            name: "a Service without the keys gets the built-in answer",
            config: r#"{"keys": {"example.com/ip": "Address"}}"#,
            hook: Address,
            request: r#"{"service": {}, "families": ["IPv4"], "pools": [], "candidates": []}"#,
            expect: r#""useDefault""#,
        },
    ],
}

#[cfg(test)]
mod tests;
