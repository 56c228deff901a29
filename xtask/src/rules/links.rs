//! Links of the documentation lead somewhere: to a file that is there, and in it to a heading.

use std::path::{Component, Path, PathBuf};

/// What a link may lead to: the text of a file by its path from the root, where there is such a file; an empty text for a
/// folder.
pub(crate) type Tree<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// One sentence for each relative link of a Markdown file that leads nowhere.
pub(crate) fn broken(file: &str, text: &str, tree: Tree<'_>) -> Vec<String> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for (at, line) in prose(text) {
        for target in targets(line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = if path.is_empty() { PathBuf::from(file) } else { normal(&folder.join(path)) };
            let Some(found) = tree(&place) else {
                broken.push(format!("{file}:{at}: links to {target}, and there is no {}", place.display()));
                continue;
            };
            if !anchor.is_empty() && !anchors(&found).any(|heading| heading == anchor) {
                broken.push(format!(
                    "{file}:{at}: links to {target}, and {} has no such heading",
                    place.display()
                ));
            }
        }
    }
    broken
}

/// The lines outside fences, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What the links of a line, `[text](target)`, lead to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.trim())
}

/// The names by which the headings of a page can be linked to, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let heading = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        Some(kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect())
    };
    prose(text).filter_map(move |(_, line)| heading(line))
}

/// The path without `.` and `..`; what would leave the root keeps its `..`, and is found nowhere.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if parts.file_name().is_some() => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &Path) -> Option<String> {
        match path.to_str()? {
            "docs/a.md" => Some("# One\n```\n# no heading\n```\n## What `it` is: two\n".into()),
            "docs" | "README.md" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn links_to_files_folders_headings_and_other_places_are_good() {
        let text = "[a](a.md) [b](../README.md), [c](a.md#what-it-is-two)\n[d](https://example.com/x) [e](../docs)\n```\n[f](no.md)\n```\n";
        assert_eq!(broken("docs/b.md", text, &tree), [""; 0]);
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_place() {
        let found = broken("docs/b.md", "x\n[a](no.md) [b](a.md#no-heading) [c](../../docs/a.md)\n", &tree);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("docs/b.md:2: links to no.md") && found[0].ends_with("docs/no.md"),
            "{found:?}"
        );
        assert!(found[1].contains("no such heading"), "{found:?}");
    }
}
