//! Text of a router as UTF-8, without loss: bytes that are not UTF-8 stay distinguishable.

use std::borrow::Cow;

const REPLACEMENT: char = '\u{fffd}';

/// The text of these bytes. A byte that is not UTF-8 becomes U+FFFD and its two hexadecimal digits, and so do the bytes of
/// U+FFFD itself: different bytes are different text.
pub fn lossless(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(REPLACEMENT)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for part in chunk.valid().split_inclusive(REPLACEMENT) {
            let valid = part.trim_end_matches(REPLACEMENT);
            text.push_str(valid);
            part.as_bytes()[valid.len()..].iter().for_each(|byte| push_hex(&mut text, *byte));
        }
        chunk.invalid().iter().for_each(|byte| push_hex(&mut text, *byte));
    }
    Cow::Owned(text)
}

/// The bytes that became this text.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let mut parts = text.split(REPLACEMENT);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => bytes.extend_from_slice(part.as_bytes()), // a mask took the digits
        }
    }
    bytes
}

fn push_hex(text: &mut String, byte: u8) {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase();
    text.extend([REPLACEMENT, digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_are_not_utf_8() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            ("é".as_bytes(), "é"),
            (b"Stra\xdfe", "Stra\u{fffd}DFe"),
            (b"Stra\xe1e", "Stra\u{fffd}E1e"),
            ("\u{fffd}".as_bytes(), "\u{fffd}EF\u{fffd}BF\u{fffd}BD"),
            (b"\xe2\x82", "\u{fffd}E2\u{fffd}82"),
        ] {
            assert_eq!(lossless(bytes), text, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xef), Just(0xbf), Just(0xbd), Just(b'E')], 0..40)) {
            prop_assert_eq!(bytes_of(&lossless(&bytes)), bytes);
        }
    }
}
