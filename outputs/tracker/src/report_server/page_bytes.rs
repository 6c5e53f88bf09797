//! The bytes of pages that are being sent. Clients that read slowly hold old pages, so there is a limit for all of them: beyond
//! it, the transfers of the oldest ones end.

use std::{
    io::{self, ErrorKind, Read},
    sync::{Arc, Mutex, Weak},
};

use super::lock;

/// Bytes of all pages; the newest one is kept in any case.
const MAX_BYTES: u64 = 64 << 20;

/// A page.
pub struct PageBytes {
    /// None if it made room.
    bytes: Mutex<Option<Vec<u8>>>,
    length: u64,
}

impl PageBytes {
    pub fn new(bytes: Vec<u8>) -> PageBytes {
        PageBytes { length: bytes.len() as u64, bytes: Mutex::new(Some(bytes)) }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn reader(self: Arc<Self>) -> impl Read {
        PageReader { page: self, at: 0 }
    }
}

struct PageReader {
    page: Arc<PageBytes>,
    at: usize,
}

impl Read for PageReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = lock(&self.page.bytes);
        let Some(bytes) = &*bytes else { return Err(ErrorKind::TimedOut.into()) };
        let mut rest = bytes.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// All pages that are held, the oldest first.
#[derive(Default)]
pub struct SentPages(Vec<Weak<PageBytes>>);

impl SentPages {
    /// Adds the newest page.
    pub fn add(&mut self, page: &Arc<PageBytes>) {
        self.0.retain(|page| page.strong_count() > 0);
        let mut all = page.length();
        for older in self.0.iter().rev().filter_map(Weak::upgrade) {
            all += older.length();
            if all > MAX_BYTES {
                *lock(&older.bytes) = None;
            }
        }
        self.0.push(Arc::downgrade(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slow clients hold any number of pages, but not their bytes.
    #[test]
    fn slow_clients() {
        let mut sent = SentPages::default();
        let mut readers = Vec::new();
        for number in 0..20_u8 {
            let page = Arc::new(PageBytes::new(vec![number; 10 << 20]));
            sent.add(&page);
            readers.push(page.reader());
        }
        let mut read = |reader: usize| {
            let mut bytes = [0; 100];
            readers[reader].read(&mut bytes).map(|length| (length, bytes[99])).ok()
        };
        assert_eq!((read(13), read(14), read(19)), (None, Some((100, 14)), Some((100, 19))));
        // One larger than the limit.
        let page = Arc::new(PageBytes::new(vec![7; 70 << 20]));
        sent.add(&page);
        assert_eq!(read(19), None);
        let mut bytes = Vec::new();
        page.reader().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 70 << 20);
    }
}
