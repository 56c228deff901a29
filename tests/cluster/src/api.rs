//! The API: kubectl, helm, and the credentials of service accounts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use bellhop_lab::command::{output_of, shown};
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;

/// How long a service account's token is good for: longer than any test, and not below the ten minutes that the API asks for
/// (`TokenRequestSpec.expirationSeconds`).
const TOKEN_DURATION: &str = "2h";
/// Field manager of what [`Cluster::apply`] writes.
const FIELD_MANAGER: &str = "test";

impl Cluster {
    /// The administrator's kubeconfig, for use on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    /// A program of the cluster: `kubectl`, `helm` and the others, in the version that it runs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.state().join("bin").join(name)
    }

    /// A call of kubectl with the administrator's rights, not started.
    pub fn kubectl_command(&self) -> Command {
        self.kubectl_command_as(&self.kubeconfig())
    }

    /// A call of kubectl with the rights of a kubeconfig, not started.
    pub fn kubectl_command_as(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(kubeconfig);
        // Discovery is cached by server address, and ports are used again by other clusters.
        command.arg("--cache-dir").arg(self.state().join("kubectl-cache"));
        command
    }

    /// What kubectl writes to standard output.
    ///
    /// # Errors
    /// With what it writes to standard error, when it fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        output_of(self.kubectl_command().args(args))
    }

    /// What kubectl writes with the rights of a kubeconfig; see [`Cluster::service_account`].
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<String> {
        output_of(self.kubectl_command_as(kubeconfig).args(args))
    }

    /// What kubectl writes with `-o json`, decoded.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`], and when the JSON is another than expected.
    pub fn kubectl_json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let text = self.kubectl(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("unexpected JSON of `kubectl {}`: {text}", args.join(" ")))
    }

    /// Applies YAML or JSON documents on the server's side.
    ///
    /// # Errors
    /// With the API server's words, when it refuses one.
    pub fn apply(&self, documents: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            FIELD_MANAGER,
            "-f",
            "-",
        ]);
        output_with_input(&mut command, documents)
    }

    /// Merges JSON into the status of an object, as its controller would.
    ///
    /// # Errors
    /// With the API server's words, when it refuses it.
    pub fn patch_status(&self, namespace: &str, object: &str, status: &str) -> Result<()> {
        let patch = format!("{{\"status\": {status}}}");
        self.kubectl(&[
            "-n",
            namespace,
            "patch",
            object,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .map(drop)
    }

    /// What helm writes, with the administrator's rights and no configuration but the chart's.
    ///
    /// # Errors
    /// With what it writes to standard error, when it fails.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program("helm"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        output_of(self.with_helm_homes(&mut command))
    }

    /// What a shell writes that has an administrator's `kubectl` and `helm`, in a folder: commands as a page says them. The
    /// first that fails ends it.
    ///
    /// # Errors
    /// With what it writes to standard error, when it fails.
    pub fn shell(&self, folder: &Path, lines: &str) -> Result<String> {
        let mut programs = self.state().join("bin").into_os_string();
        programs.push(":");
        programs.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        command.args(["-euc", lines]).current_dir(folder);
        command.env("PATH", programs).env("KUBECONFIG", self.kubeconfig());
        output_of(self.with_helm_homes(&mut command))
    }

    fn with_helm_homes<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), self.state().join("helm"));
        }
        command
    }

    /// A kubeconfig with a token of a service account (TokenRequest), for use on the host: whoever takes it has that account's rights and
    /// no more. The account must exist.
    ///
    /// # Errors
    /// When the account does not exist or the file cannot be written.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token =
            self.kubectl(&["-n", namespace, "create", "token", name, "--duration", TOKEN_DURATION])?;
        let mut config: serde_json::Value = self.kubectl_json(&["config", "view", "--raw"])?;
        config["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
        let path = self.state().join(format!("kubeconfig-{namespace}-{name}"));
        std::fs::write(&path, config.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// As [`output_of`], with text on standard input.
fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    // A program that ends before it has read everything says why on standard error.
    let _ = child.stdin.take().context("no standard input")?.write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "`{}` ended with {}: {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote invalid UTF-8", shown(command)))
}
