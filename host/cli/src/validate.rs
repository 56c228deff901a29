//! `bellhop validate`: a folder of manifests looked at as a process would, without running anything.
//!
//! What is checked: every file and object as when it is watched; pools and Services against each other, as a ledger
//! that has not handed out anything yet would see them, with the built-in choice of addresses; and that the module of
//! each DecisionPolicy is there, is the one that the policy names, and is of the contract as far as its sections say.
//! No module is compiled or run, no address is claimed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bellhop_core::announce::aggregate;
use bellhop_core::objects::{DecisionPolicy, ModuleSource};
use bellhop_core::{BuiltIn, Delta, ObjectRef, Problem, Touched, World};
use bellhop_index::{Folder, Folders, Options};
use bellhop_ipam::{Ledger, Mode};
use clap::Args;
use serde::Serialize;

use crate::cluster::{self, ClusterArguments};
use crate::output::{self, Format};
use crate::plugin::module::{self, Module, ModuleError};
use crate::{DOES_NOT_HOLD, WRONG_USAGE, fail};

/// What to look at.
#[derive(Args, Debug)]
pub struct ValidateArguments {
    /// Folder of manifests, read recursively as `bellhop standalone --manifests` reads it; without it the objects of a
    /// cluster are looked at.
    #[arg(value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    folder: Option<PathBuf>,
    /// Which cluster, and the namespace whose ConfigMaps may carry plugins.
    #[command(flatten)]
    cluster: ClusterArguments,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What was found in a folder.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// The folder, or the URL of the API server.
    pub folder: String,
    /// Objects that are right by themselves, by kind.
    pub objects: BTreeMap<&'static str, usize>,
    /// What is wrong: with files and objects by themselves, then with objects among each other.
    pub problems: Vec<Problem>,
    /// What could not be looked at, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_shown: Vec<String>,
}

/// Runs `bellhop validate`.
pub(crate) fn run(arguments: &ValidateArguments) -> ExitCode {
    let Some(folder) = &arguments.folder else {
        return cluster::run::check_objects(&arguments.cluster, arguments.output);
    };
    let findings = match validate(folder, &arguments.cluster.namespace, true) {
        Ok(findings) => findings,
        Err(error) => {
            return fail(WRONG_USAGE, &format!("cannot read the folder {}: {error}", folder.display()));
        }
    };
    match output::print(arguments.output, &findings, &table(&findings)) {
        Ok(()) if findings.problems.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(DOES_NOT_HOLD),
        Err(message) => fail(WRONG_USAGE, &message),
    }
}

/// Looks at a folder; ConfigMaps of `namespace` may carry plugins. With `classless` Services without a class count too.
///
/// # Errors
/// When the folder itself cannot be listed.
pub fn validate(folder: &Path, namespace: &str, classless: bool) -> std::io::Result<Findings> {
    std::fs::read_dir(folder)?;
    let options = Options { namespace: namespace.into(), classless };
    let mut world = World::default();
    for delta in Folders::new(vec![Folder::manifests(folder)], options).poll() {
        world.apply(delta);
    }
    // The folder's own problems, such as a subfolder that cannot be read, do not keep the rest from being looked at.
    world.apply(Delta::Synced);

    let mut problems: Vec<Problem> = world.problems().values().flatten().cloned().collect();
    let mut ledger = Ledger::new();
    let plan = ledger.plan(&world, &Touched::everything(), Mode::Allocate, &mut BuiltIn);
    problems.extend(plan.problems);
    for outcome in ledger.outcomes().values() {
        problems.extend(outcome.waiting.as_deref().into_iter().chain(&outcome.warnings).cloned());
    }
    for advertisement in world.advertisements().values() {
        problems.extend(aggregate::problems(&world, advertisement));
    }
    for policy in world.policies().values() {
        problems.extend(of_policy(policy, world.modules().get(&policy.config_map).map(|source| &**source)));
    }
    Ok(Findings {
        folder: folder.display().to_string(),
        objects: count(&world),
        problems,
        not_shown: Vec::new(),
    })
}

/// Objects by kind, those that there are.
fn count(world: &World) -> BTreeMap<&'static str, usize> {
    let services = world.services().values().filter(|service| service.wants_address).count();
    [
        ("Namespace", world.namespaces().len()),
        ("Node", world.nodes().len()),
        ("Service", services),
        ("AddressPool", world.pools().len()),
        ("AddressClaim", world.claims().len()),
        ("BGPPeer", world.peers().len()),
        ("BFDProfile", world.bfd_profiles().len()),
        ("Advertisement", world.advertisements().len()),
        ("SpeakerConfig", world.speaker_configs().len()),
        ("DecisionPolicy", world.policies().len()),
        ("ConfigMap", world.modules().len()),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect()
}

/// What keeps a policy from being loaded, as far as can be said without running its module.
fn of_policy(policy: &DecisionPolicy, config_map: Option<&ModuleSource>) -> Option<Problem> {
    let problem = |reason: &str, field: &str, value: &str, message: String| {
        let object = ObjectRef::cluster("DecisionPolicy", policy.name.clone());
        Some(Problem::new(object, reason, field, value, message))
    };
    let of_module =
        |reason: &str, message: String| problem(reason, "spec.plugin.configMap", &policy.config_map, message);
    let Some(source) = config_map else {
        return of_module("ConfigMapMissing", "there is no such ConfigMap in Bellhop's namespace".into());
    };
    let Some(stored) = source.data.get(&policy.module_key) else {
        let message = "the ConfigMap has no such key".into();
        return problem("KeyMissing", "spec.plugin.key", &policy.module_key, message);
    };
    let bytes = match module::inflate(stored.to_vec()) {
        Ok(bytes) => bytes,
        Err(error) => return of_module(reason(&error), error.to_string()),
    };
    let digest = module::sha256(&bytes);
    if digest != *policy.sha256 {
        let message = format!("the module's sha256 is {digest}, and the policy names another");
        return problem("DigestMismatch", "spec.plugin.sha256", &policy.sha256, message);
    }
    let module = match Module::read(&bytes) {
        Ok(module) => module,
        Err(error) => return of_module(reason(&error), error.to_string()),
    };
    if let Some(message) = module.problems.into_iter().next() {
        return of_module("Contract", message);
    }
    if !module.metadata.hooks.contains(&policy.hook) {
        let has: Vec<String> = module.metadata.hooks.iter().map(ToString::to_string).collect();
        let message = format!("the module has no such hook, only {}", has.join(", "));
        return problem("HookMissing", "spec.hook", &policy.hook.to_string(), message);
    }
    None
}

/// The reason of a module that cannot be read, as a process that loads it would give it.
fn reason(error: &ModuleError) -> &'static str {
    match error {
        ModuleError::TooLarge => "TooLarge",
        ModuleError::NoMetadata | ModuleError::BadMetadata(_) => "Metadata",
        ModuleError::NotWasm(_) | ModuleError::Zstd(_) => "Malformed",
    }
}

/// For people: one line for each problem, then what there is.
pub(crate) fn table(findings: &Findings) -> String {
    let mut text: String = findings.problems.iter().map(|problem| format!("{problem}\n")).collect();
    let objects: Vec<String> =
        findings.objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let objects = if objects.is_empty() { "no object".into() } else { objects.join(", ") };
    let verdict = match findings.problems.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    text += &format!("{}: {verdict} ({objects})\n", findings.folder);
    if !findings.not_shown.is_empty() {
        text += "Not looked at, so that what is said above may be wrong for want of it:\n";
        text.extend(findings.not_shown.iter().map(|line| format!("  {line}\n")));
    }
    text
}
