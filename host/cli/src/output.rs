//! Printing: tables as kubectl's, JSON, YAML.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Prints `value` in a machine's form, or `table` for people.
///
/// # Errors
/// When the value cannot be written in that form, in words.
pub fn print<T: Serialize>(format: Format, value: &T, table: &str) -> Result<(), String> {
    match format {
        Format::Table => stdout(table),
        Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
            stdout(&format!("{text}\n"));
        }
        Format::Yaml => stdout(&serde_saphyr::to_string(value).map_err(|error| error.to_string())?),
    }
    Ok(())
}

/// Rows under a heading, columns two spaces apart; `nothing` where there is no row.
pub fn columns(heading: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(heading.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// Columns of the terminal; `None` where standard output is none: a line stays a line for `grep`.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= NARROWEST)
}

/// Narrower terminals get lines as they are.
const NARROWEST: usize = 40;

/// A line that is folded between words, its continuations set in by two.
pub fn hanging(line: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return format!("{line}\n") };
    let (mut text, mut column) = (String::new(), 0);
    for word in line.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            text.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
pub fn stdout(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes to standard error.
pub fn stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_folded_between_words_and_a_long_word_stays_whole() {
        assert_eq!(hanging("one two three", Some(8)), "one two\n  three\n");
        assert_eq!(hanging("a much-too-long-word b", Some(8)), "a\n  much-too-long-word\n  b\n");
        assert_eq!(hanging("one two three", None), "one two three\n");
    }
}
