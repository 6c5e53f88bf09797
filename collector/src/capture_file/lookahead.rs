//! A stream whose next bytes can be looked at before they are taken. The buffer grows to the longest piece that is
//! asked for, so the caller bounds the memory.

use std::io::{self, BufRead, ErrorKind, Read};

/// Bytes of the buffer at the start.
const BUFFER: usize = 64 * 1024;

pub struct Lookahead<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Lookahead<R> {
    pub fn new(input: R) -> Self {
        Lookahead { input, buffer: vec![0; BUFFER], start: 0, end: 0 }
    }

    /// The next bytes, without taking them; fewer if the stream ends before.
    pub fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.end - self.start < length && self.read_more(length)? {}
        let end = self.end.min(self.start + length);
        Ok(&self.buffer[self.start..end])
    }

    /// Takes the next bytes; fewer if the stream ends before.
    pub fn advance(&mut self, length: usize) -> io::Result<&[u8]> {
        let found = self.peek(length)?.len();
        let start = self.start;
        self.start += found;
        Ok(&self.buffer[start..start + found])
    }

    /// Takes this number of bytes without keeping them; returns whether there were so many.
    pub fn skip(&mut self, mut length: u64) -> io::Result<bool> {
        while length > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                return Ok(false);
            }
            let now = usize::try_from(length).map_or(there, |length| length.min(there));
            self.consume(now);
            length -= now as u64;
        }
        Ok(true)
    }

    /// Reads once, with room for `length` bytes; returns false at the end of the stream.
    fn read_more(&mut self, length: usize) -> io::Result<bool> {
        if self.start + length > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if length > self.buffer.len() {
                self.buffer.resize(length, 0);
            }
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Lookahead<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // A long read needs no copy through the buffer.
        if self.start == self.end && to.len() >= BUFFER {
            return self.input.read(to);
        }
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Lookahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.read_more(1)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, length: usize) {
        self.start = self.end.min(self.start + length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one to seven bytes a read.
    struct Slow(u32, u32);

    impl Read for Slow {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let length = to.len().min(1 + (self.0 % 7) as usize).min((self.1 - self.0) as usize);
            for byte in &mut to[..length] {
                *byte = self.0 as u8;
                self.0 += 1;
            }
            Ok(length)
        }
    }

    #[test]
    fn pieces_of_any_length() {
        let mut bytes = Lookahead::new(Slow(0, 400_000));
        let mut at = 0;
        for length in [1, 2, 65_535, 3, 65_536, 70_000, 0, 100_000] {
            let expected: Vec<u8> = (at..at + length).map(|byte| byte as u8).collect();
            assert!(bytes.peek(length as usize).unwrap() == expected, "look at {length}");
            assert!(bytes.advance(length as usize).unwrap() == expected, "take {length}");
            at += length;
        }
        assert_eq!(bytes.buffer.len(), 100_000, "no more than the longest piece");
        let left = 400_000_u64 - at as u64;
        assert_eq!(bytes.peek(left as usize + 1).unwrap().len(), left as usize);
        assert!(!bytes.skip(left + 1).unwrap());
        assert!(bytes.advance(1).unwrap().is_empty());
    }

    #[test]
    fn as_a_reader() {
        let mut bytes = Lookahead::new(Slow(0, 100_000));
        assert!(bytes.skip(70_000).unwrap());
        assert_eq!(bytes.peek(2).unwrap(), [112, 113]);
        let mut rest = Vec::new();
        bytes.read_to_end(&mut rest).unwrap();
        assert_eq!((rest.len(), rest[0]), (30_000, 112));
    }
}
