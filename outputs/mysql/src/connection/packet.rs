//! Packets of the protocol, and the fields in them.

use std::io::{self, BufReader, ErrorKind, Read, Write};

use aw_peer::PeerStream;

use super::{Error, Result, ServerError};

/// Bytes of a packet that are read, at most: a row of our tables has some hundred.
const MAX_PACKET: usize = 1 << 20;
/// A longer packet is sent in parts.
const MAX_PART: usize = 0xff_ffff;
/// Characters of a server's error that are kept.
const MAX_MESSAGE: usize = 500;

/// A stream of packets.
pub struct Packets {
    stream: BufReader<PeerStream>,
    sequence: u8,
}

impl Packets {
    pub fn new(stream: PeerStream) -> Packets {
        Packets { stream: BufReader::new(stream), sequence: 0 }
    }

    pub fn stream(&mut self) -> &mut PeerStream {
        self.stream.get_mut()
    }

    /// The same packets on another layer. What the server has sent too early is dropped with the old one.
    pub fn over(self, layer: impl FnOnce(PeerStream) -> io::Result<PeerStream>) -> Result<Packets> {
        let stream = layer(self.stream.into_inner())?;
        Ok(Packets { stream: BufReader::new(stream), sequence: self.sequence })
    }

    /// The next packet is the first one of a command.
    pub fn restart(&mut self) {
        self.sequence = 0;
    }

    pub fn send(&mut self, payload: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(payload.len() + 4);
        let mut parts = payload.chunks(MAX_PART).collect::<Vec<_>>();
        if payload.len().is_multiple_of(MAX_PART) {
            parts.push(&[]); // the last part is a short one
        }
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
            bytes.push(self.sequence);
            bytes.extend_from_slice(part);
            self.sequence = self.sequence.wrapping_add(1);
        }
        let stream = self.stream.get_mut();
        Ok(stream.write_all(&bytes).and_then(|()| stream.flush())?)
    }

    /// The next packet; a server's error is an error.
    pub fn receive(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        if length > MAX_PACKET {
            let why = format!("the server sends a packet of more than {MAX_PACKET} bytes");
            return Err(Error::Io(io::Error::new(ErrorKind::InvalidData, why)));
        }
        self.sequence = head[3].wrapping_add(1);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        if payload.first() == Some(&0xff) {
            return Err(server_error(&payload));
        }
        Ok(payload)
    }
}

/// The error in a packet: its number, perhaps `#` and five characters of a class, and its text.
fn server_error(packet: &[u8]) -> Error {
    let Some((code, text)) = packet[1..].split_first_chunk() else { return super::malformed() };
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    let text = String::from_utf8_lossy(text);
    let message = text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    Error::Server(ServerError { code: u16::from_le_bytes(*code), message })
}

/// The rest of a packet. Each method takes a field from its front; `None`: the packet is too short.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    /// Up to a NUL, or to the end.
    pub fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let field = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        field
    }

    /// A number of one to nine bytes.
    pub fn number(&mut self) -> Option<u64> {
        let length = match self.bytes(1)?[0] {
            small @ ..=0xfa => return Some(small.into()),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            _ => return None,
        };
        let mut number = [0; 8];
        number[..length].copy_from_slice(self.bytes(length)?);
        Some(u64::from_le_bytes(number))
    }

    /// A value of a row: its bytes, or NULL.
    pub fn value(&mut self) -> Option<Option<Vec<u8>>> {
        if let Some((0xfb, rest)) = self.0.split_first() {
            self.0 = rest;
            return Some(None);
        }
        let length = usize::try_from(self.number()?).ok()?;
        Some(Some(self.bytes(length)?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut fields = Fields(b"\x05\xfc\x00\x01\xfb\x02ab\x00x");
        assert_eq!((fields.number(), fields.number()), (Some(5), Some(256)));
        assert_eq!((fields.value(), fields.value()), (Some(None), Some(Some(b"ab".to_vec()))));
        assert_eq!((fields.text(), fields.text(), fields.text()), (&b""[..], &b"x"[..], &b""[..]));
        for short in [&b""[..], b"\xfc\x01", b"\xfe\x01\x02", b"\xff", b"\x05abcd"] {
            assert_eq!(Fields(short).value(), None, "{short:?}");
        }
    }

    #[test]
    fn errors_of_a_server() {
        let error = |packet: &[u8]| match server_error(packet) {
            Error::Server(ServerError { code, message }) => (code, message),
            other => panic!("{other:?}"),
        };
        assert_eq!(error(b"\xff\x15\x04#28000Access\ndenied"), (1045, "Accessdenied".into()));
        assert_eq!(error(b"\xff\x10\x04Too many connections").1, "Too many connections");
        assert_eq!(error(b"\xff\x10\x04#1").1, "");
        assert!(matches!(server_error(b"\xff\x10"), Error::Protocol(_)));
    }
}
