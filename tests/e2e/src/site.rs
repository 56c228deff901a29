//! Where cases run: the cluster, the installation in it, and what every case starts from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_lab::frr::Frr;
use bellhop_test_cluster::{Cluster, Options, wait_for};
use serde_json::Value;

/// Namespace of the installation, as in the README.
pub const NAMESPACE: &str = "bellhop-system";
/// Name of the Helm release.
pub const RELEASE: &str = "bellhop";
/// Label on the namespaces that cases make; [`Site::reset`] removes them.
pub const CASE_LABEL: &str = "bellhop.dev/test=case";
/// For what needs a few round trips of the API and a little CPU; a busy machine makes it seconds.
pub const SOON: Duration = Duration::from_secs(30);
/// For pods to be scheduled, started and ready, and to go.
pub const PODS: Duration = Duration::from_secs(120);
/// What every case starts from.
const BASE: &str = include_str!("base.yaml");
/// Values of the test installation: what differs from the chart's defaults, and why, stands in the file.
const VALUES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/values.yaml");
/// The root of the source tree, in which the README's commands are typed.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The README, and the section that says how to install.
const README: (&str, &str) = (include_str!("../../../README.md"), "\n## Install\n");
/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/bellhop");

/// Which cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The project's own.
    TestCluster {
        /// What tells it from others.
        prefix: String,
        /// The image to install.
        image: Option<PathBuf>,
    },
    /// The user's, by a kubeconfig; Bellhop is installed there.
    Users {
        /// The kubeconfig of an administrator.
        kubeconfig: PathBuf,
        /// The `kubectl` that reads it.
        kubectl: PathBuf,
    },
}

/// A cluster with Bellhop in it.
#[derive(Debug)]
pub struct Site {
    place: Here,
    program: Option<PathBuf>,
    plugins: Option<PathBuf>,
    /// Helm installed it last, without a setting of a case, and no case has failed since.
    as_installed: AtomicBool,
    /// The README's commands installed it, with the test's values besides.
    as_the_readme_says: AtomicBool,
}

#[derive(Debug)]
enum Here {
    TestCluster { cluster: Box<Cluster>, frr: Frr },
    Users { kubeconfig: PathBuf, kubectl: PathBuf },
}

impl Site {
    /// Brings the test cluster up with FRR on its router and the image on its nodes, or takes the user's cluster.
    ///
    /// # Errors
    /// When the cluster does not come up, or the image is missing.
    pub fn open(place: Place, program: Option<PathBuf>, plugins: Option<PathBuf>) -> Result<Self> {
        let place = match place {
            Place::Users { kubeconfig, kubectl } => Here::Users { kubeconfig, kubectl },
            Place::TestCluster { prefix, image } => {
                let image = image.context("--image (BELLHOP_IMAGE) is missing; `make image` writes one")?;
                let cluster = Cluster::up(&Options::new(prefix))?;
                let frr = cluster.frr();
                if frr.bgpd("show version").is_err() {
                    frr.start()?;
                }
                cluster.load_image(&image)?;
                Here::TestCluster { cluster: Box::new(cluster), frr }
            }
        };
        let [as_installed, as_the_readme_says] = [false; 2].map(AtomicBool::new);
        Ok(Self { place, program, plugins, as_installed, as_the_readme_says })
    }

    /// The test cluster.
    ///
    /// # Errors
    /// On a user's cluster.
    pub fn cluster(&self) -> Result<&Cluster> {
        match &self.place {
            Here::TestCluster { cluster, .. } => Ok(cluster),
            Here::Users { .. } => anyhow::bail!("this case needs the project's own test cluster"),
        }
    }

