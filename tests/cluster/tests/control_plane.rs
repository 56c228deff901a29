//! Control planes alone, and what is left of clusters that are gone. Needs root and what `make setup` installs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bellhop_lab::command::{finished, output_of};
use bellhop_lab::netns::Namespace;
use bellhop_test_cluster::{Cluster, Machine, Mode, Options, Program, wait_for};

/// For what takes a moment; a machine that does other work besides makes it seconds.
const SOON: Duration = Duration::from_secs(30);

fn control_plane(prefix: &str) -> Options {
    Options { reuse: false, keep: false, ..Options::new(prefix).mode(Mode::ControlPlane) }
}

/// Everything on this machine that bears a cluster's prefix.
fn traces(prefix: &str) -> BTreeSet<String> {
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut traces = BTreeSet::new();
    let name = |line: &String| line.starts_with(&format!("{prefix}-"));
    traces.extend(
        lines(output_of(Command::new("ip").args(["netns", "list"])).unwrap()).into_iter().filter(name),
    );
    let of_state = |line: &String| line.contains(&format!("bellhop-cluster/{prefix}"));
    traces
        .extend(lines(std::fs::read_to_string("/proc/self/mountinfo").unwrap()).into_iter().filter(of_state));
    traces.extend(
        lines(output_of(Command::new("ps").args(["-eo", "args"])).unwrap()).into_iter().filter(of_state),
    );
    let find = ["/sys/fs/cgroup", "-maxdepth", "2", "-name", &format!("bellhop-cluster-{prefix}")];
    traces.extend(lines(output_of(Command::new("find").args(find)).unwrap()));
    for root in ["/dev/shm/bellhop-cluster", "/var/tmp/bellhop-cluster"] {
        let state = Path::new(root).join(prefix);
        traces.extend(state.exists().then(|| state.display().to_string()));
    }
    traces
}

#[test]
fn two_clusters_stand_side_by_side_and_leave_nothing_behind() {
    let prefixes = ["tc-left", "tc-right"];
    let options = prefixes.map(control_plane);
    let [left, right] = std::thread::scope(|scope| {
        let both = options.each_ref().map(|options| scope.spawn(|| Cluster::up(options).unwrap()));
        both.map(|up| up.join().unwrap())
    });
    left.kubectl(&["create", "namespace", "only-left"]).unwrap();
    right.kubectl(&["create", "namespace", "only-right"]).unwrap();
    assert!(right.kubectl(&["get", "namespace", "only-left"]).unwrap_err().to_string().contains("NotFound"));
    assert!(!traces("tc-left").is_empty());

    left.down().unwrap();
    assert_eq!(traces("tc-left"), BTreeSet::new());
    right.kubectl(&["get", "namespace", "only-right"]).unwrap();
    drop(right);
    assert_eq!(traces("tc-right"), BTreeSet::new());
    Cluster::remove("tc-right").unwrap();
}

#[test]
fn a_control_plane_gives_accounts_their_own_rights_and_survives_the_death_of_its_api_server() {
    let cluster = Cluster::up(&control_plane("tc-cp")).unwrap();
    an_account_may_what_its_role_says_and_no_more(&cluster);
    helm_lists_its_releases(&cluster);
    a_stopped_api_server_stays_away_until_it_is_started(&cluster);
    a_killed_api_server_comes_back(&cluster);
    a_cluster_that_stands_is_taken_as_it_is(&cluster);
}

fn an_account_may_what_its_role_says_and_no_more(cluster: &Cluster) {
    for args in [
        "create serviceaccount reader",
        "create clusterrole reader --verb=get,list --resource=services",
        "create clusterrolebinding reader --clusterrole=reader --serviceaccount=default:reader",
    ] {
        cluster.kubectl(&args.split(' ').collect::<Vec<_>>()).unwrap();
    }
    let reader = cluster.service_account("default", "reader").unwrap();
    let myself = cluster.kubectl_as(&reader, &["auth", "whoami", "-o", "name"]);
    assert!(myself.is_ok(), "{myself:?}");
    cluster.kubectl_as(&reader, &["get", "services"]).unwrap();
    let refused = cluster.kubectl_as(&reader, &["get", "secrets"]).unwrap_err().to_string();
    assert!(refused.contains("system:serviceaccount:default:reader"), "{refused}");
}

fn helm_lists_its_releases(cluster: &Cluster) {
    assert_eq!(cluster.helm(&["list", "-o", "json"]).unwrap().trim(), "[]");
}

fn answers(cluster: &Cluster) -> bool {
    let mut command = cluster.kubectl_command();
    finished(command.args(["get", "--raw", "/readyz", "--request-timeout=2s"])).unwrap().status.success()
}

fn wait_for_answers(cluster: &Cluster) {
    wait_for("the API answers", SOON, || if answers(cluster) { Ok(()) } else { Err("it does not".into()) })
        .unwrap();
}

fn a_stopped_api_server_stays_away_until_it_is_started(cluster: &Cluster) {
    cluster.stop(Machine::ControlPlane, Program::ApiServer).unwrap();
    assert!(!answers(cluster));
    cluster.start(Machine::ControlPlane, Program::ApiServer).unwrap();
    wait_for_answers(cluster);
}

fn a_killed_api_server_comes_back(cluster: &Cluster) {
    cluster.kill(Machine::ControlPlane, Program::ApiServer).unwrap();
    wait_for_answers(cluster);
    let wrong = cluster.kill(Machine::ControlPlane, Program::Kubelet).unwrap_err().to_string();
    assert!(wrong.contains("cp runs no \"kubelet\""), "{wrong}");
}

fn a_cluster_that_stands_is_taken_as_it_is(cluster: &Cluster) {
    let again = Options { reuse: true, keep: true, ..control_plane(cluster.prefix()) };
    let same = Cluster::up(&again).unwrap();
    same.kubectl(&["get", "serviceaccount", "reader"]).unwrap();
}

#[test]
fn what_a_killed_start_left_is_removed() {
    let prefix = "tc-killed";
    let network = Namespace::named(format!("{prefix}-router"));
    // Its own process group, so that the signal also reaches what the script has started and not yet detached.
    let mut up = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/up.sh"))
        .arg("cp")
        .env("BELLHOP_CLUSTER", prefix)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let half_up = || if network.exists() { Ok(()) } else { Err("it is not there".to_owned()) };
    wait_for("the first namespace is there", SOON, half_up).unwrap();
    output_of(Command::new("kill").args(["-KILL", "--", &format!("-{}", up.id())])).unwrap();
    up.wait().unwrap();
    assert!(!traces(prefix).is_empty());
    Cluster::remove(prefix).unwrap();
    assert_eq!(traces(prefix), BTreeSet::new());
}

#[test]
fn a_prefix_that_would_not_fit_is_refused() {
    for prefix in ["", "-a", "A", "a/b", "abcdefghijklmnopqrstuvwxy"] {
        let refused = Cluster::remove(prefix);
        let text = refused.expect_err(prefix).to_string();
        assert!(text.contains("give 1 to 24 lowercase letters"), "{prefix:?}: {text}");
    }
}
