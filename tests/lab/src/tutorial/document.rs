//! The parts of a tutorial that are run.

use anyhow::{Result, bail, ensure};

/// What a tutorial makes its reader do, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Document {
    /// Its parts.
    pub blocks: Vec<Block>,
}

/// One part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Block {
    /// A file to write.
    File(File),
    /// Commands to type.
    Console(Console),
}

/// A file to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Line of the document where its content starts, from 1.
    pub line: usize,
    /// Its path, relative to the shell's folder.
    pub path: String,
    /// What is written.
    pub content: String,
}

/// Commands to type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Console {
    /// The commands only look, and are repeated until they print what is expected.
    pub waits: bool,
    /// The commands are expected to fail.
    pub fails: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Line of the document, from 1.
    pub line: usize,
    /// What is typed; may have several lines.
    pub text: String,
    /// The lines that it prints.
    pub output: Vec<String>,
}

/// A fence that has been opened.
struct Open<'a> {
    line: usize,
    info: &'a str,
    path: Option<String>,
    lines: Vec<(usize, &'a str)>,
}

impl Document {
    /// Reads a tutorial.
    ///
    /// # Errors
    /// When a fence is not closed, a console starts with output, its info string has an unknown word, or nothing is run at
    /// all: a test of nothing would always pass.
    pub fn parse(text: &str) -> Result<Self> {
        let mut document = Self::default();
        let mut open: Option<Open<'_>> = None;
        // The line above a fence that names a file: the last one that is not empty.
        let mut above = "";
        for (number, line) in (1..).zip(text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => {
                    let path = above.strip_prefix("**`").and_then(|rest| rest.strip_suffix("`**"));
                    let path = path.map(str::to_owned);
                    open = Some(Open { line: number, info: info.trim(), path, lines: Vec::new() });
                }
                (None, None) => {
                    if !line.trim().is_empty() {
                        above = line.trim();
                    }
                }
                (Some(fence), Some("")) => {
                    document.blocks.extend(block(fence)?);
                    (open, above) = (None, "");
                }
                (Some(fence), _) => fence.lines.push((number, line)),
            }
        }
        if let Some(fence) = open {
            bail!("line {}: the fence is not closed", fence.line);
        }
        ensure!(
            document.blocks.iter().any(|block| matches!(block, Block::Console(_))),
            "no fence ```console: nothing would be run"
        );
        Ok(document)
    }
}

fn block(fence: &Open<'_>) -> Result<Option<Block>> {
    let mut words = fence.info.split_whitespace();
    if words.next() != Some("console") {
        let content = || fence.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        let file = fence.path.clone().map(|path| File { line: fence.line + 1, path, content: content() });
        return Ok(file.map(Block::File));
    }
    let mut console = Console { waits: false, fails: false, commands: Vec::new() };
    for word in words {
        match word {
            "wait" => console.waits = true,
            "fails" => console.fails = true,
            other => bail!("line {}: a console is `wait` or `fails`, not \"{other}\"", fence.line),
        }
    }
    for (number, line) in &fence.lines {
        if let Some(text) = line.strip_prefix("$ ") {
            console.commands.push(Command { line: *number, text: text.to_owned(), output: Vec::new() });
            continue;
        }
        let Some(command) = console.commands.last_mut() else {
            bail!("line {number}: a console starts with a command, `$ …`");
        };
        match line.strip_prefix("> ") {
            Some(more) if command.output.is_empty() => {
                command.text.push('\n');
                command.text.push_str(more);
            }
            _ => command.output.push((*line).to_owned()),
        }
    }
    Ok(Some(Block::Console(console)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_files_and_prose_are_told_apart() {
        let text = "\
# Title

```rust
prose();
```

Now **`src/lib.rs`**:

```rust
prose();
```

**`src/lib.rs`**

```rust
fn main() {}
```

```console wait fails
$ one \\
> two
…
$ three
```
";
        let document = Document::parse(text).unwrap();
        let command = |line, text: &str, output: &[&str]| Command {
            line,
            text: text.into(),
            output: output.iter().map(|line| (*line).to_owned()).collect(),
        };
        let expected = [
            Block::File(File { line: 16, path: "src/lib.rs".into(), content: "fn main() {}\n".into() }),
            Block::Console(Console {
                waits: true,
                fails: true,
                commands: vec![command(20, "one \\\ntwo", &["…"]), command(23, "three", &[])],
            }),
        ];
        assert_eq!(document.blocks, expected);
    }

    #[test]
    fn a_document_that_cannot_be_meant_so_is_refused() {
        for (text, word) in [
            ("no fence at all\n", "nothing would be run"),
            ("```console\n$ true\n", "not closed"),
            ("```console\noutput\n$ true\n```\n", "starts with a command"),
            ("```console always\n$ true\n```\n", "\"always\""),
        ] {
            let error = Document::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
