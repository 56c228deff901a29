//! Tests of the catalogue's page.

use super::*;

const ONE: Case = Case { id: "x-1", at: &["unit", "lab"], proves: "First.", otherwise: None };
const TWO: Case = Case { id: "x-2", at: &["lab: BIRD"], proves: "Second.", otherwise: None };
const THREE: Case = Case { id: "x-3", at: &[], proves: "Third.", otherwise: Some("It is silly.") };
const FIXTURE: &[(&str, &[Case])] = &[("A group", &[ONE, TWO]), ("Another", &[THREE])];

const SOURCE: &str = "
/// Words.
// case: x-1, x-2
#[test]
fn a_sentence_that_holds() {}

#[test]
fn another_that_names_nothing() {}

    // case: x-2
    // case: x-1
    #[tokio::test(flavor = \"current_thread\")]
    #[should_panic]
    async fn a_slow_one() {
";

fn test(layer: &'static str, name: &str, cases: &[&str]) -> Test {
    let cases = cases.iter().map(|id| (*id).to_owned()).collect();
    Test { layer, file: "host/a/src/b.rs".into(), name: name.into(), cases }
}

#[test]
fn a_test_is_found_by_the_comment_right_above_its_attribute() {
    let (tests, broken) = scan("host/a/src/b.rs", SOURCE);
    assert_eq!(broken, [""; 0]);
    let slow = test("unit", "a_slow_one", &["x-2", "x-1"]);
    assert_eq!(tests, [test("unit", "a_sentence_that_holds", &["x-1", "x-2"]), slow]);
}

#[test]
fn an_end_to_end_case_is_found_by_the_comment_right_above_its_entry() {
    let table = "pub const ALL: &[Case] = &[\n    // case: x-1\n    Case {\n        name: \"9-password\",\n        run: passwords::waits,\n    },\n];\n";
    let (tests, broken) = scan("tests/e2e/src/cases.rs", table);
    assert_eq!(broken, [""; 0]);
    let found: Vec<_> = tests.iter().map(|test| (test.layer, test.name.as_str())).collect();
    assert_eq!(found, [("lab: cluster", "9-password")]);
}

#[test]
fn a_comment_that_stands_above_no_test_is_a_broken_rule() {
    for text in [
        "// case: x-1\nfn helper() {}\n\n#[test]\nfn a_test() {}\n",
        "// case: x-1\n\n#[test]\nfn a_test() {}\n",
        "// case: x-1\n/// Words.\n#[test]\nfn a_test() {}\n",
        "fn f() {}\n// case: x-1",
    ] {
        let (tests, broken) = scan("host/a/src/b.rs", text);
        assert_eq!((tests.len(), broken.len()), (0, 1), "{text}");
        assert!(broken[0].ends_with("`// case:` stands right above no test"), "{broken:?}");
    }
}

#[test]
fn the_layer_follows_from_the_path() {
    for (file, expected) in [
        ("host/bgp/src/tests/opens.rs", "unit"),
        ("host/core/src/announce/tests/aggregate.rs", "unit"),
        ("host/bgp/src/tests/simulation.rs", "simulation"),
        ("host/speaker/tests/loopback/main.rs", "loopback"),
        ("host/speaker/tests/bgp_frr/security.rs", "lab: FRR"),
        ("tests/interop/tests/bird/md5.rs", "lab: BIRD"),
        ("tests/lab/tests/stop.rs", "lab: FRR"),
        ("tests/e2e/src/cases.rs", "lab: cluster"),
        ("host/net/tests/security.rs", "lab: kernel"),
        ("host/bellhop/tests/standalone/life.rs", "process"),
        ("tests/other/tests/a.rs", "lab"),
    ] {
        assert_eq!(layer(file), expected, "{file}");
    }
    assert!(reaches("lab: FRR", "lab") && reaches("lab", "lab") && reaches("lab: FRR", "lab: FRR"));
    assert!(!reaches("lab: FRR", "lab: BIRD") && !reaches("unit", "lab") && !reaches("laboratory", "lab"));
}

#[test]
fn a_name_that_is_in_no_catalogue_is_a_broken_rule() {
    let broken = contradictions(FIXTURE, &[test("unit", "a", &["x-1", "x-9"])]);
    assert_eq!(broken.len(), 1);
    assert!(
        broken[0].starts_with("host/a/src/b.rs: a says that it proves \"x-9\", and there is no"),
        "{broken:?}"
    );
}

#[test]
fn a_case_that_is_decided_otherwise_has_no_test() {
    let broken = contradictions(FIXTURE, &[test("unit", "a", &["x-3"])]);
    assert_eq!(broken.len(), 1);
    assert!(broken[0].contains("\"x-3\"") && broken[0].ends_with("decided otherwise"), "{broken:?}");
}

#[test]
fn the_page_shows_each_case_with_its_tests_its_reason_or_as_open() {
    let page = page(FIXTURE, &[test("unit", "a", &["x-1"]), test("simulation", "b", &["x-1"])]);
    let (head, body) = page.split_once("\n## A group\n").unwrap();
    assert_eq!(
        head.split_once("FRR) |\n").unwrap().1,
        "\nOf 3 cases 0 are proven.\n\n1 proven, but not at every layer:\nx-1.\n\n1 decided otherwise:\nx-3.\n\n1 open:\nx-2.\n"
    );
    assert_eq!(
        body,
        "
| case | what it proves | layer | test |
|---|---|---|---|
| x-1 | First. | unit | [`a`](../../host/a/src/b.rs) |
|  |  | simulation | [`b`](../../host/a/src/b.rs) |
|  |  | lab | **open** |
| x-2 | Second. | lab: BIRD | **open** |

## Another

| case | what it proves | layer | test |
|---|---|---|---|
| x-3 | Third. | decided otherwise | It is silly. |
"
    );
}

#[test]
fn a_case_is_proven_once_every_layer_has_a_test() {
    let tests = [
        test("unit", "a", &["x-1"]),
        test("lab: FRR", "b", &["x-1", "x-2"]),
        test("lab: BIRD", "c", &["x-2"]),
    ];
    let page = page(FIXTURE, &tests);
    assert!(page.contains("\nOf 3 cases 2 are proven.\n") && !page.contains("**open**"), "{page}");
}

#[test]
fn a_page_that_differs_is_told_with_its_first_line_that_does() {
    assert_eq!(differs("a\nb\n", "a\nb\n"), None);
    for (found, line) in [("a\nc\n", 2), ("", 1), ("a\n", 2), ("a\nb\nc\n", 3)] {
        let told = differs(found, "a\nb\n").unwrap();
        assert!(told.starts_with(&format!("docs/reference/bgp-cases.md:{line}: ")), "{told}");
    }
}

#[test]
fn the_tree_is_looked_at_where_tests_are_and_the_page_is_written_only_where_every_comment_is_right() {
    let root = tempfile::tempdir().unwrap();
    let write_file = |file: &str, text: &str| {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write_file("host/a/src/b.rs", "// case: bgp-15\n#[test]\nfn a() {}\n");
    write_file("host/a/src/a_simulation.rs", "// case: bgp-15\n#[test]\nfn b() {}\n");
    write_file("tests/lab/tests/a.rs", "// case: bgp-15\n#[test]\nfn c() {}\n");
    write_file("xtask/src/c.rs", "// case: no-such-case\n#[test]\nfn a() {}\n");
    write_file("docs/reference/other.md", "");
    assert_eq!(broken(root.path()).unwrap().len(), 1, "the page is missing");
    assert_eq!(write(root.path()).unwrap(), [""; 0]);
    assert_eq!(broken(root.path()).unwrap(), [""; 0]);
    let page = std::fs::read_to_string(root.path().join(PAGE)).unwrap();
    let names = ["[`a`]", "[`b`]", "[`c`]"].map(|name| page.find(name).expect("it is on the page"));
    assert!(names.is_sorted(), "unit, simulation, lab");
    write_file("tests/d/src/e.rs", "// case: bgp-43\n#[test]\nfn a() {}\n");
    assert_eq!(write(root.path()).unwrap().len(), 1, "bgp-43 is decided otherwise");
    write_file("tests/d/src/e.rs", "// case: bgp-15\n#[test]\nfn a() {}\n");
    assert_eq!(broken(root.path()).unwrap().len(), 1, "the page is not what it was");
}

#[test]
fn the_catalogue_has_every_case_once_and_in_order_and_no_text_breaks_its_table() {
    let ids: Vec<&str> = CATALOGUE.iter().flat_map(|(_, cases)| *cases).map(|case| case.id).collect();
    let rows = [65..=66, 72..=75, 77..=88, 92..=118].into_iter().flatten();
    let wanted: Vec<String> =
        (1..=74).map(|n| format!("bgp-{n}")).chain(rows.map(|n| format!("peers-{n}"))).collect();
    assert_eq!(ids, wanted);
    for case in CATALOGUE.iter().flat_map(|(_, cases)| *cases) {
        let text = format!("{}{}", case.proves, case.otherwise.unwrap_or_default());
        assert!(!text.contains('|') && !text.contains('\n') && !text.contains("  "), "{text}");
        assert!(text.ends_with('.') || text.ends_with(')'), "{text}");
        assert_eq!(case.at.is_empty(), case.otherwise.is_some(), "{}", case.id);
        for layer in case.at {
            assert!(
                LAYERS.iter().any(|(_, known)| reaches(known, layer)),
                "{}: no test can be at {layer}",
                case.id
            );
        }
    }
}
