//! JSON that is put together while the author's crate compiles, because a custom section's content must be constant.

/// A piece of a JSON text.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Copied as it is.
    Raw(&'static str),
    /// A JSON string of this text.
    Text(&'static str),
    /// A JSON string of this Rust identifier in camel case: `max_paths` becomes `"maxPaths"`.
    Camel(&'static str),
    /// A JSON string of these documentation lines, joined by spaces.
    Lines(&'static [&'static str]),
    /// A number.
    Number(u64),
    /// Pieces in their order.
    All(&'static [Part]),
    /// Pieces in their order with commas between those that are not empty.
    List(&'static [Part]),
}

/// Bytes that the pieces come to.
pub const fn length(parts: &[Part]) -> usize {
    write(parts, &mut [], 0)
}

/// The pieces as bytes; `N` is their [`length`].
pub const fn bytes<const N: usize>(parts: &[Part]) -> [u8; N] {
    let mut out = [0; N];
    assert!(write(parts, &mut out, 0) == N, "N is not length(parts)");
    out
}

/// The bytes of [`bytes`] as text.
pub const fn text(bytes: &[u8]) -> &str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("JSON is UTF-8"),
    }
}

/// Writes pieces at `at`, as far as `out` reaches, and returns where they end.
const fn write(parts: &[Part], out: &mut [u8], mut at: usize) -> usize {
    let mut index = 0;
    while index < parts.len() {
        at = match parts[index] {
            Part::Raw(text) => raw(text.as_bytes(), out, at),
            Part::Text(text) => {
                at = put(b'"', out, at);
                at = escaped(text.as_bytes(), 0, out, at);
                put(b'"', out, at)
            }
            Part::Camel(name) => camel(name.as_bytes(), out, at),
            Part::Lines(lines) => joined(lines, out, at),
            Part::Number(number) => decimal(number, out, at),
            Part::All(parts) => write(parts, out, at),
            Part::List(parts) => listed(parts, out, at),
        };
        index += 1;
    }
    at
}

const fn listed(parts: &[Part], out: &mut [u8], mut at: usize) -> usize {
    let mut index = 0;
    let mut first = true;
    while index < parts.len() {
        let (_, rest) = parts.split_at(index);
        let (part, _) = rest.split_at(1);
        if write(part, &mut [], 0) > 0 {
            if !first {
                at = put(b',', out, at);
            }
            first = false;
            at = write(part, out, at);
        }
        index += 1;
    }
    at
}

const fn decimal(number: u64, out: &mut [u8], mut at: usize) -> usize {
    let mut unit = 1;
    while number / unit > 9 {
        unit *= 10;
    }
    while unit > 0 {
        at = put(b'0' + (number / unit % 10) as u8, out, at);
        unit /= 10;
    }
    at
}

const fn put(byte: u8, out: &mut [u8], at: usize) -> usize {
    if at < out.len() {
        out[at] = byte;
    }
    at + 1
}

const fn raw(text: &[u8], out: &mut [u8], mut at: usize) -> usize {
    let mut index = 0;
    while index < text.len() {
        at = put(text[index], out, at);
        index += 1;
    }
    at
}

/// The inside of a JSON string, from byte `index` of `text`.
const fn escaped(text: &[u8], mut index: usize, out: &mut [u8], mut at: usize) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    while index < text.len() {
        let byte = text[index];
        at = match byte {
            b'"' | b'\\' => {
                at = put(b'\\', out, at);
                put(byte, out, at)
            }
            b'\n' => raw(b"\\n", out, at),
            0..0x20 => {
                at = raw(b"\\u00", out, at);
                at = put(HEX[(byte >> 4) as usize], out, at);
                put(HEX[(byte & 15) as usize], out, at)
            }
            _ => put(byte, out, at),
        };
        index += 1;
    }
    at
}

const fn camel(name: &[u8], out: &mut [u8], mut at: usize) -> usize {
    let mut index = 0;
    let mut upper = false;
    at = put(b'"', out, at);
    while index < name.len() {
        if name[index] == b'_' {
            upper = at > 0 && index > 0;
        } else {
            at = put(if upper { name[index].to_ascii_uppercase() } else { name[index] }, out, at);
            upper = false;
        }
        index += 1;
    }
    put(b'"', out, at)
}

/// Documentation lines start with the space after `///`; only the first one's is taken away.
const fn joined(lines: &[&str], out: &mut [u8], mut at: usize) -> usize {
    let mut index = 0;
    at = put(b'"', out, at);
    while index < lines.len() {
        let line = lines[index].as_bytes();
        let skip = if index == 0 && !line.is_empty() && line[0] == b' ' { 1 } else { 0 };
        at = escaped(line, skip, out, at);
        index += 1;
    }
    put(b'"', out, at)
}

/// True if `json` is the camel case of the Rust identifier `name`.
pub fn is_camel_of(json: &str, name: &str) -> bool {
    let mut rest = json.bytes();
    let mut upper = false;
    for byte in name.bytes() {
        if byte == b'_' {
            upper = rest.len() < json.len();
            continue;
        }
        if rest.next() != Some(if upper { byte.to_ascii_uppercase() } else { byte }) {
            return false;
        }
        upper = false;
    }
    rest.next().is_none()
}

/// A Rust identifier in camel case.
pub fn camel_of(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        match character {
            '_' => upper = !out.is_empty(),
            _ if upper => {
                out.push(character.to_ascii_uppercase());
                upper = false;
            }
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: &[Part] = &[
        Part::Raw("{"),
        Part::Camel("max_paths_2"),
        Part::Raw(":"),
        Part::Text("a \"b\"\\\n\u{1}ü"),
        Part::Raw(","),
        Part::All(&[Part::Text("d"), Part::Raw(":"), Part::Lines(&[" One", " two."])]),
        Part::Raw(",\"l\":["),
        Part::List(&[
            Part::Raw(""),
            Part::Number(0),
            Part::All(&[]),
            Part::Number(10),
            Part::Number(u64::MAX),
        ]),
        Part::Raw("]"),
        Part::Raw("}"),
    ];
    static BYTES: [u8; length(PARTS)] = bytes(PARTS);

    #[test]
    fn constant_json_is_escaped_and_in_camel_case() {
        assert_eq!(
            text(&BYTES),
            "{\"maxPaths2\":\"a \\\"b\\\"\\\\\\n\\u0001ü\",\"d\":\"One two.\",\"l\":[0,10,18446744073709551615]}"
        );
    }

    #[test]
    fn a_name_is_compared_in_the_case_that_it_is_written_in() {
        for name in ["a", "max_paths", "max_paths_2", "_a", "a__b"] {
            assert!(is_camel_of(&camel_of(name), name), "{name}");
        }
        assert!(!is_camel_of("max_paths", "max_paths"));
        assert!(!is_camel_of("maxPath", "max_paths") && !is_camel_of("maxPathss", "max_paths"));
    }
}
