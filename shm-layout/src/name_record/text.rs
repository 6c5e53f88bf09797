//! Texts of a record of names: 63 bytes of UTF-8.

use std::fmt;

use crate::event::breaks_terminal;

const ROOM: usize = 64;

/// A text that a device chose: at most 63 bytes of UTF-8, cut between two characters, without characters that change a terminal's
/// state, or hide or turn the text around them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameText([u8; ROOM]);

impl NameText {
    /// No text.
    pub const EMPTY: NameText = NameText([0; ROOM]);

    /// As much of the text as fits, and whether it was longer; none if it is not UTF-8. Spaces at its ends are removed.
    pub fn clean(text: &[u8]) -> Option<(NameText, bool)> {
        let text = str::from_utf8(text).ok()?;
        Some(NameText::fit(text))
    }

    /// As much of the text as fits.
    pub fn cut(text: &str) -> NameText {
        NameText::fit(text).0
    }

    fn fit(text: &str) -> (NameText, bool) {
        let (mut bytes, mut length) = ([0; ROOM], 0);
        // Most texts: nothing is left out.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let text = text.trim_matches(' ').as_bytes();
            length = text.len().min(ROOM - 1);
            bytes[..length].copy_from_slice(&text[..length]);
            return (NameText(bytes), length < text.len());
        }
        let kept = text.trim_matches(|c: char| c.is_whitespace() || breaks_terminal(c)).chars();
        for c in kept.filter(|c| !breaks_terminal(*c)) {
            let end = length + c.len_utf8();
            if end >= ROOM {
                return (NameText(bytes), true);
            }
            c.encode_utf8(&mut bytes[length..end]);
            length = end;
        }
        (NameText(bytes), false)
    }

    /// The text; empty if the bytes are none that a writer could have stored.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(0);
        let text = str::from_utf8(&self.0[..length]).unwrap_or_default();
        if text.chars().any(breaks_terminal) { "" } else { text }
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8; ROOM] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: [u8; ROOM]) -> NameText {
        NameText(bytes)
    }
}

impl fmt::Display for NameText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NameText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