    /// FRR on the router.
    ///
    /// # Errors
    /// On a user's cluster.
    pub fn frr(&self) -> Result<&Frr> {
        match &self.place {
            Here::TestCluster { frr, .. } => Ok(frr),
            Here::Users { .. } => {
                anyhow::bail!("this case needs the router of the project's own test cluster")
            }
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.place {
            Here::TestCluster { cluster, .. } => cluster.kubeconfig(),
            Here::Users { kubeconfig, .. } => kubeconfig.clone(),
        }
    }

    /// The `bellhop` program on the host.
    ///
    /// # Errors
    /// When it was not named.
    pub fn program(&self) -> Result<&Path> {
        self.program.as_deref().context("--program (BELLHOP_BIN) is missing")
    }

    /// Folder of the policies that are shipped.
    ///
    /// # Errors
    /// When it was not named.
    pub fn plugins(&self) -> Result<&Path> {
        self.plugins.as_deref().context("--plugins (BELLHOP_PLUGINS) is missing")
    }

    /// What kubectl writes to standard output.
    ///
    /// # Errors
    /// With what it writes to standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        match &self.place {
            Here::TestCluster { cluster, .. } => cluster.kubectl(args),
            Here::Users { kubeconfig, kubectl } => {
                output_of(Command::new(kubectl).arg("--kubeconfig").arg(kubeconfig).args(args))
            }
        }
    }

    /// What kubectl writes with `-o json`.
    ///
    /// # Errors
    /// As [`Site::kubectl`], and when it is no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("`kubectl {}` wrote no JSON: {text}", args.join(" ")))
    }

    /// Applies YAML documents.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn apply(&self, documents: &str) -> Result<()> {
        match &self.place {
            Here::TestCluster { cluster, .. } => cluster.apply(documents).map(drop),
            Here::Users { kubeconfig, kubectl } => {
                let file = std::env::temp_dir().join(format!("bellhop-e2e-{}.yaml", std::process::id()));
                std::fs::write(&file, documents)?;
                let mut command = Command::new(kubectl);
                command.arg("--kubeconfig").arg(kubeconfig).args(["apply", "--server-side", "-f"]).arg(&file);
                let said = output_of(&mut command);
                std::fs::remove_file(&file)?;
                said.map(drop)
            }
        }
    }

    /// `helm upgrade --install` of the chart with the test's values and `settings` (`--set` each); waits for the pods.
    ///
    /// # Errors
    /// With helm's words.
    pub fn install(&self, settings: &[&str]) -> Result<()> {
        self.install_chart(CHART, settings)?;
        self.as_installed.store(settings.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// Installs by the commands of the README's section Install, with the test's values besides. The image is built already.
    ///
    /// # Errors
    /// With the words of the command that fails; when the section is another one than expected.
    pub fn install_as_the_readme_says(&self) -> Result<()> {
        let (text, section) = README;
        let block = fenced(text, section, "sh").context("the README has no commands that install")?;
        let (image, commands) = block.split_once('\n').context("one command alone installs nothing")?;
        ensure!(image.starts_with("make image "), "the README does not begin with the image: {image}");
        let install = "\nhelm install bellhop charts/bellhop --namespace bellhop-system --wait\n";
        ensure!(commands.ends_with(install), "the README does not end with `helm install`: {commands}");
        self.cluster()?.shell(Path::new(ROOT), &format!("{} -f {VALUES}", commands.trim_end()))?;
        self.as_installed.store(true, Ordering::Relaxed);
        self.as_the_readme_says.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// True when what stands was installed by [`Site::install_as_the_readme_says`].
    pub fn is_as_the_readme_says(&self) -> bool {
        self.as_the_readme_says.load(Ordering::Relaxed)
    }

    /// Uninstalls, if something is installed; what `helm uninstall` keeps stays, and the namespace goes.
    ///
    /// # Errors
    /// With helm's words.
    pub fn uninstall(&self) -> Result<()> {
        let cluster = self.cluster()?;
        let uninstall = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found"];
        cluster.helm(&[&uninstall[..], &["--wait", "--timeout", "180s"]].concat())?;
        self.as_installed.store(false, Ordering::Relaxed);
        self.as_the_readme_says.store(false, Ordering::Relaxed);
        self.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"]).map(drop)
    }

    /// The same with another chart, a folder or a package.
    ///
    /// # Errors
    /// With helm's words.
    pub fn install_chart(&self, chart: &str, settings: &[&str]) -> Result<()> {
        let cluster = self.cluster()?;
        self.as_installed.store(false, Ordering::Relaxed);
        self.as_the_readme_says.store(false, Ordering::Relaxed);
        let mut args = vec![
            "upgrade",
            "--install",
            RELEASE,
            chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "-f",
            VALUES,
        ];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        args.extend(["--wait", "--timeout", "120s"]);
        cluster.helm(&args).map(drop)
    }

    /// True when helm would change nothing: it installed last without a setting, and the workloads are whole.
    fn stands_as_installed(&self) -> bool {
        let whole = |workload: &str| {
            self.kubectl(&["-n", NAMESPACE, "rollout", "status", workload, "--timeout=5s"]).is_ok()
        };
        self.as_installed.load(Ordering::Relaxed)
            && whole("daemonset/bellhop-speaker")
            && whole("deployment/bellhop-controller")
    }

    /// Makes the state that every case starts from: machines whole, Bellhop installed with the test's values, the base
    /// objects as they were, nothing of other cases.
    ///
    /// # Errors
    /// When that state does not come about.
    pub fn reset(&self) -> Result<()> {
        // First, because pods on a machine that is off stay.
        if matches!(self.place, Here::TestCluster { .. }) {
            self.mend_machines()?;
        }
        self.kubectl(&["delete", "namespace", "-l", CASE_LABEL, "--ignore-not-found", "--timeout=120s"])?;
        let Here::TestCluster { cluster, .. } = &self.place else {
            // Of the user's objects only what cases made goes.
            return self
                .kubectl(&["delete", "addresspools", "-l", CASE_LABEL, "--ignore-not-found"])
                .map(drop);
        };
        if cluster.kubectl(&["get", "namespace", NAMESPACE, "--ignore-not-found"])?.is_empty() {
            self.install_as_the_readme_says()?;
        } else if !self.stands_as_installed() {
            self.install(&[])?;
        }
        let kinds = "decisionpolicies,advertisements,bgppeers,bfdprofiles,addresspools,speakerconfigs";
        cluster.kubectl(&["delete", kinds, "--selector", "!bellhop.dev/base", "--ignore-not-found"])?;
        self.apply_base()?;
        wait_for("no claim is left of other cases", SOON, || self.expect_no_claims())?;
        Ok(())
    }

    /// Applies the objects that every case starts from.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn apply_base(&self) -> Result<()> {
        self.apply(BASE)
    }

    fn expect_no_claims(&self) -> Result<(), String> {
        let claims = self.json(&["get", "addressclaims"]).map_err(|error| format!("{error:#}"))?;
        match claims["items"].as_array().map_or(0, Vec::len) {
            0 => Ok(()),
            count => Err(format!("{count} claims stand")),
        }
    }

    /// Prints what helps to understand a failed case.
    pub fn explain_failure(&self, case: &str) {
        // What it did to the installation it may not have undone.
        self.as_installed.store(false, Ordering::Relaxed);
        let looks: [&[&str]; 6] = [
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "services,endpointslices", "-A", "-o", "wide"],
            &["get", "bellhop", "-o", "wide"],
            &[
                "-n",
                NAMESPACE,
                "logs",
                "-l",
                "app.kubernetes.io/component=controller",
                "--tail=60",
                "--prefix",
            ],
            &["-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/component=speaker", "--tail=60", "--prefix"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ];
        for look in looks {
            println!("--- {case}: kubectl {}", look.join(" "));
            // A kubelet that is off would be waited for, for minutes.
            match self.kubectl(&[look, &["--request-timeout=20s"]].concat()) {
                Ok(text) => println!("{text}"),
                Err(error) => println!("{error:#}"),
            }
        }
    }

    /// What a tool of `kubectl bellhop` prints.
    ///
    /// # Errors
    /// With its words, when it fails.
    pub fn bellhop(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program()?);
        command.env("KUBECONFIG", self.kubeconfig()).args(args);
        output_of(&mut command)
    }
}

