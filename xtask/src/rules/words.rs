//! Words that mean: not done yet.
//!
//! A known gap is written `TODO-correctness:` with a reference, and is shown by `xtask gaps`; everything else that
//! says "later" is either finished or an issue.

/// What a finished tree does not contain. Spelled in two halves, so that this file may be read by its own rule.
const STUBS: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("Place", "holder."),
    concat!("not yet ", "implemented"),
];

/// A gap that is known, and written down with its reference.
pub(crate) const GAP: &str = concat!("TO", "DO-correctness:");

/// The general word for later, allowed only as [`GAP`].
const LATER: &str = concat!("TO", "DO");

/// One sentence for each line with a stub word.
pub(crate) fn broken(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let rest = line.replace(GAP, "");
        let later = rest.match_indices(LATER).any(|(at, _)| is_word(&rest, at, LATER.len())).then_some(LATER);
        if let Some(word) = STUBS.iter().copied().find(|word| rest.contains(word)).or(later) {
            broken.push(format!(
                "{file}:{}: says {word:?}; finish it, or write `{GAP}` with a reference if it is a known gap",
                at + 1
            ));
        }
    }
    broken
}

/// True if the `length` bytes at `at` stand alone: not part of a longer word such as a constant's name.
fn is_word(line: &str, at: usize, length: usize) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !line[..at].ends_with(part) && !line[at + length..].starts_with(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_found_with_its_place() {
        for word in STUBS.iter().copied().chain([LATER]) {
            let text = format!("fn f() {{\n    // {word}\n}}\n");
            let broken = broken("a.rs", &text);
            assert_eq!(broken.len(), 1, "{word}");
            assert!(broken[0].starts_with("a.rs:2: says "), "{broken:?}");
        }
    }

    #[test]
    fn a_known_gap_may_be_named() {
        assert!(broken("a.rs", &format!("// {GAP} RFC 4271 section 6.8\n")).is_empty());
    }

    #[test]
    fn a_longer_word_is_not_a_stub() {
        assert!(broken("a.rs", &format!("const MAS{LATER}N: u8 = 1;\n")).is_empty());
    }
}
