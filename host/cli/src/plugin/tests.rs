use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn in_folder(bytes: &[u8], name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn a_module_is_read_without_running_it() {
    let module = Module::read(&fixture("good-route.wasm")).unwrap();
    assert_eq!(module.metadata.name, "good-route");
    assert_eq!(
        module.memory,
        256 * 1024,
        "a fresh instance must not be larger than what the host keeps resident"
    );
    assert_eq!(module.problems, Vec::<String>::new());
    assert_eq!(module.sha256.len(), 64);
    assert!(module.compressed < module.size);
    assert!(module.inputs().contains(&"serviceLabels[answer]".to_owned()), "{:?}", module.inputs());
    assert!(
        module.exports.contains(&"bellhop:policy-route/route@0.1.0#decide".to_owned()),
        "{:?}",
        module.exports
    );
}

#[test]
fn a_compressed_module_reads_as_the_module() {
    let bytes = fixture("good-route.wasm");
    let packed = module::compress(&bytes).unwrap();
    assert_eq!(module::inflate(packed).unwrap(), bytes);
    assert_eq!(module::inflate(bytes.clone()).unwrap(), bytes);
}

#[test]
fn a_frame_that_inflates_beyond_the_limit_is_refused() {
    let packed = module::compress(&vec![0; module::SIZE_MAX + 1]).unwrap();
    assert!(packed.len() < 1000, "a bomb is small");
    assert!(matches!(module::inflate(packed), Err(module::ModuleError::TooLarge)));
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let cut = &fixture("good-route.wasm")[..1000];
    assert!(Module::read(cut).unwrap_err().to_string().starts_with("not a WebAssembly module"));
    assert!(Module::read(b"hello").is_err() && Module::read(b"").is_err());
    let empty = Module::read(b"\0asm\x01\0\0\0").unwrap_err().to_string();
    assert!(empty.contains("bellhop:policy") && empty.contains("plugin!"), "{empty}");
}

#[test]
fn the_config_map_is_named_by_its_content_and_immutable() {
    let bytes = fixture("good-route.wasm");
    let (map, size) = pack::config_map(&bytes, "edge", "bellhop-system").unwrap();
    assert_eq!(map.metadata.name.unwrap(), format!("edge-{}", &module::sha256(&bytes)[..12]));
    assert_eq!(map.immutable, Some(true));
    let payload = &map.binary_data.unwrap()[pack::KEY].0;
    assert_eq!(payload.len(), size);
    assert_eq!(module::inflate(payload.clone()).unwrap(), bytes);
}

#[test]
fn a_module_too_large_for_a_config_map_is_refused() {
    // Bytes that do not compress: a linear congruential sequence's high bytes.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..pack::PAYLOAD_MAX + 1).map(|_| next()).collect();
    let error = pack::config_map(&noise, "large", "bellhop-system").unwrap_err().to_string();
    assert!(error.contains("at most 1000000"), "{error}");
}

#[test]
fn a_name_that_kubernetes_would_refuse_is_refused_before() {
    for name in ["", "Edge", "edge_1", "-edge", "edge-", "edge.1"] {
        assert!(
            matches!(pack::config_map(b"x", name, "n"), Err(pack::PackError::BadName { .. })),
            "{name:?}"
        );
    }
}

/// The arguments as the command line gives them.
fn parse(arguments: &[&str]) -> PluginCommand {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: PluginCommand,
    }
    <Cli as clap::Parser>::try_parse_from(std::iter::once(&"plugin").chain(arguments)).unwrap().command
}

fn packed(arguments: &[&str]) -> Result<String, String> {
    let PluginCommand::Pack(arguments) = parse(arguments) else { panic!("pack") };
    let module = read_module(arguments.module()).unwrap();
    pack::pack(&arguments, &module).map(|(text, _)| text)
}

