//! What the chart renders and refuses. Needs helm (built when it is missing), no cluster and no root.

#![allow(clippy::unwrap_used, reason = "in a test, whatever fails fails it")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use bellhop_chart_tests::{
    NAMESPACE, Object, RELEASE, Rendering, chart, combinations, find, helm, read, renderings, run, values,
};
use serde_json::{Value, json};

/// Minor version of Kubernetes 1 in which each API that the chart uses became available.
const SINCE: &[(&str, &str, u32)] = &[
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", 30),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", 30),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", 16),
    ("apps/v1", "DaemonSet", 9),
    ("apps/v1", "Deployment", 9),
    ("batch/v1", "Job", 5),
    ("monitoring.coreos.com/v1", "PodMonitor", 0),
    ("monitoring.coreos.com/v1", "PrometheusRule", 0),
    ("monitoring.coreos.com/v1", "ServiceMonitor", 0),
    ("networking.k8s.io/v1", "NetworkPolicy", 7),
    ("policy/v1", "PodDisruptionBudget", 21),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", 8),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", 8),
    ("rbac.authorization.k8s.io/v1", "Role", 8),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", 8),
    ("v1", "ConfigMap", 0),
    ("v1", "Pod", 0),
    ("v1", "Service", 0),
    ("v1", "ServiceAccount", 0),
];

/// Minor version in which new expressions may use functions of CEL: one after the library came, because of rollbacks
/// (`k8s.io/apiserver/pkg/cel/environment`, `DefaultCompatibilityVersion`). Older ones are not listed.
const CEL_SINCE: &[(&str, u32)] = &[
    ("isIP(", 31),
    ("ip(", 31),
    ("isCIDR(", 31),
    ("cidr(", 31),
    ("format.", 32),
    ("fieldSelector(", 32),
    ("labelSelector(", 32),
    ("transformList(", 33),
    ("transformMap(", 33),
    ("semver(", 34),
    ("isSemver(", 34),
    (".distinct(", 35),
    (".flatten(", 35),
    (".sortBy(", 35),
];

/// Fields of pods that came late, where the chart uses them.
const FIELDS_SINCE: &[(&str, u32)] = &[("matchLabelKeys", 27), ("unhealthyPodEvictionPolicy", 27)];

fn objects(rendering: &Rendering) -> Vec<Object> {
    rendering.objects().unwrap_or_else(|error| panic!("{}: {error:#}", rendering.name()))
}

/// The minor version that Chart.yaml asks for.
fn oldest() -> u32 {
    let chart: Value = serde_saphyr::from_str(&read("charts/bellhop/Chart.yaml").unwrap()).unwrap();
    let version = chart["kubeVersion"].as_str().unwrap();
    version.strip_prefix(">=1.").and_then(|rest| rest.strip_suffix(".0-0")).unwrap().parse().unwrap()
}

#[test]
fn helm_finds_nothing_to_say_about_the_chart() {
    for rendering in [vec![Rendering::new()], combinations().unwrap()].concat() {
        let args = rendering
            .args()
            .iter()
            .filter(|arg| !arg.contains("monitoring.coreos.com") && *arg != "--api-versions");
        let mut command = helm().unwrap();
        command.args(["lint", "--strict", "--quiet"]).arg(chart()).args(args);
        // `helm lint` knows no cluster, so that a monitor cannot be rendered there.
        let text = run(&mut command).or_else(|error| match error.to_string() {
            text if text.contains("has no monitoring.coreos.com/v1") => Ok(String::new()),
            _ => Err(error),
        });
        assert_eq!(text.unwrap().trim(), "", "{}", rendering.name());
    }
}

#[test]
fn every_switch_changes_what_is_rendered() {
    let as_it_is = Rendering::new().with_monitoring().text().unwrap();
    for (path, on) in values::switches().unwrap() {
        let rendering = Rendering::new().with_monitoring().set(&format!("{path}={}", !on));
        objects(&rendering);
        assert_ne!(rendering.text().unwrap(), as_it_is, "{path} changes nothing");
    }
}

#[test]
fn the_same_values_always_render_the_same_text() {
    for rendering in renderings().unwrap() {
        assert_eq!(rendering.text().unwrap(), rendering.text().unwrap(), "{}", rendering.name());
    }
}

