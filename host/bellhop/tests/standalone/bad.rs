//! Bad input: each gives one clear message in `bellhop status` and the log, all else goes on, and once it is repaired
//! the message is gone.

mod manifests;
mod plugins;

use crate::support::eventually;
use crate::support::process::{Process, Site};

/// Most that the whole list may cost a process above idle: the compiler is a process of its own.
const MEMORY_MAX: u64 = 64 << 20;

/// One bad input.
struct Case {
    /// Its name, for failures of the list.
    name: &'static str,
    /// Files to put in place, and what to remove or put back to repair it: `None` removes.
    bad: Vec<(&'static str, Vec<u8>)>,
    repair: Vec<(&'static str, Option<Vec<u8>>)>,
    /// The one problem: its object, field, value (the beginning of it), reason, and a part of what would be right.
    object: String,
    field: &'static str,
    value: String,
    reason: &'static str,
    says: &'static str,
}

impl Case {
    /// One file that is repaired by being removed.
    fn file(name: &'static str, file: &'static str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            bad: vec![(file, content.into())],
            repair: vec![(file, None)],
            object: String::new(),
            field: "",
            value: String::new(),
            reason: "",
            says: "",
        }
    }

    fn problem(
        mut self,
        object: &str,
        field: &'static str,
        value: &str,
        reason: &'static str,
        says: &'static str,
    ) -> Self {
        self.object = object.into();
        self.field = field;
        self.value = value.into();
        self.reason = reason;
        self.says = says;
        self
    }

    fn apply(&self, site: &Site) {
        for (file, content) in &self.bad {
            site.manifests.write(file, content);
        }
    }

    fn repair(&self, site: &Site) {
        for (file, content) in &self.repair {
            match content {
                Some(content) => site.manifests.write(file, content),
                None => site.manifests.remove(file),
            }
        }
    }

    /// Puts the input in place, looks at what is said of it, and repairs it again.
    fn prove(&self, site: &Site, process: &Process) {
        let object = self.object.replace("DIR", &site.manifests.path().to_string_lossy());
        let routes = process.routes();
        assert!(!routes.is_empty(), "{}: nothing is announced before", self.name);
        let logged = process.log().len();

        self.apply(site);
        let problem = eventually(self.name, || match process.problems().as_slice() {
            [problem] => Ok(problem.clone()),
            other => Err(format!("{} problems: {other:#?}\n{}", other.len(), process.log())),
        });
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let line = said(&problem);
        eprintln!("{line}");
        assert_eq!(named(&problem["object"]), object, "{}: {line}", self.name);
        assert_eq!(text("field"), self.field, "{}: {line}", self.name);
        assert_eq!(text("reason"), self.reason, "{}: {line}", self.name);
        assert!(text("value").starts_with(&self.value), "{}: value {}: {line}", self.name, self.value);
        assert!(text("message").contains(self.says), "{}: {}: {line}", self.name, self.says);
        readable(self.name, &problem);

        let log = process.log()[logged..].to_owned();
        // What a plugin itself logs is not ours.
        let ours = |line: &&str| !line.contains(": plugin: ");
        let warned: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
            .filter(ours)
            .collect();
        assert_eq!(warned.len(), 1, "{}: one line of log\n{log}", self.name);
        assert!(warned[0].contains(&*object), "{}: {}", self.name, warned[0]);
        assert!(warned[0].contains(self.says), "{}: {}", self.name, warned[0]);
        assert_eq!(process.routes(), routes, "{}: everything else goes on", self.name);

        self.repair(site);
        eventually(self.name, || match process.problems().as_slice() {
            [] => Ok(()),
            left => Err(format!("the message stays after the repair: {left:#?}\n{}", process.log())),
        });
        assert_eq!(process.routes(), routes, "{}: the repair changes nothing else", self.name);
    }
}

/// An object reference of JSON, as messages name it.
fn named(object: &serde_json::Value) -> String {
    let text = |name: &str| object[name].as_str();
    let (kind, name) = (text("kind").unwrap_or_default(), text("name").unwrap_or_default());
    match text("namespace") {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None if name.starts_with('/') => format!("{kind} {name}"),
        None => format!("{kind}/{name}"),
    }
}

/// A problem on one line.
fn said(problem: &serde_json::Value) -> String {
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    format!(
        "{}: {}: {:?}: {} ({})",
        named(&problem["object"]),
        text("field"),
        text("value"),
        text("message"),
        text("reason")
    )
}

/// What every message keeps to: one line, of bearable length, no Debug text, no name twice.
fn readable(case: &str, problem: &serde_json::Value) {
    let message = problem["message"].as_str().unwrap_or_default();
    let object = named(&problem["object"]);
    assert!(!message.is_empty() && !message.contains('\n'), "{case}: one line: {message}");
    assert!(message.chars().count() <= 400, "{case}: {} characters: {message}", message.chars().count());
    assert!(!message.contains(&object), "{case}: the object is named already: {message}");
    for debug in ["Some(", "None", "Err(", " { ", "\\\"", "os error 0"] {
        assert!(!message.contains(debug), "{case}: Debug text {debug}: {message}");
    }
    assert!(!message.ends_with('.'), "{case}: no full stop: {message}");
}

#[test]
fn the_whole_list_of_bad_input_costs_at_most_64_mb_and_one_process_bears_it_all() {
    let site = Site::good();
    plugins::prepare(&site);
    let process = plugins::served(&site);
    let (idle, _) = process.memory();
    for case in manifests::all().iter().chain(&plugins::all(&site)) {
        case.prove(&site, &process);
        let (now, highest) = process.memory();
        eprintln!(
            "{:>6.1} MB now, {:>6.1} MB at most above idle after {}",
            now.saturating_sub(idle) as f64 / 1e6,
            highest.saturating_sub(idle) as f64 / 1e6,
            case.name
        );
        assert!(
            highest <= idle + MEMORY_MAX,
            "{}: {highest} bytes at the highest, {idle} bytes when idle",
            case.name
        );
    }
}
