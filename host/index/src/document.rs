//! From the bytes of a manifest to JSON values: splits a file into documents, parses each alone, bounds what it costs.
//!
//! A document that cannot be parsed spoils no other one in its file.

use std::ops::Range;

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// Largest manifest read: some 30,000 Services in one file. A file above it is refused before it is read.
pub const FILE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Most documents in a file.
pub(crate) const DOCUMENTS_MAX: usize = 50_000;

/// Most nodes (scalars, lists, maps) of one document, aliases included: some 1,200 Services in one List. A map costs about
/// 1 KiB while it is read, so that the worst document takes some 30 MiB for a moment.
const NODES_MAX: usize = 50_000;

/// Deepest nesting; Kubernetes objects have about 10 levels, settings of plugins a few more.
const DEPTH_MAX: usize = 64;

/// Most anchors and aliases of one document; people write a handful.
const ALIASES_MAX: usize = 1_000;

/// A part of a file that holds one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
    /// Line of the file on which it begins, from 0.
    pub(crate) line: usize,
}

/// Why a document cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ParseError {
    /// It is not UTF-8; the byte at this offset of the document is the first that is not.
    Encoding {
        /// Line in the file, from 1.
        line: usize,
    },
    /// It has more nodes than may be, aliases included, or is nested more deeply.
    TooLarge,
    /// It is not YAML or JSON.
    Syntax {
        /// Line in the file, from 1; 0 where it is not known.
        line: usize,
        /// What the parser says.
        message: String,
    },
}

/// Splits YAML at its document markers (YAML 1.2 §9.1.2): lines that begin with `---` or are `...`. Such a line cannot
/// stand inside a document, so no parsing is needed. Stops after one more than [`DOCUMENTS_MAX`].
pub(crate) fn split(content: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut begin = (0, 0);
    let mut offset = 0;
    for (number, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let marker = |mark: &[u8]| {
            line.strip_prefix(mark)
                .is_some_and(|rest| rest.first().is_none_or(|byte| byte.is_ascii_whitespace()))
        };
        if chunks.len() > DOCUMENTS_MAX {
            return chunks;
        }
        if marker(b"---") || marker(b"...") {
            push(&mut chunks, content, begin.0..offset, begin.1);
            // `--- # comment` and `--- {a: b}` are allowed: what follows the marker belongs to the document. The
            // dashes themselves are left out, and the line stays, so that lines are counted right.
            begin = (offset + 3, number);
        }
        offset += line.len();
    }
    push(&mut chunks, content, begin.0..offset, begin.1);
    chunks
}

/// Keeps a chunk that holds anything but white space, comments and directives.
fn push(chunks: &mut Vec<Chunk>, content: &[u8], bytes: Range<usize>, line: usize) {
    let text = &content[bytes.clone()];
    let something = text.split(|byte| *byte == b'\n').any(|line| {
        let line = line.trim_ascii();
        !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b"%")
    });
    if something {
        chunks.push(Chunk { bytes, line });
    }
}

/// Parses one document; `first_line` is the line of the file on which it begins, from 0.
pub(crate) fn parse(content: &[u8], first_line: usize, json: bool) -> Result<Value, ParseError> {
    let text = std::str::from_utf8(content).map_err(|error| {
        let before = &content[..error.valid_up_to()];
        ParseError::Encoding { line: first_line + 1 + before.iter().filter(|byte| **byte == b'\n').count() }
    })?;
    if json {
        return serde_json::from_str(text).map_err(|error| ParseError::Syntax {
            line: first_line + error.line(),
            message: error.to_string(),
        });
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let line =
            error.location().map_or(0, |at| first_line + usize::try_from(at.line()).unwrap_or_default());
        if is_bound(error.without_snippet()) {
            return ParseError::TooLarge;
        }
        let message = error.without_snippet().to_string();
        ParseError::Syntax { line, message: message.lines().next().unwrap_or_default().to_owned() }
    })
}

/// True for what the parser refuses because of [`options`], and not because of YAML.
fn is_bound(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error;
    match error {
        Error::AliasError { error, .. } => is_bound(error),
        error => matches!(
            error,
            Error::Budget { .. }
                | Error::AliasReplayLimitExceeded { .. }
                | Error::AliasExpansionLimitExceeded { .. }
                | Error::AliasReplayStackDepthExceeded { .. }
        ),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_anchors: ALIASES_MAX,
            max_aliases: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_documents: 1,
            max_total_scalar_bytes: FILE_MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // YAML 1.2: `no` is text. Where a field wants true or false, the schema says so.
        strict_booleans: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(content: &str) -> Vec<&str> {
        split(content.as_bytes()).into_iter().map(|chunk| &content[chunk.bytes]).collect()
    }

    #[test]
    fn documents_are_split_at_their_markers_only() {
        assert_eq!(
            texts("a: 1\n---\nb: |\n  ---\n  text\n--- # comment\nc: 3\n...\n"),
            ["a: 1\n", "\nb: |\n  ---\n  text\n", " # comment\nc: 3\n",]
        );
        assert_eq!(texts("---\n---\n# nothing\n---"), Vec::<&str>::new());
        assert_eq!(texts("a: ---\n----\n"), ["a: ---\n----\n"]);
    }

    #[test]
    fn splitting_ends_soon_after_the_last_document_that_may_be() {
        assert_eq!(split("---\na: b\n".repeat(3 * DOCUMENTS_MAX).as_bytes()).len(), DOCUMENTS_MAX + 1);
    }

    #[test]
    fn the_line_of_an_error_is_the_line_in_the_file() {
        let content = b"a: 1\n---\nb: 2\nc: [\n";
        let chunk = &split(content)[1];
        let error = parse(&content[chunk.bytes.clone()], chunk.line, false).unwrap_err();
        assert!(matches!(error, ParseError::Syntax { line: 4..=5, .. }), "{error:?}");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_line() {
        assert_eq!(parse(b"a: 1\nb: \xff\n", 0, false), Err(ParseError::Encoding { line: 2 }));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        assert!(matches!(parse(b"a: 1\na: 2\n", 0, false), Err(ParseError::Syntax { .. })));
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_grows() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = level - 1;
            let aliases = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert_eq!(parse(bomb.as_bytes(), 0, false), Err(ParseError::TooLarge));
        let wide = format!("a: [{}]", "{a: b},".repeat(NODES_MAX));
        assert_eq!(parse(wide.as_bytes(), 0, false), Err(ParseError::TooLarge));
        let deep = "[".repeat(100_000);
        assert!(matches!(parse(deep.as_bytes(), 0, false), Err(ParseError::Syntax { .. })));
        assert!(matches!(parse(deep.as_bytes(), 0, true), Err(ParseError::Syntax { .. })));
    }

    #[test]
    fn no_is_text_and_a_number_is_a_number() {
        let value = parse(b"country: no\ncount: 12\nflag: true\n", 0, false).unwrap();
        assert_eq!(value, serde_json::json!({"country": "no", "count": 12, "flag": true}));
    }
}
