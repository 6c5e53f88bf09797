//! Where a message ends in a TCP stream (RFC 6587): with octet counting, or with LF, CR or NUL. RouterOS marks the end in
//! its format `cef` only; in its format `syslog` the priority and the time of the next message mark it.

/// Bytes of a message, at most; the rest is dropped.
const MAX_MESSAGE: usize = 16 << 10;
/// Digits of an octet count, at most.
const MAX_DIGITS: usize = 6;
/// Bytes that show where a message begins, at most: `<191>2026-`.
const BEGINNING: usize = 10;

#[derive(Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of a counted message that are dropped.
    skip: usize,
    /// Drops the rest of a message that is too long.
    discards: bool,
}

impl Framer {
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes received bytes and returns the messages that are complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
        let (mut messages, mut at) = (Vec::new(), 0);
        while at < self.buffer.len() {
            let rest = &self.buffer[at..];
            let count = if self.discards { Count::None } else { count(rest) };
            match count {
                Count::Unknown => break,
                Count::Of { digits, length } => {
                    let body = &rest[digits + 1..];
                    let wanted = length.min(MAX_MESSAGE);
                    if body.len() < wanted {
                        break;
                    }
                    messages.push(body[..wanted].to_vec());
                    let whole = length.min(body.len());
                    self.skip = length - whole;
                    at += digits + 1 + whole;
                }
                Count::None => {
                    let is_mark = |at: &usize| b"\n\r\0".contains(&rest[*at]);
                    let is_end = |at: &usize| is_mark(at) || *at > 0 && begins(&rest[*at..]);
                    let Some(length) = (0..rest.len()).find(is_end) else {
                        if rest.len() >= MAX_MESSAGE {
                            if !self.discards {
                                messages.push(rest[..MAX_MESSAGE].to_vec());
                            }
                            self.discards = true;
                            // The next message may have begun in the last bytes.
                            at = self.buffer.len() - BEGINNING;
                        }
                        break;
                    };
                    if length > 0 && !self.discards {
                        messages.push(rest[..length.min(MAX_MESSAGE)].to_vec());
                    }
                    self.discards = false;
                    at += length + usize::from(is_mark(&length));
                }
            }
        }
        self.buffer.drain(..at);
        messages
    }

    /// Nothing arrived for a while, or the stream ended: what is there is complete, unless it was counted.
    pub fn flush(&mut self) -> Vec<Vec<u8>> {
        let rest = std::mem::take(&mut self.buffer);
        let is_counted = matches!(count(&rest), Count::Of { .. } | Count::Unknown);
        let is_complete = !std::mem::take(&mut self.discards) && !is_counted && !rest.is_empty();
        is_complete.then_some(rest).into_iter().collect()
    }
}

enum Count {
    /// The message is not counted.
    None,
    /// Too few bytes to know it.
    Unknown,
    Of {
        digits: usize,
        length: usize,
    },
}

/// `MSG-LEN SP MSG`, where MSG begins with `<`: a time such as `2026-11-22T10:00:00` is no count.
fn count(bytes: &[u8]) -> Count {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (digits, bytes.get(digits), bytes.get(digits + 1)) {
        (0, ..) => Count::None,
        (1..=MAX_DIGITS, None, _) | (1..=MAX_DIGITS, Some(b' '), None) => Count::Unknown,
        (1..=MAX_DIGITS, Some(b' '), Some(b'<')) => {
            let number = std::str::from_utf8(&bytes[..digits]).ok();
            let length = number.and_then(|number| number.parse().ok());
            length.map_or(Count::None, |length| Count::Of { digits, length })
        }
        _ => Count::None,
    }
}

