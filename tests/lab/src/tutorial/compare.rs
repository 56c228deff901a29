//! Expected lines, with wildcards, against seen ones.

/// Stands for any text in a line, and alone for any number of lines.
const ANY: &str = "…";

/// `None` when `seen` is what `expected` promises. Else both, line by line: ` ` for lines that agree, `-` for expected lines
/// that were not seen, `+` for seen lines that were not expected. Blanks at the ends of lines do not count.
pub fn difference(expected: &[impl AsRef<str>], seen: &[impl AsRef<str>]) -> Option<String> {
    let expected: Vec<&str> = expected.iter().map(|line| line.as_ref().trim_end()).collect();
    let seen: Vec<&str> = seen.iter().map(|line| line.as_ref().trim_end()).collect();
    let steps = cheapest(&expected, &seen);
    let agree = steps.iter().all(|step| matches!(step, Step::Same(_) | Step::Nothing));
    let shown = |step: &Step<'_>| match step {
        Step::Same(line) => Some(format!("  {line}\n")),
        Step::Missing(line) => Some(format!("- {line}\n")),
        Step::Extra(line) => Some(format!("+ {line}\n")),
        Step::Nothing => None,
    };
    (!agree).then(|| {
        let lines: String = steps.iter().filter_map(shown).collect();
        format!("expected (-) and seen (+):\n{lines}")
    })
}

/// One step along both lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step<'a> {
    /// A seen line that was expected.
    Same(&'a str),
    /// An expected line that was not seen.
    Missing(&'a str),
    /// A seen line that was not expected.
    Extra(&'a str),
    /// The end of a wildcard.
    Nothing,
}

/// The steps with the fewest lines that do not agree. Quadratic, which is nothing for what fits into a tutorial.
fn cheapest<'a>(expected: &[&'a str], seen: &[&'a str]) -> Vec<Step<'a>> {
    // costs[i][j]: lines that do not agree from expected[i] and seen[j] on.
    let mut costs = vec![vec![0_usize; seen.len() + 1]; expected.len() + 1];
    for i in (0..=expected.len()).rev() {
        for j in (0..=seen.len()).rev() {
            let choices = choices(expected, seen, i, j);
            let cost = choices.iter().map(|choice| choice.cost + costs[choice.i][choice.j]).min();
            costs[i][j] = cost.unwrap_or(0);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut steps = Vec::new();
    while (i, j) != (expected.len(), seen.len()) {
        let choices = choices(expected, seen, i, j);
        let Some(best) = choices.into_iter().min_by_key(|choice| choice.cost + costs[choice.i][choice.j])
        else {
            break;
        };
        steps.push(best.step);
        (i, j) = (best.i, best.j);
    }
    steps
}

/// A step, what it costs, and where it leads.
struct Choice<'a> {
    step: Step<'a>,
    cost: usize,
    i: usize,
    j: usize,
}

fn choices<'a>(expected: &[&'a str], seen: &[&'a str], i: usize, j: usize) -> Vec<Choice<'a>> {
    let (next, found) = (expected.get(i).copied(), seen.get(j).copied());
    let mut choices = Vec::new();
    if next == Some(ANY) {
        choices.push(Choice { step: Step::Nothing, cost: 0, i: i + 1, j });
        choices.extend(found.map(|line| Choice { step: Step::Same(line), cost: 0, i, j: j + 1 }));
        return choices;
    }
    if let (Some(next), Some(found)) = (next, found)
        && fits(next, found)
    {
        choices.push(Choice { step: Step::Same(found), cost: 0, i: i + 1, j: j + 1 });
    }
    choices.extend(next.map(|line| Choice { step: Step::Missing(line), cost: 1, i: i + 1, j }));
    choices.extend(found.map(|line| Choice { step: Step::Extra(line), cost: 1, i, j: j + 1 }));
    choices
}

/// True when the line is what the pattern says.
fn fits(pattern: &str, line: &str) -> bool {
    let Some((first, others)) = pattern.split_once(ANY) else { return pattern == line };
    let (middle, last) = others.rsplit_once(ANY).unwrap_or(("", others));
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle.split(ANY) {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_in_a_line_stands_for_any_text_and_for_nothing_else() {
        for (pattern, line) in
            [("abc", "abc"), ("a…c", "abbbc"), ("a…", "a"), ("…c", "abc"), ("a…b…c", "a1b2c"), ("…", "")]
        {
            assert!(fits(pattern, line), "{pattern} against {line}");
        }
        for (pattern, line) in
            [("abc", "abcd"), ("a…c", "abcd"), ("a…a", "a"), ("a…b…c", "acb"), ("ab…", "ac"), ("abc", "ab")]
        {
            assert!(!fits(pattern, line), "{pattern} against {line}");
        }
    }

    #[test]
    fn a_line_of_a_wildcard_stands_for_any_number_of_lines() {
        for seen in [&["a", "z"][..], &["a", "1", "2", "z"]] {
            assert_eq!(difference(&["a", "…", "z"], seen), None);
        }
        assert!(difference(&["a", "…", "z"], &["a", "1"]).is_some());
        assert_eq!(difference(&["…"], &[""; 0]), None);
        assert_eq!(difference(&["…", "b", "…"], &["a", "b", "b", "c"]), None);
    }

    #[test]
    fn a_difference_shows_what_agrees_what_is_missing_and_what_is_too_much() {
        let difference = difference(&["one", "t…", "three"], &["one", "two", "3", "four"]).unwrap();
        assert_eq!(difference, "expected (-) and seen (+):\n  one\n  two\n- three\n+ 3\n+ four\n");
    }
}