#[test]
fn templates_ask_no_cluster_and_no_dice() {
    for file in walk("charts/bellhop/templates") {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["lookup ", "randAlpha", "randNumeric", "uuidv4", "genCA", "genSelfSigned", " now"] {
            assert!(
                !text.contains(&format!("{{{{ {word}")) && !text.contains(&format!("({word}")),
                "{file}: {word}"
            );
        }
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_what_would_be_right() {
    for (assignment, expected) in [
        ("controller.replcas=3", "at '/controller': additional properties 'replcas' not allowed"),
        ("controller.replicas=0", "at '/controller/replicas': minimum: got 0, want 1"),
        ("controller.replicas=two", "at '/controller/replicas': got string, want integer"),
        ("speaker.port=179", "at '/speaker/port': minimum: got 179, want 1,024"),
        (
            "speaker.extraCapabilities={SYS_ADMIN}",
            "at '/speaker/extraCapabilities/0': value must be one of 'NET_BIND_SERVICE', 'NET_RAW'",
        ),
        (
            "speaker.terminationGracePeriodSeconds=5",
            "at '/speaker/terminationGracePeriodSeconds': minimum: got 5, want 20",
        ),
        ("speaker.stateDirectory=bellhop", "at '/speaker/stateDirectory': 'bellhop' does not match pattern"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        (
            "image.pullPolicy=Sometimes",
            "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        ("log.format=xml", "at '/log/format': value must be one of 'json', 'text'"),
        ("classless=perhaps", "at '/classless': got string, want boolean"),
        ("fullnameOverride=Bellhop", "at '/fullnameOverride': 'Bellhop' does not match pattern"),
    ] {
        let error = Rendering::new().set(assignment).text().unwrap_err().to_string();
        assert!(error.contains(expected), "{assignment} gives: {error}");
    }
}

#[test]
fn a_monitor_without_the_operators_api_says_what_to_install() {
    for (switch, kind) in [
        ("podMonitor", "PodMonitor"),
        ("serviceMonitor", "ServiceMonitor"),
        ("prometheusRule", "PrometheusRule"),
    ] {
        let error =
            Rendering::new().set(&format!("metrics.{switch}.enabled=true")).text().unwrap_err().to_string();
        let expected = format!(
            "metrics.{switch}.enabled is true, but the cluster has no monitoring.coreos.com/v1/{kind}"
        );
        assert!(error.contains(&expected), "{error}");
    }
    let both =
        Rendering::new().set("metrics.podMonitor.enabled=true").set("metrics.serviceMonitor.enabled=true");
    let error = both.with_monitoring().text().unwrap_err().to_string();
    assert!(error.contains("choose one"), "{error}");
}

#[test]
fn every_api_field_and_function_of_cel_exists_in_the_oldest_kubernetes() {
    let oldest = oldest();
    let since: BTreeMap<_, _> =
        SINCE.iter().map(|(version, kind, since)| ((*version, *kind), *since)).collect();
    for rendering in renderings().unwrap() {
        for object in objects(&rendering) {
            let key = (object.api_version(), object.kind());
            let since = since.get(&key).unwrap_or_else(|| panic!("{key:?} is not in the table of this test"));
            assert!(*since <= oldest, "{} is there since 1.{since}", object.title());
            let text = object.0.to_string();
            for (function, since) in CEL_SINCE.iter().chain(FIELDS_SINCE) {
                let used = text.match_indices(function).any(|(at, _)| {
                    let before = text[..at].chars().next_back().unwrap_or(' ');
                    function.starts_with('.') || !before.is_ascii_alphanumeric()
                });
                assert!(
                    !used || *since <= oldest,
                    "{} uses {function}, there since 1.{since}",
                    object.title()
                );
            }
        }
    }
    let newest_used = CEL_SINCE.iter().filter(|(function, _)| {
        let text = Rendering::new().text().unwrap();
        text.contains(function)
    });
    assert_eq!(
        newest_used.map(|(_, since)| *since).max(),
        Some(oldest),
        "Chart.yaml asks for more than is used"
    );
    let older = Rendering::new().arg("--kube-version").arg(&format!("1.{}.9", oldest - 1));
    let error = older.text().unwrap_err().to_string();
    assert!(error.contains("kubeVersion"), "{error}");
}

#[test]
fn the_crds_are_those_of_the_repository_and_are_kept_on_uninstall() {
    let rendered = objects(&Rendering::new());
    let mut names = BTreeSet::new();
    for file in walk("crds") {
        let text = std::fs::read_to_string(&file).unwrap();
        let committed: Value = serde_saphyr::from_str(&text).unwrap();
        let name = committed["metadata"]["name"].as_str().unwrap();
        let object = find(&rendered, "CustomResourceDefinition", name);
        assert_eq!(object.annotation("helm.sh/resource-policy"), Some("keep"), "{name}");
        assert_eq!(object.0["spec"], committed["spec"], "{name}");
        names.insert(name.to_owned());
    }
    let crds = rendered.iter().filter(|object| object.kind() == "CustomResourceDefinition");
    assert_eq!(crds.map(|object| object.name().to_owned()).collect::<BTreeSet<_>>(), names);
}

#[test]
fn every_object_bears_the_labels_by_which_it_is_found() {
    for rendering in renderings().unwrap() {
        for object in objects(&rendering) {
            let labels = &object.0["metadata"]["labels"];
            for key in ["name", "instance", "version", "part-of", "managed-by"] {
                let label = labels[format!("app.kubernetes.io/{key}")].as_str();
                assert!(label.is_some_and(|value| !value.is_empty()), "{} lacks {key}", object.title());
            }
            assert_eq!(labels["app.kubernetes.io/instance"], RELEASE);
        }
    }
}

#[test]
fn every_container_forgoes_what_it_does_not_need() {
    for rendering in renderings().unwrap() {
        for object in objects(&rendering) {
            let Some(pod) = object.pod() else { continue };
            let (title, speaker) = (object.title(), object.kind() == "DaemonSet");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{title}");
            assert_eq!(pod["securityContext"]["runAsUser"], if speaker { 0 } else { 65532 }, "{title}");
            assert_eq!(pod["hostNetwork"] == true, speaker, "{title}");
            for forbidden in ["hostPID", "hostIPC", "shareProcessNamespace"] {
                assert_eq!(pod[forbidden], Value::Null, "{title}");
            }
            let beside = pod["initContainers"].as_array().into_iter().flatten();
            for container in pod["containers"].as_array().unwrap().iter().chain(beside) {
                let context = &container["securityContext"];
                let speaker = speaker && container["name"] == "speaker";
                let user = context.get("runAsUser").unwrap_or(&pod["securityContext"]["runAsUser"]);
                assert_eq!(*user, if speaker { 0 } else { 65532 }, "{title}: {}", container["name"]);
                assert_eq!(context["allowPrivilegeEscalation"], false, "{title}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{title}");
                assert_eq!(context["privileged"], Value::Null, "{title}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{title}");
                let added = context["capabilities"]["add"].as_array().cloned().unwrap_or_default();
                let allowed = if speaker { &["NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"][..] } else { &[] };
                assert!(
                    added.iter().all(|name| allowed.iter().any(|allowed| name == allowed)),
                    "{title}: {added:?}"
                );
            }
        }
    }
    let speaker = find(&objects(&Rendering::new()), "DaemonSet", "bellhop-speaker").clone();
    assert_eq!(
        speaker.pod().unwrap()["containers"][0]["securityContext"]["capabilities"]["add"],
        json!(["NET_ADMIN"])
    );
}

#[test]
fn what_the_node_has_in_run_is_seen_by_nobody_who_could_use_it() {
    let speaker = find(&objects(&Rendering::new()), "DaemonSet", "bellhop-speaker").clone();
    let pod = speaker.pod().unwrap();
    let of_node = |volume: &&Value| volume.get("hostPath").is_some();
    let folders: BTreeMap<&str, &str> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_node)
        .map(|volume| (volume["name"].as_str().unwrap(), volume["hostPath"]["path"].as_str().unwrap()))
        .collect();
    let all = [("host-run", "/run"), ("run", "/run/bellhop"), ("state", "/var/lib/bellhop")];
    assert_eq!(folders, all.into());
    let mounts = |container: &Value| -> Vec<(String, bool)> {
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        mounts.map(|one| (one["name"].as_str().unwrap().to_owned(), one["readOnly"] == true)).collect()
    };
    let own = |name: &str, read_only| (name.to_owned(), read_only);
    // The sockets of the container runtime are in the node's /run: for root a read-only mount keeps nothing from it.
    assert_eq!(
        mounts(&pod["containers"][0]),
        [own("state", false), own("run", false), own("shutdown", true), own("tmp", false)]
    );
    let watch = &pod["initContainers"][0];
    assert_eq!(mounts(watch), [own("host-run", true), own("shutdown", false)]);
    assert_eq!(watch["securityContext"]["runAsNonRoot"], true);
    // A container beside the others, and not one that is to end before them.
    assert_eq!(watch["restartPolicy"], "Always");
    let args = |container: &Value, name: &str| -> Option<String> {
        let args = container["args"].as_array().unwrap().iter();
        args.filter_map(|arg| arg.as_str()?.strip_prefix(name)?.strip_prefix('=')).next().map(str::to_owned)
    };
    let at = |container: &Value, volume: &str| -> Option<String> {
        let mut mounts = container["volumeMounts"].as_array().unwrap().iter();
        Some(mounts.find(|one| one["name"] == volume)?["mountPath"].as_str()?.to_owned())
    };
    assert_eq!(args(watch, "--host-run"), at(watch, "host-run"));
    assert_eq!(args(watch, "--into"), at(watch, "shutdown"));
    assert_eq!(args(&pod["containers"][0], "--host-run"), at(&pod["containers"][0], "shutdown"));

    let without = Rendering::new().set("speaker.shutdownWatch.enabled=false");
    let speaker = find(&objects(&without), "DaemonSet", "bellhop-speaker").clone();
    let pod = speaker.pod().unwrap();
    assert_eq!(pod["initContainers"], Value::Null);
    assert_eq!(args(&pod["containers"][0], "--host-run"), None);
    assert_eq!(pod["volumes"].as_array().unwrap().iter().filter(of_node).count(), 2);
}

#[test]
fn a_plugin_can_be_compiled_within_the_default_memory_limits() {
    let rendered = objects(&Rendering::new());
    // The compiler gets half of what is left, at most 512 MiB; 256 MiB is above what either program holds by itself.
    for (kind, name) in [("Deployment", "bellhop-controller"), ("DaemonSet", "bellhop-speaker")] {
        let resources = &find(&rendered, kind, name).pod().unwrap()["containers"][0]["resources"];
        let limit = resources["limits"]["memory"].as_str().unwrap().strip_suffix("Mi").unwrap();
        assert_eq!((limit.parse::<u64>().unwrap() - 256) / 2, 512, "{name}");
        assert_eq!(resources["limits"]["cpu"], Value::Null, "{name}: throttled keepalives end sessions");
    }
}

#[test]
fn uninstalling_drains_with_rights_of_its_own_and_gives_the_slowest_speaker_its_time() {
    let rendering = Rendering::new().set("speaker.terminationGracePeriodSeconds=300");
    let rendered = objects(&rendering);
    let seconds = |value: &Value| value.as_u64().unwrap();
    let stop = seconds(
        &find(&rendered, "DaemonSet", "bellhop-speaker").pod().unwrap()["terminationGracePeriodSeconds"],
    );
    assert_eq!(stop, 300);
    let speaker = &find(&rendered, "DaemonSet", "bellhop-speaker").pod().unwrap()["containers"][0];
    let args = speaker["args"].as_array().unwrap();
    assert!(
        args.iter().any(|arg| arg == "--grace-period=300"),
        "it cannot tell that a drain does not fit: {args:?}"
    );
    let job = find(&rendered, "Job", "bellhop-drain");
    let args = job.pod().unwrap()["containers"][0]["args"].as_array().unwrap();
    let timeout =
        args.iter().find_map(|arg| arg.as_str()?.strip_prefix("--timeout=")?.strip_suffix('s')).unwrap();
    let timeout: u64 = timeout.parse().unwrap();
    assert!(timeout > stop, "drain gives up before the speakers are done");
    assert!(
        seconds(&job.0["spec"]["activeDeadlineSeconds"]) > timeout,
        "the job is killed before it can say why"
    );

    let weight = |object: &Object| object.annotation("helm.sh/hook-weight").unwrap().parse::<i32>().unwrap();
    for (kind, before) in [("ServiceAccount", "RoleBinding"), ("Role", "RoleBinding"), ("RoleBinding", "Job")]
    {
        let (first, second) =
            (find(&rendered, kind, "bellhop-drain"), find(&rendered, before, "bellhop-drain"));
        assert!(weight(first) < weight(second), "{before} comes before {kind}");
        for object in [first, second] {
            assert_eq!(object.annotation("helm.sh/hook"), Some("pre-delete"), "{}", object.title());
            assert_eq!(
                object.annotation("helm.sh/hook-delete-policy"),
                Some("before-hook-creation,hook-succeeded"),
                "{}",
                object.title()
            );
        }
    }
    assert_eq!(
        find(&rendered, "Role", "bellhop-drain").0["rules"],
        json!([{
            "apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": ["bellhop-speaker"],
            "verbs": ["get", "delete"],
        }])
    );
}

#[test]
fn every_right_is_in_the_reference_with_its_reason() {
    let page = read("docs/reference/rbac.md").unwrap();
    let rows: BTreeSet<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells.len() == 5 && !cells[4].is_empty())
        .map(|cells| cells[..4].to_vec())
        .collect();
    let mut found = BTreeSet::new();
    let rendered = objects(&Rendering::new());
    for object in rendered.iter().filter(|object| ["Role", "ClusterRole"].contains(&object.kind())) {
        let who = object.name().strip_prefix("bellhop-").unwrap();
        let scope = if object.kind() == "Role" { "namespace" } else { "cluster" };
        for rule in object.0["rules"].as_array().unwrap() {
            let words = |key: &str| -> Vec<String> {
                let list = rule[key].as_array().cloned().unwrap_or_default();
                list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
            };
            assert!(
                !words("verbs").contains(&"*".to_owned()) && !words("resources").contains(&"*".to_owned())
            );
            let names = words("resourceNames");
            for resource in words("resources") {
                let what = match names.as_slice() {
                    [] => format!("`{resource}`"),
                    names => format!(
                        "`{resource}` {}",
                        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                    ),
                };
                found.insert([who.to_owned(), scope.to_owned(), what, words("verbs").join(", ")]);
            }
        }
    }
    let missing: Vec<_> = found
        .iter()
        .filter(|row| !rows.contains(&row.iter().map(String::as_str).collect::<Vec<_>>()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/reference/rbac.md has no row (who, where, what, verbs, why) for {missing:#?}"
    );
    let found: BTreeSet<Vec<&str>> =
        found.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
    let given: Vec<_> = rows.iter().filter(|row| row[1] == "cluster" || row[1] == "namespace").collect();
    let too_much: Vec<_> = given.into_iter().filter(|row| !found.contains(*row)).collect();
    assert!(
        too_much.is_empty(),
        "docs/reference/rbac.md has rows for rights that the chart does not give: {too_much:#?}"
    );
}

#[test]
fn the_readme_lists_every_value() {
    let path = chart().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- values -->\n", "<!-- end of values -->");
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let table = values::table(&values::rows().unwrap());
    let expected = format!("{head}{begin}{table}{end}{tail}");
    if std::env::var_os("BELLHOP_WRITE_CHART").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        text == expected,
        "charts/bellhop/README.md is not what values.yaml gives; run `BELLHOP_WRITE_CHART=1 cargo test -p bellhop-chart-tests`"
    );
}

#[test]
fn the_chart_that_the_upgrade_starts_from_has_another_version() {
    let about: Value = serde_saphyr::from_str(&read("charts/bellhop/Chart.yaml").unwrap()).unwrap();
    let package = format!("{}-{}.tgz", about["name"].as_str().unwrap(), about["version"].as_str().unwrap());
    let previous: Vec<_> =
        walk("tests/e2e/previous").into_iter().filter(|file| file.ends_with(".tgz")).collect();
    assert_eq!(previous.len(), 1, "{previous:?}");
    assert!(
        !previous[0].ends_with(&package),
        "{package} is the version before; Chart.yaml needs the next one"
    );
}

#[test]
fn the_chart_is_of_the_programs_version_and_runs_what_make_image_makes() {
    let about: Value = serde_saphyr::from_str(&read("charts/bellhop/Chart.yaml").unwrap()).unwrap();
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    let made = read("xtask/src/image.rs").unwrap();
    let made = made
        .lines()
        .find_map(|line| line.strip_prefix("const NAME: &str = \"")?.strip_suffix("\";"))
        .unwrap();
    for object in objects(&Rendering::new()) {
        let containers = |key| object.pod().and_then(|pod| pod[key].as_array()).into_iter().flatten();
        for container in containers("containers").chain(containers("initContainers")) {
            assert_eq!(container["image"], made, "{}", object.title());
        }
    }
    let released = objects(&Rendering::new().set("image.tag="));
    let speaker = find(&released, "DaemonSet", "bellhop-speaker").pod().unwrap();
    assert_eq!(speaker["containers"][0]["image"], concat!("localhost/bellhop:", env!("CARGO_PKG_VERSION")));
}

#[test]
fn kubectl_bellhop_finds_the_speakers_by_what_the_chart_calls_them() {
    let tool = read("host/cli/src/cluster/speakers.rs").unwrap();
    let constant = |name: &str| {
        let start = format!("const {name}: &str = \"");
        let value = tool.lines().find_map(|line| line.split_once(&start)?.1.strip_suffix("\";"));
        value.unwrap_or_else(|| panic!("the tool has no {name}")).to_owned()
    };
    for rendering in combinations().unwrap() {
        let rendered = objects(&rendering);
        let speaker = rendered.iter().find(|object| object.kind() == "DaemonSet").unwrap();
        let labels = &speaker.0["spec"]["template"]["metadata"]["labels"];
        for wanted in constant("SPEAKERS").split(',') {
            let (key, value) = wanted.split_once('=').unwrap();
            assert_eq!(labels[key], value, "{}", rendering.name());
        }
        let container = &speaker.pod().unwrap()["containers"][0];
        assert_eq!(container["name"], constant("CONTAINER").as_str());
    }
    let program = constant("PROGRAM");
    assert!(
        read("xtask/src/image.rs")
            .unwrap()
            .contains(&format!("\"{}/{{}}\"", program[1..].rsplit_once('/').unwrap().0))
    );
}

/// Ports of MetalLB, some of them on the network of the node: BGP, metrics of controller and speaker, FRR's metrics, both of
/// them behind TLS, frr-k8s, membership, the webhook, and those of its newer releases.
const PORTS_OF_METALLB: [u64; 11] = [179, 7472, 7473, 17472, 17473, 7573, 7946, 9443, 9120, 9121, 9141];

#[test]
fn the_ports_are_none_of_those_that_metallb_uses() {
    let rendered = objects(&Rendering::new());
    let mut ports = Vec::new();
    for (kind, name) in [("Deployment", "bellhop-controller"), ("DaemonSet", "bellhop-speaker")] {
        for container in find(&rendered, kind, name).pod().unwrap()["containers"].as_array().unwrap() {
            for port in container["ports"].as_array().into_iter().flatten() {
                ports.push((name, port["containerPort"].as_u64().unwrap()));
            }
        }
    }
    assert_eq!(ports.len(), 2, "{ports:?}");
    // BGP's stands in no chart: it is that of a SpeakerConfig that says none.
    let settings = read("host/core/src/settings.rs").unwrap();
    let bgp = settings.lines().find_map(|line| {
        line.trim().strip_prefix("pub const LISTEN_PORT: u16 = ")?.strip_suffix(";")?.parse().ok()
    });
    ports.push(("BGP", bgp.expect("the core has a default port")));
    for (name, port) in ports {
        assert!(!PORTS_OF_METALLB.contains(&port), "{name} listens on {port}, as MetalLB does");
    }
}

#[test]
fn the_admission_policy_is_about_the_account_that_the_speakers_have() {
    for rendering in combinations().unwrap() {
        let rendered = objects(&rendering);
        let speaker = rendered.iter().find(|object| object.kind() == "DaemonSet").unwrap();
        let account = speaker.pod().unwrap()["serviceAccountName"].as_str().unwrap().to_owned();
        let Some(policy) = rendered.iter().find(|object| object.kind() == "ValidatingAdmissionPolicy") else {
            continue;
        };
        let condition = policy.0["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
        assert!(
            condition.ends_with(&format!("\"system:serviceaccount:{NAMESPACE}:{account}\"")),
            "{condition}"
        );
    }
}

#[test]
fn the_alerts_are_a_rule_file_of_prometheus() {
    let rules: Value = serde_saphyr::from_str(&read("charts/bellhop/files/alerts.yaml").unwrap()).unwrap();
    let rendering = Rendering::new().with_monitoring().set("metrics.prometheusRule.enabled=true");
    let rendered = objects(&rendering);
    assert_eq!(find(&rendered, "PrometheusRule", "bellhop").0["spec"], rules);
    let dashboard = Rendering::new().set("metrics.dashboard.enabled=true");
    let rendered = objects(&dashboard);
    let text = find(&rendered, "ConfigMap", "bellhop-dashboard").0["data"]["bellhop.json"].as_str().unwrap();
    let file: Value = serde_json::from_str(&read("charts/bellhop/files/dashboard.json").unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), file);
}

/// Every file below a folder of the repository.
fn walk(folder: &str) -> Vec<String> {
    let folder = bellhop_chart_tests::root().join(folder);
    let found = run(Command::new("find").arg(folder).args(["-type", "f"])).unwrap();
    found.lines().map(str::to_owned).collect()
}
