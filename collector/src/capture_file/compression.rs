//! Compressed capture files: gzip and zstd, recognised by their first bytes, whatever the file's name is.
//!
//! The decoders return what fits the reader's buffer, so a small file that stands for terabytes costs time
//! and no memory: at most 64 KiB for gzip, and the window of zstd, which is limited here.

use std::io::{self, Error, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder, errors::FrameDecoderError};

use super::lookahead::Lookahead;

/// Largest window of zstd, in bytes: the limit of zstd(1), too, unless it is called with --long or --memory.
const ZSTD_WINDOW: u64 = 128 << 20;
/// An empty block that ends a frame, and a checksum, where the frame has one.
const LAST_BLOCK: &[u8] = &[1, 0, 0, 0, 0, 0, 0];
const ZSTD_FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The bytes of a stream, decompressed if it is compressed.
pub fn decompressed(input: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut input = Lookahead::new(input);
    let first = input.peek(4)?;
    if first.starts_with(&[0x1f, 0x8b]) {
        // A gzip file may be several ones in a row.
        return Ok(Box::new(Gzip(MultiGzDecoder::new(input))));
    }
    if first == ZSTD_FRAME || skippable(first) {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        return Ok(Box::new(Zstd { input, decoder, in_frame: false, failure: None }));
    }
    Ok(Box::new(input))
}

struct Gzip<R>(MultiGzDecoder<R>);

impl<R: io::BufRead> Read for Gzip<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => fault("gzip", "the compressed data ends too early"),
            ErrorKind::Interrupted => error,
            _ => fault("gzip", error),
        })
    }
}

/// A zstd file: frames in a row, and skippable frames between them, as pzstd(1) writes them (RFC 8878, 3.1).
struct Zstd<R> {
    input: Lookahead<R>,
    decoder: FrameDecoder,
    in_frame: bool,
    /// Why the frame cannot be read to its end; returned after what was decoded.
    failure: Option<Error>,
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                if let Err(error) = self.decoder.decode_blocks(&mut self.input, one) {
                    self.failure = Some(self.fault(error));
                    // It holds back what later blocks may refer to, until the last one.
                    let _ = self.decoder.decode_blocks(LAST_BLOCK, BlockDecodingStrategy::All);
                    break;
                }
            }
            let read = self.decoder.read(to)?;
            if read > 0 || to.is_empty() {
                return Ok(read);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            let stored = self.decoder.get_checksum_from_data();
            if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
                return Err(fault("zstd", "corrupt data (its checksum is wrong)"));
            }
            self.in_frame = false;
        }
    }
}

impl<R: Read> Zstd<R> {
    /// Reads the header of the next frame; returns false at the end of the file.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            let first = self.input.peek(8)?;
            if first.is_empty() {
                return Ok(false);
            }
            if !skippable(first) {
                break;
            }
            let Some((_, length)) = first.split_first_chunk::<4>() else { break };
            let Some(length) = length.first_chunk() else { return Err(self.fault("")) };
            let length = u64::from(u32::from_le_bytes(*length));
            if !self.input.skip(8 + length)? {
                return Err(self.fault(""));
            }
        }
        match self.decoder.reset(&mut self.input) {
            Ok(()) => Ok(true),
            Err(FrameDecoderError::WindowSizeTooBig { requested, max }) => Err(fault(
                "zstd",
                format_args!(
                    "a window of {requested} bytes, more than {max} (use zstdcat --long=31 FILE | collector --read -)"
                ),
            )),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// The decoder's error. It has many texts for a file that ends too early.
    fn fault(&mut self, error: impl std::fmt::Display) -> Error {
        match self.input.peek(1) {
            Ok([]) => fault("zstd", "the compressed data ends too early"),
            Ok(_) => fault("zstd", error),
            Err(error) => error,
        }
    }
}

/// Whether a skippable frame of zstd begins so.
fn skippable(first: &[u8]) -> bool {
    matches!(first, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

fn fault(format: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{format}: {cause}"))
}
