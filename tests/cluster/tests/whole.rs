//! A whole cluster, brought up once for all that is to be seen of it. Needs root and what `make setup` installs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bellhop_lab::command::{finished, output_of};
use bellhop_lab::http::Url;
use bellhop_lab::load::Load;
use bellhop_test_cluster::{Cluster, Cut, Node, Options, Program, wait_for};
use serde_json::Value;

/// The Service's addresses, written to its status by hand and routed to `node-1` by hand.
const IPV4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x10);
/// For what takes a moment; a machine that does other work besides makes it seconds.
const SOON: Duration = Duration::from_secs(30);
/// For a dead node: noticed after 16 s (component/kube-controller-manager.sh).
const NOTICED: Duration = Duration::from_secs(60);

fn node(number: usize) -> Node {
    Node::ALL[number - 1]
}

#[test]
fn a_cluster_comes_up_serves_breaks_and_mends() {
    let cluster = Cluster::up(&Options::new("tc-whole")).unwrap();
    every_node_is_ready_in_the_version_that_was_built(&cluster);
    cluster.apply(include_str!("manifests/web.yaml")).unwrap();
    a_pod_runs_on_every_node(&cluster);
    a_service_with_a_status_is_reached_through_kube_proxy(&cluster);
    a_pod_that_says_it_is_unready_gets_no_requests(&cluster);
    a_pod_answers_exec_and_reaches_other_pods(&cluster);
    frr_listens_for_every_node(&cluster);
    the_routers_configuration_can_be_changed(&cluster);
    a_change_of_a_route_is_recorded(&cluster);
    a_frozen_kubelet_answers_again_when_it_is_thawed(&cluster);
    pods_are_cut_off_from_the_api_while_the_kubelet_reports(&cluster);
    a_node_cut_off_from_the_api_still_serves(&cluster);
    a_node_without_power_is_noticed_and_comes_back_as_another_boot(&cluster);
}

fn every_node_is_ready_in_the_version_that_was_built(cluster: &Cluster) {
    let nodes: Value = cluster.kubectl_json(&["get", "nodes"]).unwrap();
    let nodes = nodes["items"].as_array().unwrap();
    assert_eq!(nodes.len(), Node::ALL.len());
    for node in nodes {
        assert_eq!(condition(node, "Ready"), "True", "{node}");
        assert!(node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap().starts_with("v1.36."));
    }
}

fn condition(node: &Value, kind: &str) -> String {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("absent").to_owned()
}

fn a_pod_runs_on_every_node(cluster: &Cluster) {
    cluster.kubectl(&["rollout", "status", "daemonset/web", "--timeout=60s"]).unwrap();
    let pods = pods(cluster);
    let nodes: BTreeSet<_> = pods.iter().map(|(_, node, _)| node.clone()).collect();
    assert_eq!(nodes, Node::ALL.iter().map(|node| node.name()).collect());
}

/// Name, node and address of the pods of `web`.
fn pods(cluster: &Cluster) -> Vec<(String, String, IpAddr)> {
    let pods: Value = cluster.kubectl_json(&["get", "pods", "-l", "app=web"]).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pod = |pod: &Value| {
        let address = text(&pod["status"]["podIP"]).parse().unwrap();
        (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]), address)
    };
    pods["items"].as_array().unwrap().iter().map(pod).collect()
}

fn service(address: impl Into<IpAddr>) -> Url {
    Url(SocketAddr::new(address.into(), 80))
}

fn a_service_with_a_status_is_reached_through_kube_proxy(cluster: &Cluster) {
    let ingress =
        format!("{{\"loadBalancer\": {{\"ingress\": [{{\"ip\": \"{IPV4}\"}}, {{\"ip\": \"{IPV6}\"}}]}}}}");
    cluster.patch_status("default", "service/web", &ingress).unwrap();
    let (ipv4, ipv6) = (node(1).ipv4(), node(1).ipv6());
    let routes = format!("route replace {IPV4}/32 via {ipv4}\nroute replace {IPV6}/128 via {ipv6}");
    cluster.router().ip_batch(&routes).unwrap();
    for url in [service(IPV4), service(IPV6)] {
        wait_for("the client gets an answer", SOON, || {
            cluster.get(&cluster.client(), url).map_err(|error| format!("{error:#}"))
        })
        .unwrap();
    }
    let requests = cluster.requests(Load::burst(&[service(IPV4)], 60)).unwrap();
    let report = requests.stop().unwrap();
    assert_eq!((report.requests(), report.failed()), (60, 0), "{report}");
    let answers = report.of(service(IPV4)).answers;
    let nodes: BTreeSet<_> = answers.keys().filter_map(|answer| answer.split(' ').nth(1)).collect();
    assert_eq!(nodes.len(), Node::ALL.len(), "kube-proxy spreads over all nodes: {answers:?}");
}

