//! Numbers in the byte order of a capture file.

/// The byte order of a file, or of a section of a pcapng file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

impl Order {
    /// The order in which these bytes are this number.
    pub fn of(magic: u32, bytes: [u8; 4]) -> Option<Order> {
        let mut orders = [Order::Little, Order::Big].into_iter();
        orders.find(|order| order.number(bytes) == magic)
    }

    /// The number that begins at this byte; 0 behind the end, which callers exclude.
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let number = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        number.map_or(0, |bytes| self.number(*bytes))
    }

    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let number = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        number.map_or(0, |bytes| match self {
            Order::Little => u16::from_le_bytes(*bytes),
            Order::Big => u16::from_be_bytes(*bytes),
        })
    }

    fn number(self, bytes: [u8; 4]) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }
}
