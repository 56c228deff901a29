//! Every reason that a problem, a condition or a refused policy may carry is explained to operators.
//!
//! Those of `host/api` are proved there; these are the categories of other crates, which reach status and log as reasons.

/// The page with one row for each.
pub(crate) const PAGE: &str = "docs/troubleshooting.md";

/// Where reasons are given: a file, and a line after which the next function's match names them.
pub(crate) const SOURCES: &[(&str, &str)] = &[
    ("host/core/src/announce/facts.rs", "pub fn reason(self)"),
    ("host/policy/src/engine.rs", "pub fn category(&self)"),
    ("host/policy/src/guest.rs", "pub fn category(&self)"),
    ("host/sandbox/src/protocol.rs", "impl Refusal {"),
    ("host/speaker/src/claims.rs", "pub fn problem(&self"),
];

/// One sentence for each reason of `text` that the page does not explain, or if there is none at all: then the rule looks in
/// the wrong place.
pub(crate) fn broken(file: &str, text: &str, after: &str, page: &str) -> Vec<String> {
    let function = text.split_once(after).map(|(_, rest)| rest.split("\n    }\n").next().unwrap_or_default());
    let reasons: Vec<&str> = function
        .into_iter()
        .flat_map(|body| body.split("=> \"").skip(1))
        .filter_map(|rest| rest.split_once('"'))
        .map(|(reason, _)| reason)
        .collect();
    if reasons.is_empty() {
        return vec![format!(
            "{file}: no reason is found after `{after}`; correct xtask/src/rules/reasons.rs"
        )];
    }
    let explained = |reason: &&str| page.lines().any(|line| line.starts_with(&format!("| `{reason}` |")));
    let missing = reasons.into_iter().filter(|reason| !explained(reason));
    missing.map(|reason| format!("{file}: reason {reason} has no row in {PAGE}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "impl E {\n    pub fn category(&self) -> &'static str {\n        match self {\n            Self::A => \"Known\",\n            Self::B => \"New\",\n        }\n    }\n\n    fn other() { x => \"NoReason\" }\n}\n";

    #[test]
    fn a_reason_without_a_row_is_found() {
        let found = broken("f.rs", SOURCE, "pub fn category", "| `Known` | x |\n");
        assert_eq!(found, ["f.rs: reason New has no row in docs/troubleshooting.md"]);
        assert_eq!(broken("f.rs", SOURCE, "pub fn category", "| `Known` |\n| `New` |\n"), [""; 0]);
    }

    #[test]
    fn a_source_without_reasons_is_a_broken_rule() {
        assert_eq!(broken("f.rs", SOURCE, "fn moved", "").len(), 1);
    }
}