fn a_pod_that_says_it_is_unready_gets_no_requests(cluster: &Cluster) {
    let ready = || -> Result<u64, String> {
        let set: Value =
            cluster.kubectl_json(&["get", "daemonset", "web"]).map_err(|error| format!("{error:#}"))?;
        Ok(set["status"]["numberReady"].as_u64().unwrap_or_default())
    };
    let expect = |wanted: u64| {
        wait_for(&format!("{wanted} pods are ready"), SOON, || match ready()? {
            count if count == wanted => Ok(()),
            count => Err(format!("{count} are")),
        })
        .unwrap();
    };
    let (_, _, address) = pods(cluster)[0];
    let switch = |path: &str| {
        let mut curl = cluster.router().command("curl");
        output_of(curl.args(["-sf", "-X", "POST", &format!("http://{address}:8080/{path}")])).unwrap();
    };
    switch("unready");
    expect(2);
    switch("ready");
    expect(3);
}

fn a_pod_answers_exec_and_reaches_other_pods(cluster: &Cluster) {
    let pods = pods(cluster);
    let (asking, _, _) = &pods[0];
    for (name, node, address) in &pods[1..] {
        let url = format!("http://{address}:8080/");
        let answer = cluster.kubectl(&["exec", asking, "--", "/test-pod", "get", &url]).unwrap();
        assert_eq!(answer.trim(), format!("{name} {node}"));
    }
}

fn frr_listens_for_every_node(cluster: &Cluster) {
    let frr = cluster.start_frr().unwrap();
    cluster.start_frr().unwrap();
    let neighbors = bellhop_lab::observe::bgp::neighbors(&frr).unwrap();
    assert_eq!(neighbors.len(), Node::ALL.len());
    let summary: Value = frr.bgpd_json("show bgp summary json").unwrap();
    assert_eq!(summary["ipv4Unicast"]["as"], bellhop_test_cluster::network::ROUTER_ASN);
    let from = cluster.network_of(node(2));
    let address = SocketAddr::new(bellhop_test_cluster::network::ROUTER_IPV4.into(), 179);
    bellhop_test_cluster::network::inside(&from, || std::net::TcpStream::connect_timeout(&address, SOON))
        .unwrap()
        .unwrap();
}

fn the_routers_configuration_can_be_changed(cluster: &Cluster) {
    let frr = cluster.frr();
    let router = format!("router bgp {}", bellhop_test_cluster::network::ROUTER_ASN);
    frr.configure_bgpd(&[&router, "neighbor NODES password hush"]).unwrap();
    assert!(frr.bgpd("show running-config").unwrap().contains("neighbor NODES password hush"));
    frr.configure_bgpd(&[&router, "no neighbor NODES password"]).unwrap();
    let refused = frr.configure_bgpd(&[&router, "neighbor NODES colour blue"]).unwrap_err().to_string();
    assert!(refused.contains("refuses `neighbor NODES colour blue`"), "{refused}");
}

fn a_change_of_a_route_is_recorded(cluster: &Cluster) {
    let mut recording = cluster.record_routes("test").unwrap();
    let address = Ipv4Addr::new(203, 0, 113, 99);
    let via = node(2).ipv4();
    cluster.router().ip_batch(&format!("route add {address} via {via}\nroute del {address}")).unwrap();
    assert_eq!(recording.deletions_of(&[address.into()]).unwrap().len(), 1);
}

/// A cluster's answer within two seconds, or none.
fn answers_at_once(cluster: &Cluster, args: &[&str]) -> bool {
    finished(cluster.kubectl_command().args(args).arg("--request-timeout=2s")).unwrap().status.success()
}

