//! The rows of an answer, in ClickHouse's format RowBinary: the opposite of `row_binary.rs`. Nothing in it is trusted: any length is
//! bounded, and what ends early is an error.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};

use shm_layout::UnixTime;

/// Bytes of a text that are kept. Collectors write shorter ones.
const MAX_TEXT: usize = 255;
/// Bytes of a number in LEB128, at most.
const MAX_LENGTH: usize = 9;
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// An answer that is read.
pub struct Answer<R> {
    from: BufReader<Bounded<R>>,
}

impl<R: Read> Answer<R> {
    /// It may have so many bytes.
    pub fn new(body: R, most: u64) -> Answer<R> {
        Answer { from: BufReader::with_capacity(BUFFER, Bounded { body, left: most }) }
    }

    /// Passes each row on. All of its columns are to be read.
    pub fn each_row(&mut self, each: &mut dyn FnMut(&mut Row) -> io::Result<()>) -> io::Result<()> {
        while !self.from.fill_buf()?.is_empty() {
            each(&mut Row { from: &mut self.from })?;
        }
        Ok(())
    }
}

/// A row, whose columns are read in their order.
pub struct Row<'a> {
    from: &'a mut dyn BufRead,
}

impl Row<'_> {
    /// `Int64`.
    pub fn int64(&mut self) -> io::Result<i64> {
        self.fixed().map(i64::from_le_bytes)
    }

    /// `Int64` with a time.
    pub fn time(&mut self) -> io::Result<UnixTime> {
        self.int64().map(UnixTime::from_nanos)
    }

    /// `UInt64`.
    pub fn uint64(&mut self) -> io::Result<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// `UInt32`.
    pub fn uint32(&mut self) -> io::Result<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// `UInt16`.
    pub fn uint16(&mut self) -> io::Result<u16> {
        self.fixed().map(u16::from_le_bytes)
    }

    /// `UInt8`.
    pub fn uint8(&mut self) -> io::Result<u8> {
        self.fixed().map(u8::from_le_bytes)
    }

    /// `FixedString(N)`.
    pub fn fixed<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::new(ErrorKind::UnexpectedEof, "it ends early"),
            _ => error,
        })?;
        Ok(bytes)
    }

    /// `String`, or the begin of a long one.
    pub fn text(&mut self) -> io::Result<String> {
        let length = self.length()?;
        let kept = length.min(MAX_TEXT as u64);
        let mut bytes = Vec::with_capacity(kept as usize);
        (&mut *self.from).take(kept).read_to_end(&mut bytes)?;
        let skipped = io::copy(&mut (&mut *self.from).take(length - kept), &mut io::sink())?;
        if bytes.len() as u64 + skipped < length {
            return Err(Error::new(ErrorKind::UnexpectedEof, "it ends early"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn length(&mut self) -> io::Result<u64> {
        let mut length = 0;
        for index in 0..MAX_LENGTH {
            let byte = self.uint8()?;
            length |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(length);
            }
        }
        Err(Error::new(ErrorKind::InvalidData, "it has a length that is none"))
    }
}

/// A body with a limit, beyond which it is an error: its end would look like that of the answer.
struct Bounded<R> {
    body: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(Error::other("it is too long (ask for a shorter time)")),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row_binary::RowBinary;

    /// The texts and numbers of all rows, or why they cannot be read.
    fn read(bytes: &[u8], most: u64) -> Result<Vec<(String, i64)>, String> {
        let mut rows = Vec::new();
        let mut add = |row: &mut Row| {
            rows.push((row.text()?, row.int64()?));
            Ok(())
        };
        Answer::new(bytes, most).each_row(&mut add).map_err(|error| error.to_string())?;
        Ok(rows)
    }

    #[test]
    fn rows() {
        let mut rows = RowBinary::default();
        rows.string("eth0").int64(-5).string(&"ä".repeat(1000)).int64(7);
        let found = read(rows.bytes(), 10_000).unwrap();
        assert_eq!(found[0], ("eth0".into(), -5));
        assert_eq!((found[1].0.chars().count(), found[1].1), (128, 7), "the rest is skipped");
        assert_eq!(read(&[], 0), Ok(vec![]));
    }

    /// Whatever a server sends: an error, and no memory for what it only announces.
    #[test]
    fn hostile_bytes() {
        let mut rows = RowBinary::default();
        rows.string("eth0").int64(1);
        let bytes = rows.bytes();
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end], 100).unwrap_err(), "it ends early", "{end}");
        }
        assert!(read(bytes, bytes.len() as u64 - 1).unwrap_err().contains("too long"));
        let huge = [&[0xff; 8][..], &[0x7f], b"x"].concat();
        assert_eq!(read(&huge, 100).unwrap_err(), "it ends early");
        assert_eq!(read(&[0xff; 50], 100).unwrap_err(), "it has a length that is none");
        assert_eq!(read(b"Code: 241. DB::Exception", 100).unwrap_err(), "it ends early");
    }
}
