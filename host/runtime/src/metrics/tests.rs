//! The declarations against the rules, and the reference against the declarations.

mod reference;

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

#[test]
fn names_say_whose_they_are_in_which_unit_and_whether_they_only_grow() {
    let mut seen = BTreeSet::new();
    for declared in TABLE {
        let name = declared.name;
        assert!(seen.insert(name), "{name} is declared twice");
        assert!(name.starts_with("bellhop_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), declared.kind == Kind::Counter, "{name}");
        if declared.kind == Kind::Histogram {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        assert!(!declared.help.ends_with('.') && !declared.help.contains('\n'), "{name}: {}", declared.help);
    }
}

#[test]
fn no_label_can_carry_a_service_an_address_or_an_error_text() {
    for declared in TABLE {
        for label in declared.labels {
            let forbidden =
                ["service", "namespace", "address", "ip", "error", "message", "node", "uid", "pod"];
            assert!(!forbidden.contains(&label.name), "{} has label {}", declared.name, label.name);
            if let Domain::OneOf(values) = label.values {
                assert!((2..=20).contains(&values.len()), "{}: {}", declared.name, label.name);
            }
        }
    }
}

#[test]
fn what_is_gone_when_its_owner_measures_again_is_gone_from_the_next_scrape() {
    let metrics = Metrics::new(Form::Speaker);
    let peer = |name: &str| ByPeer { peer: Peer(name.into()) };
    metrics.session_up.replace([(peer("a"), 1.0), (peer("b"), 0.0)]);
    let text = metrics.render(Exposition::Text);
    assert!(text.contains("bellhop_bgp_session_up{peer=\"a\"} 1.0\n"), "{text}");
    assert!(text.contains("bellhop_bgp_session_up{peer=\"b\"} 0.0\n"), "{text}");
    metrics.session_up.replace([(peer("b"), 1.0)]);
    let text = metrics.render(Exposition::Text);
    assert!(!text.contains("peer=\"a\""), "{text}");
}

#[test]
fn of_two_values_with_the_same_labels_the_later_one_is_exposed_alone() {
    let values: Values<ByPeer> = Values::default();
    let peer = ByPeer { peer: Peer("a".into()) };
    values.replace([(peer.clone(), 1.0), (peer.clone(), 2.0)]);
    assert_eq!(values.values(), [(peer, 2.0)]);
}

#[test]
fn a_value_that_nobody_has_set_is_not_exposed() {
    let metrics = Metrics::new(Form::Controller);
    assert!(!metrics.render(Exposition::Text).contains("bellhop_leader"));
    metrics.leader.set_bool(false);
    assert!(metrics.render(Exposition::Text).contains("\nbellhop_leader 0.0\n"));
}

#[test]
fn each_form_exposes_its_own_metrics_only() {
    for (form, has, has_not) in [
        (Form::Standalone, "bellhop_planning_slice_duration_seconds", "bellhop_api_reachable"),
        (Form::Speaker, "bellhop_api_reachable", "bellhop_allocation_duration_seconds"),
        (Form::Controller, "bellhop_allocation_duration_seconds", "bellhop_planning_slice_duration_seconds"),
    ] {
        let metrics = Metrics::new(form);
        metrics.api_reachable.set_bool(true);
        let text = metrics.render(Exposition::Text);
        assert!(text.contains(has), "{form:?} lacks {has}\n{text}");
        assert!(!text.contains(has_not), "{form:?} has {has_not}\n{text}");
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("bellhop_build_info{{version=\"{version}\",form=\"{}\"}} 1.0\n", form.as_str());
        assert!(text.contains(&build), "{text}");
    }
}

#[test]
fn calls_of_the_api_server_are_counted_by_kind_verb_and_result_and_reads_are_not() {
    let metrics = Metrics::new(Form::Controller);
    metrics.set_api_writes([
        ("AddressClaim", "create", "ok", 3),
        ("AddressClaim", "create", "exists", 1),
        ("AddressClaim", "create", "conflict", 1),
        ("Widget", "delete", "something new", 1),
        ("Service", "get", "ok", 9),
    ]);
    let text = metrics.render(Exposition::Text);
    let mut lines: Vec<_> =
        text.lines().filter(|line| line.starts_with("bellhop_api_writes_total")).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "bellhop_api_writes_total{kind=\"AddressClaim\",verb=\"create\",result=\"conflict\"} 2.0",
            "bellhop_api_writes_total{kind=\"AddressClaim\",verb=\"create\",result=\"ok\"} 3.0",
            "bellhop_api_writes_total{kind=\"Other\",verb=\"delete\",result=\"unavailable\"} 1.0",
        ]
    );
}

#[test]
fn recorded_events_are_exposed_under_their_labels() {
    let metrics = Metrics::new(Form::Controller);
    let conflict = ClaimWrite { verb: Verb::Create, result: WriteResult::Conflict };
    metrics.claim_writes.inc(&conflict);
    metrics.claim_writes.inc(&conflict);
    assert_eq!(metrics.claim_writes.count(&conflict), 2);
    metrics.allocation_duration.observe(Duration::from_millis(30));
    let text = metrics.render(Exposition::Text);
    for line in [
        "# TYPE bellhop_claim_writes_total counter",
        "bellhop_claim_writes_total{verb=\"create\",result=\"conflict\"} 2",
        "bellhop_allocation_duration_seconds_bucket{le=\"0.025\"} 0",
        "bellhop_allocation_duration_seconds_bucket{le=\"0.05\"} 1",
        "bellhop_allocation_duration_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing\n{text}");
    }
    assert!(metrics.render(Exposition::OpenMetrics).ends_with("# EOF\n"));
}

#[test]
fn a_reason_that_is_not_one_word_in_camel_case_is_exposed_as_other() {
    assert_eq!(Reason::new("PoolExhausted").text(), "PoolExhausted");
    for text in ["", "connection refused", "lowercase", "A\"b", &"A".repeat(65)] {
        assert_eq!(Reason::new(text).text(), "Other", "{text:?}");
    }
}