fn a_frozen_kubelet_answers_again_when_it_is_thawed(cluster: &Cluster) {
    let stats = format!("/api/v1/nodes/{}/proxy/healthz", node(3).name());
    cluster.freeze(node(3), Program::Kubelet).unwrap();
    assert!(!answers_at_once(cluster, &["get", "--raw", &stats]));
    cluster.thaw(node(3), Program::Kubelet).unwrap();
    wait_for("the kubelet answers", SOON, || match answers_at_once(cluster, &["get", "--raw", &stats]) {
        true => Ok(()),
        false => Err("no answer".into()),
    })
    .unwrap();
}

/// True if a URL of the API answers on a node.
fn reaches(cluster: &Cluster, from: Node, address: &str) -> bool {
    let mut curl = cluster.on(from, "curl");
    finished(curl.args(["-ksf", "-m", "1", &format!("https://{address}/readyz")])).unwrap().status.success()
}

/// What a node's network sends to the API directly, as the kubelet does, and what pods send.
const DIRECT: &str = "192.0.2.10:6443";
const BY_SERVICE: &str = "10.96.0.1";

fn pods_are_cut_off_from_the_api_while_the_kubelet_reports(cluster: &Cluster) {
    cluster.cut(node(2), Cut::PodsApi).unwrap();
    assert!(reaches(cluster, node(2), DIRECT) && !reaches(cluster, node(2), BY_SERVICE));
    cluster.mend(node(2)).unwrap();
    assert!(reaches(cluster, node(2), BY_SERVICE));
}

fn a_node_cut_off_from_the_api_still_serves(cluster: &Cluster) {
    cluster.cut(node(1), Cut::Api).unwrap();
    assert!(!reaches(cluster, node(1), DIRECT) && !reaches(cluster, node(1), BY_SERVICE));
    cluster.get(&cluster.client(), service(IPV4)).unwrap();
    cluster.mend(node(1)).unwrap();
    cluster.cut(node(1), Cut::Link).unwrap();
    cluster.get(&cluster.client(), service(IPV4)).unwrap_err();
    cluster.mend(node(1)).unwrap();
    wait_for("the client gets an answer", SOON, || {
        cluster.get(&cluster.client(), service(IPV4)).map_err(|error| format!("{error:#}"))
    })
    .unwrap();
}

fn a_node_without_power_is_noticed_and_comes_back_as_another_boot(cluster: &Cluster) {
    let name = node(3).name();
    let look = || -> Result<Value, String> {
        cluster.kubectl_json(&["get", "node", &name]).map_err(|error| format!("{error:#}"))
    };
    let boot_id = |node: &Value| node["status"]["nodeInfo"]["bootID"].clone();
    let first = boot_id(&look().unwrap());
    cluster.kill_node(node(3)).unwrap();
    assert!(finished(&mut cluster.on(node(3), "true")).unwrap().status.code() != Some(0));
    wait_for("the dead node is noticed", NOTICED, || {
        let node = look()?;
        if condition(&node, "Ready") == "Unknown" { Ok(()) } else { Err(condition(&node, "Ready")) }
    })
    .unwrap();
    let image = load_an_image(cluster);
    cluster.boot_node(node(3)).unwrap();
    wait_for("the node is ready after another boot", NOTICED, || {
        let node = look()?;
        let up = condition(&node, "Ready") == "True" && boot_id(&node) != first;
        if up { Ok(()) } else { Err(condition(&node, "Ready")) }
    })
    .unwrap();
    // Its pods come back too, from the images on its disk.
    cluster.kubectl(&["rollout", "status", "daemonset/web", "--timeout=60s"]).unwrap();
    for node in Node::ALL {
        let images =
            output_of(cluster.on(node, "ctr").args(["-n", "k8s.io", "images", "list", "-q"])).unwrap();
        assert!(images.lines().any(|line| line == image), "{} lacks {image}: {images}", node.name());
    }
}

/// Makes an image and loads it into the nodes; returns its name.
fn load_an_image(cluster: &Cluster) -> String {
    let name = "localhost/bellhop/whole-test:1";
    let folder = cluster.state().join("whole-test");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), "content").unwrap();
    let tar = cluster.state().join("whole-test.tar");
    let mut make = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/image/oci-tar.sh"));
    output_of(make.arg(&tar).arg(name).arg(&folder).arg("/file")).unwrap();
    cluster.load_image(&tar).unwrap();
    name.to_owned()
}
