//! Echo requests and replies: RFC 792 (ICMP) and RFC 4443, 4 (ICMPv6); pure.
//!
//! ```text
//!  type 1 | code 1 | checksum 2 | identifier 2 | sequence 2 | ours: token 8
//! ```

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// Bytes before the token.
const HEADER: usize = 8;

/// A request. The kernel replaces the identifier of ping sockets, and makes the checksum of ICMPv6.
pub(super) fn request(family: Family, identifier: u16, sequence: u16, token: u64) -> [u8; 16] {
    let mut packet = [0; HEADER + 8];
    packet[0] = family.request();
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[HEADER..].copy_from_slice(&token.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The sequence number of a reply that has our token. Raw sockets of IPv4 give the header of the packet too.
pub(crate) fn sequence(family: Family, packet: &[u8], token: u64) -> Option<u16> {
    let message = match family {
        Family::V4 => without_header(packet),
        Family::V6 => packet,
    };
    let (header, ours) = message.split_at_checked(HEADER)?;
    let good = header[0] == family.reply() && header[1] == 0 && *ours == token.to_be_bytes();
    good.then(|| u16::from_be_bytes([header[6], header[7]]))
}

/// RFC 791, 3.1. An ICMP message begins with its type: 0x45 to 0x4f, the first byte of a header, is none that is assigned.
fn without_header(packet: &[u8]) -> &[u8] {
    let Some(first) = packet.first().filter(|first| **first >> 4 == 4) else {
        return packet;
    };
    let length = usize::from(first & 0x0f) * 4;
    packet.get(length..).unwrap_or_default()
}

/// RFC 1071, of an even number of bytes.
fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = packet
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the other side answers.
    fn reply(family: Family, mut request: [u8; 16]) -> [u8; 16] {
        request[0] = family.reply();
        request
    }

    #[test]
    fn a_reply_is_known_by_its_token() {
        for family in [Family::V4, Family::V6] {
            let answer = reply(family, request(family, 7, 513, 42));
            assert_eq!(sequence(family, &answer, 42), Some(513));
            assert_eq!(sequence(family, &answer, 43), None);
            assert_eq!(sequence(family, &answer[..15], 42), None);
            // Who asks itself sees the question too.
            assert_eq!(sequence(family, &request(family, 7, 513, 42), 42), None);
        }
    }

    #[test]
    fn the_header_of_a_raw_packet_is_left_out() {
        let answer = reply(Family::V4, request(Family::V4, 7, 9, 42));
        let mut packet = vec![0x46];
        packet.resize(24, 0);
        packet.extend(answer);
        assert_eq!(sequence(Family::V4, &packet, 42), Some(9));
        assert_eq!(sequence(Family::V4, &packet[..20], 42), None);
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        // A packet with its checksum sums up to nothing.
        assert_eq!(checksum(&request(Family::V4, 0xffff, 3, u64::MAX)), 0);
    }
}
