//! A module as the Kubernetes objects that bring it into a cluster.
//!
//! The ConfigMap is immutable and named by its content: a new version is a new object, the one before stays until
//! nobody points at it, and to go back is to point back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use bellhop_api::{
    DecisionPolicy, DecisionPolicySpec, FailurePolicy, InitialAnswer, Limits, Match, PluginRef,
};
use clap::{Args, ValueEnum};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::module::{self, Module};
use super::{HookName, read_module};
use crate::output::{self, Format};
use crate::{DOES_NOT_HOLD, WRONG_USAGE, fail};

/// Key of `binaryData` under which the module stands.
pub const KEY: &str = "module.wasm.zst";
/// Label of the ConfigMaps that hold modules.
pub const LABEL: &str = "bellhop.dev/policy-module";
/// Above this `kubectl apply` cannot keep its copy of the object in an annotation (262,144 bytes, in base64).
pub const CLIENT_SIDE_MAX: usize = 190_000;
/// Above this the object does not fit into the API server (1 MiB in all).
pub const PAYLOAD_MAX: usize = 1_000_000;

/// What to pack.
#[derive(Args, Debug)]
pub struct PackArguments {
    /// The module: `.wasm`, or compressed by zstd.
    module: PathBuf,
    /// Start of the ConfigMap's name; the plugin's own name without it.
    #[arg(long)]
    name: Option<String>,
    /// Namespace of the ConfigMap: the one that Bellhop itself is in.
    #[arg(long, default_value = "bellhop-system")]
    namespace: String,
    /// Name of the DecisionPolicy; the plugin's own name without it.
    #[arg(long)]
    policy_name: Option<String>,
    /// The decision that the policy takes; may be left out if the module has one hook only.
    #[arg(long, value_enum)]
    hook: Option<HookName>,
    /// File with `spec.config`, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File with `spec.match`, YAML or JSON.
    #[arg(long = "match", value_name = "FILE")]
    match_: Option<PathBuf>,
    /// `spec.priority`: higher ones are asked first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// `spec.failurePolicy`.
    #[arg(long, value_enum, default_value_t = FailurePolicyName::KeepLast)]
    failure_policy: FailurePolicyName,
    /// The ConfigMap only.
    #[arg(long)]
    no_policy: bool,
    /// `table` and `yaml` print YAML documents, `json` a List.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

/// `spec.failurePolicy`, as it is named on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum FailurePolicyName {
    /// The last decision.
    KeepLast,
    /// The built-in answer.
    UseDefault,
    /// Nothing.
    Withhold,
}

/// Why a module cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Too large for the API server.
    #[error(
        "the compressed module has {size} bytes, and a ConfigMap holds at most {PAYLOAD_MAX}; build it with --optimise size, or leave out a dependency"
    )]
    TooLarge {
        /// Bytes of the compressed module.
        size: usize,
    },
    /// It cannot be compressed.
    #[error(transparent)]
    Module(#[from] module::ModuleError),
    /// A policy needs one hook.
    #[error("the module has the hooks {has}; say with --hook which of them the policy is for")]
    WhichHook {
        /// The module's hooks.
        has: String,
    },
    /// The name is none that Kubernetes takes.
    #[error(
        "\"{name}\" is no name for an object: lower-case letters, digits and - in at most {max} characters, a letter or digit first and last"
    )]
    BadName {
        /// The name.
        name: String,
        /// Most characters.
        max: usize,
    },
}

impl PackArguments {
    /// The module to pack.
    #[cfg(test)]
    pub(super) fn module(&self) -> &std::path::Path {
        &self.module
    }
}

/// A ConfigMap's name: so long that 13 characters of digest still fit.
const NAME_MAX: usize = 240;

/// The ConfigMap that carries the module, and the size of what it carries.
///
/// # Errors
/// Where the module is too large for a ConfigMap or the name is none.
pub fn config_map(bytes: &[u8], name: &str, namespace: &str) -> Result<(ConfigMap, usize), PackError> {
    check_name(name, NAME_MAX)?;
    let payload = module::compress(bytes)?;
    let size = payload.len();
    if size > PAYLOAD_MAX {
        return Err(PackError::TooLarge { size });
    }
    let digest = module::sha256(bytes);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", &digest[..12])),
            namespace: Some(namespace.into()),
            labels: Some(BTreeMap::from([(LABEL.into(), "true".into())])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        binary_data: Some(BTreeMap::from([(KEY.into(), ByteString(payload))])),
        ..ConfigMap::default()
    };
    Ok((map, size))
}

fn check_name(name: &str, max: usize) -> Result<(), PackError> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (name.bytes().next(), name.bytes().last());
    let good = name.len() <= max
        && first.is_some_and(letter)
        && last.is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte == b'-');
    if good { Ok(()) } else { Err(PackError::BadName { name: name.into(), max }) }
}

