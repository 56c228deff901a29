//! The Helm chart as its tests see it: rendered by the real helm, read back as objects, and its values as documented.
//!
//! ```text
//! values, --set ──► helm template ──► text ──► objects        what is rendered
//! values.yaml + values.schema.json ──────────► rows ──► table what can be set
//! ```
//!
//! It changes nothing and knows no cluster; `tests/api_server.rs` brings one.

#![forbid(unsafe_code)]

pub mod values;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Name of the release in every rendering, as in the documentation.
pub const RELEASE: &str = "bellhop";
/// Namespace of the release in every rendering.
pub const NAMESPACE: &str = "bellhop-system";
/// What a cluster with the Prometheus operator has beside Kubernetes.
pub const MONITORING: &[&str] = &[
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
];

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Folder of the chart.
pub fn chart() -> PathBuf {
    root().join("charts/bellhop")
}

/// Reads a file of the repository.
///
/// # Errors
/// With its path.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The helm that the test cluster is built with; builds it when it is missing, which takes minutes.
static HELM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let script = root().join("tests/cluster/build.sh");
    let said = run(&mut Command::new(script)).map_err(|error| format!("{error:#}"))?;
    said.lines()
        .find_map(|line| line.strip_prefix("components: ")?.split(',').next())
        .map(|folder| Path::new(folder).join("helm"))
        .ok_or_else(|| format!("tests/cluster/build.sh does not say `components: FOLDER`: {said}"))
});

/// A call of helm that reads nobody's configuration, not started.
///
/// # Errors
/// When helm is missing and cannot be built.
pub fn helm() -> Result<Command> {
    let program = HELM.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut command = Command::new(program);
    let nowhere = std::env::temp_dir().join("bellhop-chart-tests-helm");
    for kind in ["CACHE", "CONFIG", "DATA"] {
        command.env(format!("HELM_{kind}_HOME"), &nowhere);
    }
    command.env("KUBECONFIG", "/dev/null");
    Ok(command)
}

/// What a command writes to standard output.
///
/// # Errors
/// With what it writes to standard error, when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("output that is not UTF-8")
}

/// One way to render the chart.
#[derive(Clone, Debug, Default)]
pub struct Rendering {
    name: String,
    args: Vec<String>,
}

impl Rendering {
    /// With the values as they are.
    pub fn new() -> Self {
        Self { name: "default values".into(), args: Vec::new() }
    }

    /// With a value, as `helm --set` takes it.
    #[must_use]
    pub fn set(mut self, assignment: &str) -> Self {
        self.name = format!("{} {assignment}", self.name);
        self.args.extend(["--set".into(), assignment.into()]);
        self
    }

    /// With a file of values.
    #[must_use]
    pub fn values(mut self, file: &Path) -> Self {
        self.name = format!("{} {}", self.name, file.file_name().unwrap_or_default().to_string_lossy());
        self.args.extend(["--values".into(), file.display().to_string()]);
        self
    }

    /// In a cluster with the Prometheus operator.
    #[must_use]
    pub fn with_monitoring(mut self) -> Self {
        for api in MONITORING {
            self.args.extend(["--api-versions".into(), (*api).into()]);
        }
        self
    }

    /// With an argument of `helm template`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments for helm beside command, release and chart.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// The text that helm renders, hooks and tests included.
    ///
    /// # Errors
    /// With helm's words, when it refuses.
    pub fn text(&self) -> Result<String> {
        let mut command = helm()?;
        command.args(["template", RELEASE]).arg(chart()).args(["--namespace", NAMESPACE]).args(&self.args);
        run(&mut command)
    }

    /// The objects that helm renders.
    ///
    /// # Errors
    /// As [`Rendering::text`], and when a document is not YAML.
    pub fn objects(&self) -> Result<Vec<Object>> {
        let text = self.text()?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).context("read what helm renders")?;
        Ok(documents.into_iter().filter(|document| !document.is_null()).map(Object).collect())
    }
}

/// The value files in the chart's `ci` folder, each a combination that somebody uses, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn combinations() -> Result<Vec<Rendering>> {
    let mut files = std::fs::read_dir(chart().join("ci"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files.iter().map(|file| Rendering::new().with_monitoring().values(file)).collect())
}

/// Every way to render that the tests look at: the defaults, each switch the other way, and [`combinations`].
///
/// # Errors
/// When the values or the folder cannot be read.
pub fn renderings() -> Result<Vec<Rendering>> {
    let mut renderings = vec![Rendering::new()];
    for (path, on) in values::switches()? {
        renderings.push(Rendering::new().with_monitoring().set(&format!("{path}={}", !on)));
    }
    renderings.extend(combinations()?);
    Ok(renderings)
}

/// A rendered object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object(pub Value);

impl Object {
    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.0["apiVersion"].as_str().unwrap_or_default()
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0["metadata"]["annotations"][key].as_str()
    }

    /// The pod that it is or makes.
    pub fn pod(&self) -> Option<&Value> {
        match self.kind() {
            "Pod" => self.0.get("spec"),
            "Deployment" | "DaemonSet" | "Job" => self.0.pointer("/spec/template/spec"),
            _ => None,
        }
    }

    /// For messages.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }
}

/// The object of a kind and name.
///
/// # Panics
/// When there is none.
pub fn find<'a>(objects: &'a [Object], kind: &str, name: &str) -> &'a Object {
    objects
        .iter()
        .find(|object| object.kind() == kind && object.name() == name)
        .unwrap_or_else(|| panic!("no {kind} {name} is rendered"))
}
