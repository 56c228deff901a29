//! The arrows between crates, proved from `cargo metadata`.
//!
//! [`ALLOWED`] is the whole architecture: a crate may depend on those of ours that its row names and on no other. A
//! crate without a row is refused, so that adding one is a decision made here. The pure crates ([`PURE`]) must also
//! not reach, at any distance, what would let them wait, talk, look at a clock or draw a random number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::metadata::{Metadata, cargo};

/// Which of our crates each of our crates may depend on directly.
const ALLOWED: &[(&str, &[&str])] = &[
    // Pure: the vocabulary, and the machines and ledgers that know nothing else.
    ("bellhop-core", &[]),
    ("bellhop-ipam", &["bellhop-core"]),
    ("bellhop-bgp", &["bellhop-core"]),
    ("bellhop-bfd", &["bellhop-core"]),
    ("bellhop-l2", &["bellhop-core"]),
    ("bellhop-policy-engine", &["bellhop-core"]),
    // Edges: each knows one outside world.
    ("bellhop-api", &["bellhop-core"]),
    ("bellhop-index", &["bellhop-api", "bellhop-core"]),
    ("bellhop-net", &["bellhop-core"]),
    ("bellhop-sandbox", &["bellhop-core", "bellhop-policy-engine"]),
    ("bellhop-kubernetes", &["bellhop-api", "bellhop-core", "bellhop-index"]),
    // It answers the sandbox that started it, in the sandbox's words.
    ("bellhop-compiler", &["bellhop-core", "bellhop-policy-engine", "bellhop-sandbox"]),
    // Runtime: where the pure parts meet the edges.
    ("bellhop-runtime", &["bellhop-core", "bellhop-kubernetes", "bellhop-policy-engine", "bellhop-sandbox"]),
    (
        "bellhop-controller",
        &[
            "bellhop-api",
            "bellhop-core",
            "bellhop-index",
            "bellhop-ipam",
            "bellhop-kubernetes",
            "bellhop-policy-engine",
            "bellhop-runtime",
        ],
    ),
    (
        "bellhop-speaker",
        &[
            "bellhop-api",
            "bellhop-bfd",
            "bellhop-bgp",
            "bellhop-core",
            "bellhop-index",
            "bellhop-ipam",
            "bellhop-kubernetes",
            "bellhop-l2",
            "bellhop-net",
            "bellhop-policy-engine",
            "bellhop-runtime",
            "bellhop-sandbox",
        ],
    ),
    (
        "bellhop-cli",
        &[
            "bellhop-api",
            "bellhop-core",
            "bellhop-index",
            "bellhop-ipam",
            "bellhop-kubernetes",
            "bellhop-policy-engine",
        ],
    ),
    (
        "bellhop",
        &[
            "bellhop-cli",
            "bellhop-controller",
            "bellhop-core",
            // Its tests alone: the client behind their fault proxy.
            "bellhop-kubernetes",
            "bellhop-runtime",
            "bellhop-speaker",
        ],
    ),
    // Guests: they see the SDK and nothing of the host.
    ("bellhop-policy", &[]),
    ("address-by-label", &["bellhop-policy"]),
    ("node-maintenance", &["bellhop-policy"]),
    ("peer-attributes", &["bellhop-policy"]),
    ("peer-attributes-next", &["bellhop-policy", "peer-attributes"]),
    ("bellhop-guest-modules", &["bellhop-policy"]),
    // It builds the guests with the tool that an author would use.
    ("bellhop-test-guests", &["bellhop-cli", "bellhop-policy"]),
    // Outside: the lab and this tool drive programs, they link nothing of the host; benches measure what they like.
    ("bellhop-lab", &[]),
    ("bellhop-chart-tests", &["bellhop-test-cluster"]),
    ("bellhop-crd-tests", &["bellhop-test-cluster"]),
    ("bellhop-test-cluster", &["bellhop-lab"]),
    ("bellhop-e2e", &["bellhop-lab", "bellhop-test-cluster"]),
    ("xtask", &[]),
    (
        "bellhop-benches",
        &[
            "address-by-label",
            "bellhop-api",
            "bellhop-bgp",
            "bellhop-core",
            "bellhop-index",
            "bellhop-ipam",
            "bellhop-lab",
            "bellhop-net",
            "bellhop-policy",
            "bellhop-policy-engine",
            "bellhop-runtime",
            "bellhop-sandbox",
            "bellhop-speaker",
            "bellhop-test-cluster",
            "node-maintenance",
            "peer-attributes",
        ],
    ),
];

/// Arrows that tests of a crate may have beyond [`ALLOWED`], for the reason in the comment.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    // The sandbox is tested against the guests' own native answers.
    ("bellhop-sandbox", &["bellhop-policy", "address-by-label", "node-maintenance", "peer-attributes"]),
    // Its other half is a real API server.
    ("bellhop-kubernetes", &["bellhop-test-cluster"]),
    // The controller is run as its users run it, against a real API server.
    ("bellhop", &["bellhop-test-cluster"]),
];

