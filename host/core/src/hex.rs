//! Bytes as hexadecimal text, where a projection is kept as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// The keys with which a ConfigMap is kept, and their bytes.
type Data = BTreeMap<Arc<str>, Arc<[u8]>>;

pub(crate) fn serialize<S: Serializer>(data: &Data, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(data.iter().map(|(key, bytes)| (key, text(bytes))))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
    let texts = BTreeMap::<Arc<str>, String>::deserialize(deserializer)?;
    let read = |(key, text): (Arc<str>, String)| {
        bytes(&text).map(|bytes| (key, bytes)).ok_or_else(|| D::Error::custom("is no hexadecimal text"))
    };
    texts.into_iter().map(read).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

pub(crate) fn bytes(text: &str) -> Option<Arc<[u8]>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect::<Option<_>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_as_it_was_written_and_nothing_else_is_read() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(&*bytes(&text(&all)).unwrap(), all);
        for wrong in ["0", "0g", "é", "00 "] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