/// The hook that a policy is for: the one asked for, else the module's only one.
fn hook(module: &Module, asked: Option<HookName>) -> Result<bellhop_api::Hook, PackError> {
    use bellhop_core::objects::Hook;

    let hooks: Vec<(Hook, bellhop_api::Hook)> = module
        .metadata
        .hooks
        .iter()
        .map(|hook| {
            let api = match hook {
                Hook::Address => bellhop_api::Hook::Address,
                Hook::Nodes => bellhop_api::Hook::Nodes,
                Hook::Route => bellhop_api::Hook::Route,
            };
            (*hook, api)
        })
        .collect();
    let has = || hooks.iter().map(|(hook, _)| hook.to_string()).collect::<Vec<_>>().join(", ");
    match (asked.map(bellhop_api::Hook::from), hooks.as_slice()) {
        (None, [(_, only)]) => Ok(*only),
        (Some(asked), hooks) if hooks.iter().any(|(_, hook)| *hook == asked) => Ok(asked),
        _ => Err(PackError::WhichHook { has: has() }),
    }
}

/// Runs `bellhop plugin pack`.
pub(crate) fn run(arguments: &PackArguments) -> ExitCode {
    let module = match read_module(&arguments.module) {
        Ok(module) => module,
        Err(message) => return fail(WRONG_USAGE, &message),
    };
    if let Some(problem) = module.problems.first() {
        return fail(DOES_NOT_HOLD, &format!("{}: {problem}", arguments.module.display()));
    }
    match pack(arguments, &module) {
        Ok((text, size)) => {
            output::stdout(&text);
            if size > CLIENT_SIDE_MAX {
                output::stderr(&format!(
                    "bellhop: the ConfigMap holds {size} bytes, more than the {CLIENT_SIDE_MAX} that a plain `kubectl \
                     apply` can keep track of: use `kubectl apply --server-side`\n"
                ));
            }
            ExitCode::SUCCESS
        }
        Err(message) => fail(DOES_NOT_HOLD, &message),
    }
}

/// The text to print, and the size of the payload.
pub(super) fn pack(arguments: &PackArguments, module: &Module) -> Result<(String, usize), String> {
    let words = |error: PackError| error.to_string();
    let bytes = std::fs::read(&arguments.module).map_err(|error| error.to_string())?;
    let bytes = module::inflate(bytes).map_err(|error| error.to_string())?;
    let name = arguments.name.as_ref().unwrap_or(&module.metadata.name);
    let (map, size) = config_map(&bytes, name, &arguments.namespace).map_err(words)?;
    if arguments.no_policy {
        return Ok((documents(arguments.output, &map, None)?, size));
    }
    let policy_name = arguments.policy_name.as_ref().unwrap_or(&module.metadata.name);
    check_name(policy_name, 253).map_err(words)?;
    let spec = DecisionPolicySpec {
        hook: hook(module, arguments.hook).map_err(words)?,
        plugin: PluginRef {
            config_map: map.metadata.name.clone().unwrap_or_default(),
            key: KEY.into(),
            sha256: module.sha256.clone(),
        },
        config: arguments.config.as_deref().map(read_file).transpose()?,
        match_: arguments.match_.as_deref().map(read_file::<Match>).transpose()?.unwrap_or_default(),
        priority: arguments.priority,
        failure_policy: match arguments.failure_policy {
            FailurePolicyName::KeepLast => FailurePolicy::KeepLast,
            FailurePolicyName::UseDefault => FailurePolicy::UseDefault,
            FailurePolicyName::Withhold => FailurePolicy::Withhold,
        },
        initial: InitialAnswer::default(),
        min_eligible: None,
        limits: Limits::default(),
    };
    let policy = DecisionPolicy::new(policy_name, spec);
    Ok((documents(arguments.output, &map, Some(&policy))?, size))
}

/// A YAML or JSON file as a value.
fn read_file<T: DeserializeOwned>(path: &std::path::Path) -> Result<T, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The objects as YAML documents or a JSON list.
fn documents(format: Format, map: &ConfigMap, policy: Option<&DecisionPolicy>) -> Result<String, String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List {
        api_version: &'static str,
        kind: &'static str,
        items: Vec<serde_json::Value>,
    }
    let mut items = vec![serde_json::to_value(map).map_err(|error| error.to_string())?];
    if let Some(policy) = policy {
        items.push(serde_json::to_value(policy).map_err(|error| error.to_string())?);
    }
    if format == Format::Json {
        let list = List { api_version: "v1", kind: "List", items };
        return serde_json::to_string_pretty(&list)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string());
    }
    let texts: Result<Vec<String>, _> = items.iter().map(serde_saphyr::to_string).collect();
    let texts = texts.map_err(|error| error.to_string())?;
    Ok(texts.iter().map(|text| text.trim_end()).collect::<Vec<_>>().join("\n---\n") + "\n")
}
