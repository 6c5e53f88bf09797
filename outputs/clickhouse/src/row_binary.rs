//! Rows in ClickHouse's format RowBinary: numbers little-endian, strings with their length before them (LEB128). Unlike a text format,
//! a server reads it in one thread and makes one block of it, so that a batch that is sent twice is the same block.

use std::net::Ipv6Addr;

/// The rows of one insert.
#[derive(Default)]
pub struct RowBinary {
    bytes: Vec<u8>,
}

impl RowBinary {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Columns that are bytes already.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.fixed(bytes)
    }

    /// `AggregateFunction(min, Int64)` or `(max, Int64)` of one number: that there is one, and the number.
    pub fn state(&mut self, number: i64) -> &mut Self {
        self.uint8(1).int64(number)
    }

    pub fn string(&mut self, text: &str) -> &mut Self {
        let mut length = text.len();
        while length >= 0x80 {
            self.bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.bytes.push(length as u8);
        self.fixed(text.as_bytes())
    }

    /// `FixedString(16)`: an address, IPv4 as v4-mapped.
    pub fn address(&mut self, address: Ipv6Addr) -> &mut Self {
        self.fixed(&address.octets())
    }

    pub fn int64(&mut self, number: i64) -> &mut Self {
        self.fixed(&number.to_le_bytes())
    }

    pub fn uint64(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_le_bytes())
    }

    pub fn uint32(&mut self, number: u32) -> &mut Self {
        self.fixed(&number.to_le_bytes())
    }

    pub fn uint16(&mut self, number: u16) -> &mut Self {
        self.fixed(&number.to_le_bytes())
    }

    pub fn uint8(&mut self, number: u8) -> &mut Self {
        self.fixed(&[number])
    }

    fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let mut rows = RowBinary::default();
        assert!(rows.is_empty());
        rows.uint8(1).uint16(0x0203).uint32(4).uint64(5).int64(-1).string("eth0");
        assert_eq!(rows.bytes()[..7], [1, 3, 2, 4, 0, 0, 0]);
        assert_eq!(rows.bytes()[15..], [&[0xff; 8][..], b"\x04eth0"].concat());
        rows.clear();
        rows.string(&"x".repeat(300));
        assert_eq!((&rows.bytes()[..2], rows.bytes().len()), (&[0xac, 0x02][..], 302));
        rows.clear();
        rows.address("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(rows.bytes()[10..], [0xff, 0xff, 192, 0, 2, 1]);
    }
}
