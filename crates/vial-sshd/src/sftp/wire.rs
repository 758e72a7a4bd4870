//! Fields of packets: numbers with the highest byte first, strings with their length before them; pure.

/// What is left of a packet. Every taker returns `None` at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

/// A packet that is being made.
#[derive(Debug)]
pub(super) struct Packet(Vec<u8>);

impl Packet {
    /// An answer of this type to the request of this number.
    pub(super) fn new(kind: u8, request: u32) -> Self {
        Self::with_room(kind, request, 64)
    }

    /// The same, for so many bytes.
    pub(super) fn with_room(kind: u8, request: u32, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room + 16);
        bytes.extend([0, 0, 0, 0, kind]);
        let mut packet = Self(bytes);
        packet.number(request);
        packet
    }

    pub(super) fn number(&mut self, number: u32) {
        self.0.extend(number.to_be_bytes());
    }

    pub(super) fn long(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    pub(super) fn string(&mut self, string: &[u8]) {
        self.number(u32::try_from(string.len()).unwrap_or(u32::MAX));
        self.0.extend(string);
    }

    /// Bytes without a length.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// How long it is by now.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The packet with its length.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut packet = Packet::new(104, 7);
        packet.number(1);
        packet.long(2);
        packet.string(b"name\xff");
        let bytes = packet.finish();
        let mut fields = Fields::new(&bytes);
        assert_eq!(
            fields.number().map(|length| length as usize),
            Some(bytes.len() - 4)
        );
        assert_eq!((fields.byte(), fields.number()), (Some(104), Some(7)));
        assert_eq!((fields.number(), fields.long()), (Some(1), Some(2)));
        assert_eq!(fields.string(), Some(&b"name\xff"[..]));
        assert_eq!(fields.byte(), None);
    }

    #[test]
    fn a_string_longer_than_its_packet_is_none() {
        assert_eq!(Fields::new(&[0, 0, 0, 2, b'a']).string(), None);
        assert_eq!(Fields::new(&[0xff, 0xff, 0xff, 0xff]).string(), None);
    }
}
