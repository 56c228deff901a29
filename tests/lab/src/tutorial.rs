//! Runs a tutorial as its reader would, and compares what it promises with what is seen.
//!
//! A tutorial is Markdown. What the runner looks at:
//!
//! | in the document | what is done |
//! |---|---|
//! | a fence ```` ```console ```` | its lines `$ …` are typed into one shell, one after the other; `> …` goes on with the line before |
//! | the other lines of it | what the command before them prints, on both of its streams, to the letter |
//! | `…` in such a line | any text |
//! | a line of only `…` | any number of lines |
//! | ```` ```console wait ```` | its commands only look: each is repeated until it prints this, at most for [`WAIT`] |
//! | ```` ```console fails ```` | its commands end with another status than 0; without it, 0 is expected |
//! | a line ``**`PATH`**`` before any other fence | the fence's content is written to that file, below the shell's folder |
//!
//! Anything else is prose. A fence in another language without a path above it is prose too.

mod compare;
mod document;
mod shell;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use compare::difference;
pub use document::{Block, Command, Console, Document, File};
pub use shell::{Seen, Shell};

/// How long a command of a `wait` fence may take to print what is expected. Far above what anything takes that follows
/// an edit of a manifest; a slow machine is no failure.
pub const WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks of a `wait` fence.
const PAUSE: Duration = Duration::from_millis(200);
/// How long any one command may run. The longest builds everything and runs the whole demo.
pub const COMMAND: Duration = Duration::from_secs(20 * 60);

/// Types the whole document into `shell`, up to the first thing that is not as promised.
///
/// # Errors
/// With the line of the document, the command, and the difference between what was expected and seen.
pub fn run(document: &Document, shell: &mut Shell) -> Result<()> {
    for block in &document.blocks {
        match block {
            Block::File(file) => write(file, &shell.folder()?)
                .with_context(|| format!("line {}: cannot write {}", file.line, file.path))?,
            Block::Console(console) => {
                console.commands.iter().try_for_each(|command| obey(command, console, shell))?
            }
        }
    }
    Ok(())
}

fn write(file: &File, folder: &Path) -> Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, &file.content)?;
    Ok(())
}

fn obey(command: &Command, console: &Console, shell: &mut Shell) -> Result<()> {
    let start = Instant::now();
    loop {
        let last = !console.waits || start.elapsed() >= WAIT;
        let seen = shell
            .type_in(&command.text, COMMAND)
            .with_context(|| format!("line {}: $ {}", command.line, command.text))?;
        let wrong = verdict(command, console, &seen);
        match wrong {
            None => return Ok(()),
            Some(wrong) if last => bail!("line {}: $ {}\n{wrong}", command.line, command.text),
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// What is not as promised, if anything.
fn verdict(command: &Command, console: &Console, seen: &Seen) -> Option<String> {
    let lines: Vec<&str> = seen.output.lines().collect();
    let difference = difference(&command.output, &lines);
    let status = match (seen.status == 0, console.fails) {
        (true, true) => Some("it ends with status 0, and is expected to fail".to_owned()),
        (false, false) => Some(format!("it ends with status {}, and 0 is expected", seen.status)),
        _ => None,
    };
    match (difference, status) {
        (None, None) => None,
        (Some(difference), None) => Some(difference),
        (None, Some(status)) => Some(format!("{status}; it prints:\n{}", seen.output)),
        (Some(difference), Some(status)) => Some(format!("{status}\n{difference}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_text(text: &str) -> Result<()> {
        let folder = std::env::temp_dir().join(format!(
            "bellhop-tutorial-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir(&folder)?;
        let result = Document::parse(text)
            .and_then(|document| run(&document, &mut Shell::start(&folder, &[("WHO", "reader")])?));
        std::fs::remove_dir_all(&folder)?;
        result
    }

    #[test]
    fn a_document_whose_commands_print_what_it_says_is_good() {
        let text = "\
Prose with `$ false` in it.

```console
$ mkdir inner && cd inner
$ echo \"hello $WHO\"; echo two >&2
hello …
two
```

**`deep/file.txt`**

```text
first
second
```

```console
$ cat deep/file.txt
$ pwd
```
"
        .replace("$ cat deep/file.txt\n", "$ cat \\\n> deep/file.txt\nfirst\n…\n")
        .replace("$ pwd\n", "$ basename \"$PWD\"\ninner\n");
        run_text(&text).unwrap();
    }

    #[test]
    fn a_block_that_prints_something_else_fails_with_both_and_its_line() {
        let error = run_text("```console\n$ printf 'a\\nb\\n'\na\nc\n```\n").unwrap_err().to_string();
        for part in ["line 2", "$ printf", "  a\n", "- c\n", "+ b"] {
            assert!(error.contains(part), "{part:?} is missing in\n{error}");
        }
    }

    #[test]
    fn output_that_the_document_does_not_show_fails() {
        assert!(
            run_text("```console\n$ echo surprise\n```\n").unwrap_err().to_string().contains("+ surprise")
        );
        assert!(
            run_text("```console\n$ true\nmissing\n```\n").unwrap_err().to_string().contains("- missing")
        );
    }

    #[test]
    fn a_status_that_is_not_expected_fails() {
        let error = run_text("```console\n$ echo x; false\nx\n```\n").unwrap_err().to_string();
        assert!(error.contains("status 1"), "{error}");
        run_text("```console fails\n$ echo x; false\nx\n```\n").unwrap();
        assert!(run_text("```console fails\n$ true\n```\n").is_err());
    }

    #[test]
    fn a_command_that_waits_is_repeated_until_it_prints_what_is_expected() {
        run_text("```console wait\n$ echo x >> log; wc -l < log\n3\n```\n").unwrap();
    }

    #[test]
    fn a_shell_that_ends_is_told_and_not_waited_for() {
        let error = run_text("```console\n$ exit 3\n```\n").unwrap_err();
        assert!(format!("{error:#}").contains("the shell ended"), "{error:#}");
    }
}
