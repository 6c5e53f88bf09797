//! Names as events carry them: text in 16 bytes, padded with zero bytes.

use std::{fmt, str::FromStr};

macro_rules! name_in_16_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            #[inline]
            pub(crate) fn to_words(self) -> [u64; 2] {
                halves(self.0)
            }

            #[inline]
            pub(crate) fn from_words(words: [u64; 2]) -> Self {
                $name(join(words))
            }

            /// The name; empty if the bytes are no name that a writer could have stored.
            pub fn as_str(&self) -> &str {
                let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(16);
                let name = str::from_utf8(&self.0[..length]).unwrap_or_default();
                if name.chars().any(breaks_a_line) { "" } else { name }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}

name_in_16_bytes! {
    /// A network interface's name, 1 to 15 bytes as in the kernel (IFNAMSIZ).
    InterfaceName
}

name_in_16_bytes! {
    /// A user's name of at most 16 bytes; a longer one is cut. Characters that would break a line are
    /// replaced by `_`.
    UserName
}

impl FromStr for InterfaceName {
    type Err = &'static str;

    /// Refuses characters that would break the line of text, or change a terminal's state.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if !(1..=15).contains(&name.len()) {
            return Err("an interface name has 1 to 15 bytes");
        }
        if name.chars().any(breaks_a_line) {
            return Err("an interface name has no spaces, slashes or control characters");
        }
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(InterfaceName(bytes))
    }
}

impl UserName {
    /// As much of the name as fits.
    pub fn cut(name: &str) -> UserName {
        let mut bytes = [0; 16];
        let mut length = 0;
        for c in name.chars().map(|c| if breaks_a_line(c) { '_' } else { c }) {
            let Some(room) = bytes.get_mut(length..length + c.len_utf8()) else { break };
            length += c.encode_utf8(room).len();
        }
        UserName(bytes)
    }
}

fn breaks_a_line(c: char) -> bool {
    c.is_whitespace() || c == '/' || breaks_terminal(c)
}

/// Changes a terminal's state, or hides or turns the text around it.
pub(crate) fn breaks_terminal(c: char) -> bool {
    c.is_control() || !c.is_ascii() && is_hidden(c)
}

/// Turns or hides the text around it: the same characters as those of `aw_service::is_hidden`, on which this crate does
/// not depend.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// 16 bytes as two words of the ring.
#[inline]
pub(crate) fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}

/// The reverse of [`halves`].
#[inline]
pub(crate) fn join(words: [u64; 2]) -> [u8; 16] {
    let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = words.map(u64::to_ne_bytes);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names() {
        for (name, stored) in [
            ("a b\n/\x1b", "a_b___"),
            ("scheduler:guest-wifi-off", "scheduler:guest-"),
            ("fifteen-bytes-xé", "fifteen-bytes-x"),
            ("fourteen-bytesé", "fourteen-bytesé"),
            ("\u{202e}nimda\u{200b}", "_nimda_"),
            ("", ""),
        ] {
            assert_eq!(UserName::cut(name).as_str(), stored);
        }
        for damaged in [[0xff; 16], *b"a b\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(UserName(damaged).as_str(), "");
        }
    }

    #[test]
    fn interface_names() {
        assert_eq!("enp0s31f6.4094".parse::<InterfaceName>().unwrap().as_str(), "enp0s31f6.4094");
        for bad in ["", "sixteen-bytes-xx", "a b", "a/b", "a\x1b[0m", "a\n", "\u{202e}0hte"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
        for damaged in [[0xff; 16], *b"eth0\n170000000 x", *b"\x1b[31meth0\0\0\0\0\0\0\0"] {
            assert_eq!(InterfaceName(damaged).as_str(), "");
        }
    }
}