#[test]
fn a_packed_policy_points_at_the_packed_module() {
    let (folder, path) = in_folder(&fixture("good-route.wasm"), "p.wasm");
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "community: \"65000:7\"\n").unwrap();
    let (path, config) = (path.to_str().unwrap(), config.to_str().unwrap());
    let text = packed(&[
        "pack",
        path,
        "--policy-name",
        "edge",
        "--config",
        config,
        "--priority",
        "-5",
        "-o",
        "json",
    ])
    .unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (map, policy) = (&list["items"][0], &list["items"][1]);
    assert_eq!(map["kind"], "ConfigMap");
    assert_eq!(map["metadata"]["labels"][pack::LABEL], "true");
    assert_eq!(map["metadata"]["namespace"], "bellhop-system");
    assert_eq!(policy["kind"], "DecisionPolicy");
    assert_eq!(policy["metadata"]["name"], "edge");
    assert_eq!(policy["spec"]["plugin"]["configMap"], map["metadata"]["name"]);
    assert_eq!(policy["spec"]["plugin"]["sha256"], module::sha256(&fixture("good-route.wasm")));
    assert_eq!((&policy["spec"]["hook"], &policy["spec"]["priority"]), (&"Route".into(), &(-5).into()));
    assert_eq!(policy["spec"]["config"]["community"], "65000:7");
}

#[test]
fn packing_gives_two_yaml_documents() {
    let (_folder, path) = in_folder(&fixture("good-route.wasm"), "p.wasm");
    let text = packed(&["pack", path.to_str().unwrap()]).unwrap();
    let documents: Vec<&str> = text.split("\n---\n").collect();
    assert_eq!(documents.len(), 2, "{text}");
    let map: k8s_openapi::api::core::v1::ConfigMap = serde_saphyr::from_str(documents[0]).unwrap();
    let payload = map.binary_data.unwrap()[pack::KEY].0.clone();
    assert_eq!(module::inflate(payload).unwrap(), fixture("good-route.wasm"), "YAML folds no base64");
    let policy: bellhop_api::DecisionPolicy = serde_saphyr::from_str(documents[1]).unwrap();
    assert_eq!(policy.metadata.name.as_deref(), Some("good-route"));
}

#[test]
fn a_hook_that_the_module_has_not_is_refused() {
    let (_folder, path) = in_folder(&fixture("good-route.wasm"), "p.wasm");
    let error = packed(&["pack", path.to_str().unwrap(), "--hook", "nodes"]).unwrap_err();
    assert!(error.contains("the hooks Route"), "{error}");
}

#[test]
fn a_new_project_never_writes_over_something() {
    let folder = tempfile::tempdir().unwrap();
    new::create(folder.path(), "edge", HookName::Route).unwrap();
    assert!(matches!(new::create(folder.path(), "edge", HookName::Route), Err(new::NewError::Exists(_))));
    for name in ["", "Edge", "1st", "a_b", "a--b", "a-", "../x"] {
        assert!(
            matches!(new::create(folder.path(), name, HookName::Route), Err(new::NewError::BadName(_))),
            "{name}"
        );
    }
}

#[test]
fn no_mark_of_the_template_is_left_in_a_new_project() {
    let folder = tempfile::tempdir().unwrap();
    for (name, hook) in [("a", HookName::Address), ("n", HookName::Nodes), ("r", HookName::Route)] {
        let root = new::create(folder.path(), name, hook).unwrap();
        for file in [
            "Cargo.toml",
            "README.md",
            "src/lib.rs",
            "tests/decisions.rs",
            "vendor/bellhop-policy/Cargo.toml",
        ] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(!text.is_empty() && !text.contains("{{"), "{file}: {text}");
        }
    }
}

#[test]
fn new_projects_pass_their_own_tests_offline() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for (name, hook) in
        [("new-address", HookName::Address), ("new-nodes", HookName::Nodes), ("new-route", HookName::Route)]
    {
        let root = new::create(folder.path(), name, hook).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["test", "--offline", "--quiet"])
            .current_dir(&root)
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("CARGO_MANIFEST_DIR")
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