/// Whether a message of the format `syslog` begins here, with its priority and its time.
fn begins(rest: &[u8]) -> bool {
    let Some(close) = rest.iter().take(5).position(|byte| *byte == b'>') else { return false };
    let is_priority = rest[0] == b'<' && close > 1 && rest[1..close].iter().all(u8::is_ascii_digit);
    let time = &rest[close + 1..];
    let is_month =
        time.len() > 4 && time[..3].iter().all(u8::is_ascii_alphabetic) && time[3] == b' ';
    let is_year = time.len() > 4 && time[..4].iter().all(u8::is_ascii_digit) && time[4] == b'-';
    is_priority && (is_month || is_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::default();
        let mut messages: Vec<_> = parts.iter().flat_map(|part| framer.feed(part)).collect();
        messages.extend(framer.flush());
        messages.into_iter().map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn ends_of_messages() {
        assert_eq!(all(&[b"<30>a\n<30>b\r\n\0<30>c"]), ["<30>a", "<30>b", "<30>c"]);
        assert_eq!(all(&[b"5 <30>a6 <30>", b"bc", b"<3", b"0>d\n"]), ["<30>a", "<30>bc", "<30>d"]);
        assert_eq!(all(&[b"1", b"0", b" ", b"<30>a\nb cd<30>d"]), ["<30>a\nb cd", "<30>d"]);
        assert_eq!(all(&[b"2026-11-22T10:00:00 r CEF:0\r\n"]), ["2026-11-22T10:00:00 r CEF:0"]);
        assert_eq!(all(&[b"99 <30>cut"]), [""; 0]);
    }

    #[test]
    fn messages_without_an_end() {
        let glued = b"<30>Oct  2 17:36:35 r one<30>2026-10-02T17:36:35 r two<30>three";
        assert_eq!(all(&[glued]).len(), 2);
        let mut framer = Framer::default();
        // The next message ends the one before it, without silence.
        assert_eq!(framer.feed(glued).len(), 1);
        assert!(!framer.is_empty());
        assert_eq!(framer.flush().len(), 1);
        assert!(framer.is_empty());
    }

    /// A router that is never silent loses no message, wherever its packets end; one that is too long costs itself only.
    #[test]
    fn busy_without_an_end() {
        let one = |n: usize| format!("<30>Oct  2 17:36:35 r system,info message {n}");
        let glued: String = (0..2000).map(one).collect();
        for size in [1, 7, 999] {
            let mut framer = Framer::default();
            let mut messages: Vec<_> =
                glued.as_bytes().chunks(size).flat_map(|part| framer.feed(part)).collect();
            assert_eq!(messages.len(), 1999);
            messages.extend(framer.flush());
            assert!(messages.iter().enumerate().all(|(n, text)| text == one(n).as_bytes()));
        }
        let long =
            [&vec![b'x'; MAX_MESSAGE + 500][..], one(1).as_bytes(), one(2).as_bytes()].concat();
        for size in 1..100 {
            let mut framer = Framer::default();
            let messages: Vec<_> = long.chunks(size).flat_map(|part| framer.feed(part)).collect();
            assert_eq!(messages[1..], [one(1).into_bytes()], "{size}");
        }
    }

    #[test]
    fn bounded() {
        let long = vec![b'x'; 3 * MAX_MESSAGE];
        let mut framer = Framer::default();
        let mut messages = Vec::new();
        for part in long.chunks(1000) {
            messages.extend(framer.feed(part));
            assert!(framer.buffer.len() <= MAX_MESSAGE + 1000);
        }
        messages.extend(framer.feed(b"\nnext\n"));
        assert_eq!(messages, [long[..MAX_MESSAGE].to_vec(), b"next".to_vec()]);
        // A count that lies keeps the stream busy, not the memory.
        let mut framer = Framer::default();
        let mut messages = framer.feed(b"900000 <30>");
        for _ in 0..1000 {
            messages.extend(framer.feed(&[b'y'; 1000]));
            assert!(framer.buffer.len() <= MAX_MESSAGE + 1000);
        }
        assert_eq!(messages[0].len(), MAX_MESSAGE);
    }
}