/// True when an object's condition of this type has this status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The condition of this type, as `status/reason: message`.
///
/// # Errors
/// When its status is another one.
pub fn expect_condition(object: &Value, kind: &str, status: &str) -> Result<String> {
    let found =
        condition(object, kind).with_context(|| format!("no condition {kind} in {}", object["status"]))?;
    let told = format!("{}/{}: {}", found["status"], found["reason"], found["message"]);
    ensure!(found["status"] == status, "condition {kind} is {told}, not {status}");
    Ok(told)
}

/// The first fenced block of a language in a section of a page, with its line ends.
pub fn fenced<'a>(page: &'a str, section: &str, language: &str) -> Option<&'a str> {
    let (_, section) = page.split_once(section)?;
    let section = section.split("\n## ").next()?;
    let (_, block) = section.split_once(&format!("\n```{language}\n"))?;
    block.find("\n```").map(|end| &block[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_from_its_own_section() {
        let page = "# P\n\n```sh\nno\n```\n\n## A\n\ntext\n\n```text\nno\n```\n\n```sh\none\ntwo\n```\n\n## B\n\n```c\nx\n```\n";
        assert_eq!(fenced(page, "\n## A\n", "sh"), Some("one\ntwo\n"));
        assert_eq!(fenced(page, "\n## A\n", "c"), None);
        assert_eq!(fenced(page, "\n## C\n", "sh"), None);
    }
}