/// Crates that decide and never do.
const PURE: &[&str] =
    &["bellhop-core", "bellhop-ipam", "bellhop-bgp", "bellhop-bfd", "bellhop-l2", "bellhop-policy-engine"];

/// What a pure crate must not reach, directly or through others. Names that end in `*` are prefixes.
const IMPURE: &[&str] = &[
    // Waiting and talking.
    "tokio*",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "nix",
    "rustix",
    "rtnetlink",
    "netlink-*",
    "notify",
    "hyper*",
    "reqwest",
    // Kubernetes.
    "kube*",
    "k8s-openapi",
    // Plugins.
    "wasmtime*",
    "cranelift-codegen",
    // Randomness and clocks come in as arguments; logs go out as values.
    "rand",
    "getrandom",
    "fastrand",
    "chrono",
    "tracing*",
    "log",
];

/// What nobody but `bellhop-compiler` may link.
const CRANELIFT: &[&str] = &["cranelift-codegen", "wasmtime-internal-cranelift", "wasmtime-internal-winch"];

/// Crates of ours that are shipped, or stand for one that is, and must come without Cranelift.
const WITHOUT_CRANELIFT: &[&str] = &["bellhop", "bellhop-sandbox"];

/// One sentence for each arrow that should not be there; none if all is well.
pub(crate) fn broken(metadata: &Metadata) -> Vec<String> {
    let mut broken = Vec::new();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let in_tests: BTreeMap<_, _> = ALLOWED_IN_TESTS.iter().copied().collect();
    let (packages, graph) = (metadata.by_id(), metadata.graph());
    for package in metadata.ours() {
        let name = package.name.as_str();
        let Some(may) = allowed.get(name) else {
            broken.push(format!("crate {name} has no row in the table of arrows (xtask/src/arrows.rs)"));
            continue;
        };
        let arrows = graph.get(package.id.as_str()).map_or(&[][..], |node| &node.deps);
        for arrow in arrows.iter().filter(|arrow| metadata.workspace_members.contains(&arrow.pkg)) {
            let Some(to) = packages.get(arrow.pkg.as_str()).map(|package| package.name.as_str()) else {
                continue;
            };
            let may_in_tests = in_tests.get(name).is_some_and(|names| names.contains(&to));
            if may.contains(&to) || to == name || (!arrow.is_built_in() && may_in_tests) {
                continue;
            }
            let part = if arrow.is_built_in() { "depends on" } else { "has tests that depend on" };
            let may = if may.is_empty() { "none of our crates".to_owned() } else { may.join(", ") };
            broken.push(format!("crate {name} {part} {to}; it may depend on {may}"));
        }
        if PURE.contains(&name) {
            broken.extend(impurities(metadata, &package.id).into_iter().map(|path| {
                format!(
                    "crate {name} is pure and must not reach {}: {}",
                    path[path.len() - 1],
                    path.join(" -> ")
                )
            }));
        }
    }
    broken
}

/// Shortest paths from a package to everything impure that a build of it reaches.
fn impurities(metadata: &Metadata, from: &str) -> Vec<Vec<String>> {
    let (packages, graph) = (metadata.by_id(), metadata.graph());
    let name = |id: &str| packages.get(id).map_or("?", |package| package.name.as_str()).to_owned();
    let mut found = Vec::new();
    let mut came_from: HashMap<&str, &str> = HashMap::new();
    let mut seen: HashSet<&str> = HashSet::from([from]);
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(id) = queue.pop_front() {
        for arrow in graph.get(id).map_or(&[][..], |node| &node.deps) {
            let to = arrow.pkg.as_str();
            if !arrow.is_built_in() || !seen.insert(to) {
                continue;
            }
            came_from.insert(to, id);
            if is_one_of(&name(to), IMPURE) {
                let mut path = vec![name(to)];
                let mut at = to;
                while let Some(before) = came_from.get(at) {
                    path.push(name(before));
                    at = before;
                }
                path.reverse();
                found.push(path);
            } else {
                queue.push_back(to);
            }
        }
    }
    found
}

/// True if `name` is in `list`, whose entries may end in `*`.
fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *entry,
    })
}

