//! Controllers and a speaker whose clocks are wrong: times that another machine wrote decide nothing.
//!
//! One controller is ten minutes ahead of the API server, the other and the speaker ten minutes behind (libfaketime, which
//! changes the wall clock alone). To the one each renewal of the other is long past, to the other it lies in the future.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bellhop_test_cluster::Machine;

use super::*;

const AHEAD: &str = "+10m";
const BEHIND: &str = "-10m";

/// Services of each part.
const PART: usize = 50;

/// A Lease of controllers runs out after this, as those count who wait for it (client-go's default).
const LEASE: Duration = Duration::from_secs(15);

/// A leader that is gone is followed by another one within a Lease and two looks at it, on a machine that does other work
/// besides.
const FAILOVER: Duration = Duration::from_secs(30);

/// Nobody takes a Lease sooner than this after its holder was killed: it was renewed at most two seconds before, and seen
/// at most two seconds after.
const NOT_BEFORE: Duration = Duration::from_secs(10);

/// A speaker's Lease runs out after 40 s.
const SPEAKER_LEASE: Duration = Duration::from_secs(40);

/// A command whose wall clock is wrong by `offset`.
fn skewed(mut command: Command, offset: &str) -> Command {
    let library = std::fs::read_dir("/usr/lib").unwrap().find_map(|folder| {
        let library: PathBuf = folder.unwrap().path().join("faketime/libfaketimeMT.so.1");
        library.exists().then_some(library)
    });
    let library = library.expect("libfaketime is missing; `make setup` installs it");
    command.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

fn controller(cluster: &Cluster, name: &str, port: u16, offset: &str) -> Controller {
    let mut command = skewed(Command::new(env!("CARGO_BIN_EXE_bellhop")), offset);
    command.args(["controller", "--name", name, "--listen", &format!("127.0.0.1:{port}")]);
    Controller(command.env("KUBECONFIG", cluster.kubeconfig()).spawn().unwrap())
}

/// The speaker of a node that is only a name. In the control plane's network, as it writes a packet filter.
fn speaker(cluster: &Cluster, folder: &Path, offset: &str) -> Controller {
    let network = cluster.network_of(Machine::ControlPlane);
    let mut command = skewed(network.command(env!("CARGO_BIN_EXE_bellhop")), offset);
    command.args(["speaker", "--node", "skewed", "--listen", "127.0.0.1:9474"]);
    command.arg("--state").arg(folder.join("state")).arg("--socket").arg(folder.join("socket"));
    // Nothing is compiled here.
    command.args(["--compiler", "/bin/false"]);
    Controller(command.env("KUBECONFIG", cluster.state().join("pki/admin.conf")).spawn().unwrap())
}

fn lease(cluster: &Cluster, name: &str) -> Option<Value> {
    cluster.kubectl_json(&["-n", "bellhop-system", "get", "lease", name]).ok()
}

/// Who holds the Lease, and how often it went from one to another.
fn leader(cluster: &Cluster) -> Option<(String, i64)> {
    let lease = lease(cluster, "bellhop-controller")?;
    let spec = &lease["spec"];
    Some((spec["holderIdentity"].as_str()?.to_owned(), spec["leaseTransitions"].as_i64().unwrap_or_default()))
}

fn leads(cluster: &Cluster, name: &str, within: Duration) {
    wait_for(&format!("{name} to lead"), within, || {
        leader(cluster).is_some_and(|(holder, _)| holder == name).then_some(())
    });
}

/// What a clock of this machine says that is wrong by so many minutes, as Leases have it.
fn clock(minutes: i32) -> String {
    let date =
        Command::new("date").args(["-u", "-d", &format!("{minutes} minutes"), "+%FT%T"]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

/// Makes Services and waits until each has an address; all that were ever made have addresses of their own.
fn serve(cluster: &Cluster, part: &str) {
    let name = |number: usize| format!("{part}-{number}");
    let services: Vec<Value> =
        (0..PART).map(|number| manifest(&name(number), "bellhop.dev/bellhop")).collect();
    apply(cluster, &services);
    let has = |service: &Value| !service["status"]["loadBalancer"]["ingress"][0]["ip"].is_null();
    let all = services_with(cluster, |service| service["spec"]["type"] == "LoadBalancer");
    wait_for(&format!("addresses of the Services of {part}"), 2 * SOON, || {
        (services_with(cluster, has) == all).then_some(())
    });
    let services: Value = cluster.kubectl_json(&["get", "services"]).unwrap();
    let addresses = services["items"].as_array().unwrap().iter().filter_map(|service| {
        Some(service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.to_owned())
    });
    let distinct: BTreeSet<String> = addresses.collect();
    assert_eq!(distinct.len(), all, "an address twice");
}

/// The leader is left alone for longer than its Lease by the other's clock.
fn nobody_else_leads(cluster: &Cluster, name: &str) {
    let before = leader(cluster).unwrap();
    assert_eq!(before.0, name);
    let start = Instant::now();
    while start.elapsed() < LEASE + LEASE / 2 {
        assert_eq!(leader(cluster).unwrap(), before, "after {:?}", start.elapsed());
    }
}

/// Kills the leader while Services are made; the other one leads, and not too early.
fn fails_over(cluster: &Cluster, killed: Controller, to: &str, part: &str) {
    let start = Instant::now();
    drop(killed);
    leads(cluster, to, FAILOVER);
    let took = start.elapsed();
    assert!(took >= NOT_BEFORE, "{to} took the Lease after {took:?}");
    println!("{to} leads {:.1} s after the leader was killed", took.as_secs_f64());
    serve(cluster, part);
}

/// What is said of a Service's announcement.
fn announced_reason(cluster: &Cluster, name: &str) -> Option<String> {
    let service = service(cluster, name);
    let conditions = service["status"]["conditions"].as_array()?.clone();
    let told = conditions.into_iter().find(|condition| condition["type"] == "bellhop.dev/Announced")?;
    Some(told["reason"].as_str()?.to_owned())
}

#[test]
fn clocks_that_are_twenty_minutes_apart_cost_no_leader_no_address_and_no_speaker() {
    let cluster = Cluster::up(&Options::new("skew").mode(Mode::ControlPlane)).unwrap();
    crds(&cluster);
    cluster.kubectl(&["create", "namespace", "bellhop-system"]).unwrap();
    let pool = json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "AddressPool",
        "metadata": { "name": "public" },
        "spec": { "addresses": ["198.51.100.0/23"] },
    });
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "skewed" } });
    apply(&cluster, &[pool, node]);

    let ahead = controller(&cluster, "ahead", 19_491, AHEAD);
    leads(&cluster, "ahead", SOON);
    let renewed = lease(&cluster, "bellhop-controller").unwrap()["spec"]["renewTime"].clone();
    assert!(renewed.as_str().unwrap() > clock(9).as_str(), "its clock is ahead: {renewed}");
    let behind = controller(&cluster, "behind", 19_492, BEHIND);
    let folder = tempfile::tempdir().unwrap();
    let speaker = speaker(&cluster, folder.path(), BEHIND);
    serve(&cluster, "first");
    nobody_else_leads(&cluster, "ahead");
    fails_over(&cluster, ahead, "behind", "second");

    let ahead = controller(&cluster, "ahead", 19_491, AHEAD);
    let since = Instant::now();
    nobody_else_leads(&cluster, "behind");
    let renewed = lease(&cluster, "bellhop-speaker-skewed").unwrap()["spec"]["renewTime"].clone();
    assert!(renewed.as_str().unwrap() < clock(-9).as_str(), "its clock is behind: {renewed}");
    fails_over(&cluster, behind, "ahead", "third");
    a_speaker_is_live_while_it_renews_and_no_longer(&cluster, speaker, since);
    drop(ahead);
}

/// To the leader, which has watched since then, every renewal of this speaker is twenty minutes old.
fn a_speaker_is_live_while_it_renews_and_no_longer(cluster: &Cluster, speaker: Controller, since: Instant) {
    let reason = || announced_reason(cluster, "first-0");
    wait_for("the leader to tell what the speaker says", 2 * SOON, || {
        reason().filter(|reason| reason == "NoEndpoints")
    });
    while since.elapsed() < SPEAKER_LEASE + LEASE {
        assert_eq!(reason().as_deref(), Some("NoEndpoints"), "after {:?}", since.elapsed());
    }
    drop(speaker);
    wait_for("the leader to tell that no speaker is live", SPEAKER_LEASE + SOON, || {
        reason().filter(|reason| reason == "NoSpeaker")
    });
}
