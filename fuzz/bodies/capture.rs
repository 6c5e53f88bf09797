//! Any bytes as a capture file, which may be compressed: it is refused, or read to its end or to a fault, and each frame
//! belongs to an interface that was described before it.

use std::io::Cursor;

use crate::capture_file::{CaptureFile, Record};

/// Compressed files can have far more.
const RECORDS: u32 = 4096;

pub fn capture(input: &[u8]) {
    let mut file = match CaptureFile::open(Cursor::new(input.to_vec())) {
        Ok(file) => file,
        Err(why) => return assert!(!why.is_empty() && !why.contains('\n'), "{why}"),
    };
    let mut interfaces = 0;
    for _ in 0..RECORDS {
        match file.next() {
            Ok(Some(Record::Section)) => interfaces = 0,
            Ok(Some(Record::Interface(description))) => {
                let _ = description.link();
                interfaces += 1;
            }
            Ok(Some(Record::Frame { interface, frame })) => {
                assert!(interface < interfaces, "{interface} of {interfaces}");
                assert!(frame.bytes.len() <= 16 << 20, "a frame of {} bytes", frame.bytes.len());
            }
            Ok(None) => return,
            Err(why) => return assert!(!why.contains('\n'), "{why}"),
        }
    }
}