/// One sentence for each shipped crate that links Cranelift. Asked of `cargo tree`, because `cargo metadata` knows
/// only the features of a build of everything, in which the compiler's features are everyone's.
pub(crate) fn cranelift_outside_the_compiler(metadata: &Metadata) -> Result<Vec<String>> {
    let ours: HashSet<_> = metadata.ours().into_iter().map(|package| package.name.as_str()).collect();
    let mut broken = Vec::new();
    for name in WITHOUT_CRANELIFT.iter().filter(|name| ours.contains(*name)) {
        let output = Command::new(cargo())
            .args([
                "tree",
                "--locked",
                "-p",
                name,
                "-e",
                "normal,build",
                "--prefix",
                "none",
                "--format",
                "{p}",
            ])
            .output()
            .with_context(|| format!("start cargo tree for {name}"))?;
        if !output.status.success() {
            bail!("cargo tree -p {name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        broken.extend(linked_cranelift(name, &String::from_utf8_lossy(&output.stdout)));
    }
    Ok(broken)
}

/// The sentences for one answer of `cargo tree --prefix none --format {p}`: a line starts with a crate's name.
fn linked_cranelift(name: &str, tree: &str) -> Vec<String> {
    let linked: HashSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    CRANELIFT
        .iter()
        .filter(|backend| linked.contains(*backend))
        .map(|backend| format!("crate {name} links {backend}; only bellhop-compiler may compile WebAssembly"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph in words: `("a", "b", kind)` is an arrow. Crates named as in [`ALLOWED`] are ours.
    fn graph(arrows: &[(&str, &str, Option<&str>)]) -> Metadata {
        let names: std::collections::BTreeSet<&str> =
            arrows.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        let ours = |name: &str| ALLOWED.iter().any(|(ours, _)| *ours == name) || name.starts_with("bellhop");
        let json = serde_json::json!({
            "packages": names.iter().map(|name| serde_json::json!({
                "name": name, "id": format!("id:{name}"), "manifest_path": format!("/w/{name}/Cargo.toml"),
                "description": null, "publish": [], "targets": [],
            })).collect::<Vec<_>>(),
            "workspace_members": names.iter().filter(|name| ours(name)).map(|name| format!("id:{name}")).collect::<Vec<_>>(),
            "resolve": {"nodes": names.iter().map(|name| serde_json::json!({
                "id": format!("id:{name}"),
                "deps": arrows.iter().filter(|(from, ..)| from == name).map(|(_, to, kind)| serde_json::json!({
                    "pkg": format!("id:{to}"), "dep_kinds": [{"kind": kind}],
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>()},
            "workspace_root": "/w", "target_directory": "/w/target",
        });
        serde_json::from_value(json).expect("the fixture is metadata")
    }

    #[test]
    fn the_allowed_arrows_are_silent() {
        let metadata = graph(&[
            ("bellhop-bgp", "bellhop-core", None),
            ("bellhop-core", "serde", None),
            ("bellhop-speaker", "bellhop-bgp", None),
            ("bellhop-speaker", "tokio", None),
        ]);
        assert_eq!(broken(&metadata), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_between_two_pure_crates_is_refused() {
        let metadata = graph(&[("bellhop-bgp", "bellhop-ipam", None)]);
        assert_eq!(
            broken(&metadata),
            ["crate bellhop-bgp depends on bellhop-ipam; it may depend on bellhop-core"]
        );
    }

    #[test]
    fn an_arrow_that_only_tests_have_is_refused_too() {
        let metadata = graph(&[("bellhop-core", "bellhop-ipam", Some("dev"))]);
        assert_eq!(
            broken(&metadata),
            ["crate bellhop-core has tests that depend on bellhop-ipam; it may depend on none of our crates"]
        );
    }

    #[test]
    fn a_crate_that_nobody_decided_on_is_refused() {
        let metadata = graph(&[("bellhop-surprise", "serde", None)]);
        assert_eq!(
            broken(&metadata),
            ["crate bellhop-surprise has no row in the table of arrows (xtask/src/arrows.rs)"]
        );
    }

    #[test]
    fn a_socket_behind_two_other_crates_is_found_and_the_way_to_it_named() {
        let metadata = graph(&[
            ("bellhop-ipam", "innocent", None),
            ("innocent", "less-innocent", None),
            ("less-innocent", "tokio-util", None),
        ]);
        assert_eq!(
            broken(&metadata),
            ["crate bellhop-ipam is pure and must not reach tokio-util: \
              bellhop-ipam -> innocent -> less-innocent -> tokio-util"]
        );
    }

    #[test]
    fn a_pure_crate_may_test_itself_with_what_it_must_not_build_with() {
        let metadata = graph(&[("bellhop-ipam", "proptest", Some("dev")), ("proptest", "rand", None)]);
        assert_eq!(broken(&metadata), Vec::<String>::new());
    }

    #[test]
    fn the_host_must_not_link_cranelift() {
        let tree = "bellhop v0.1.0 (/w/host/bellhop)\nwasmtime v48.0.8\ncranelift-entity v0.135.8\n";
        assert_eq!(linked_cranelift("bellhop", tree), Vec::<String>::new());
        let tree = format!("{tree}cranelift-codegen v0.135.8\n");
        assert_eq!(
            linked_cranelift("bellhop", &tree),
            ["crate bellhop links cranelift-codegen; only bellhop-compiler may compile WebAssembly"]
        );
    }
}
