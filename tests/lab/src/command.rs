//! Running other programs: one way to call them, one form for their failures.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Runs `command` to its end and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: the error holds the command line, the status and what
/// it wrote to standard error (or, if nothing, to standard output).
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = finished(command)?;
    if !output.status.success() {
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        bail!("`{}` ended with {}: {}", shown(command), output.status, String::from_utf8_lossy(said).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote invalid UTF-8", shown(command)))
}

/// Runs `command` to its end, whatever its status.
///
/// # Errors
/// When it cannot be started.
pub fn finished(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("cannot start `{}`", shown(command)))
}

/// The command as a person would type it, without quoting.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_told_with_its_words_and_its_complaint() {
        let error = output_of(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("no such luck") && text.contains('3'), "{text}");
    }
}
