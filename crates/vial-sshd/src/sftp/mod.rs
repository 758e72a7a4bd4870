//! The server of file transfers: SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions
//! (its file PROTOCOL, 4), on standard input and output.
//!
//! A process of its own for each transfer, started by the session as its account: the kernel decides what it may do,
//! and it cannot slow the server down.
//!
//! ```text
//!  stdin ──► packets ──► wire: fields (pure) ──► requests, extensions ──► kernel
//!  stdout ◄── answers, flushed when nothing more waits to be read ◄──┘     └ handles: open files and directories
//! ```
//! Names are bytes, as for the kernel. A packet that cannot be understood is answered; one that has no sensible length
//! ends the transfer.
//!
//! Deliberately absent: a crate. Those there are take names for UTF-8, and cannot keep several answers back.

mod attributes;
mod extensions;
mod handles;
mod listing;
mod requests;
mod status;
mod wire;

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

use requests::Server;
use wire::Fields;

/// The largest packet, as OpenSSH's server has it.
const LARGEST: usize = 256 * 1024;
/// What is read, and written, at once.
const BUFFER: usize = 256 * 1024;

/// Serves until standard input ends.
pub(crate) fn main() -> ExitCode {
    let input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    match serve(input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Answers every packet of `input`.
fn serve<R: Read>(mut input: BufReader<R>, mut output: impl Write) -> io::Result<()> {
    let mut server = Server::default();
    let mut packet = Vec::new();
    loop {
        if input.buffer().is_empty() {
            // The client may wait for these answers before it asks again.
            output.flush()?;
        }
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return output.flush(),
            result => result?,
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 || length > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if input.buffer().len() < length {
            output.flush()?;
        }
        packet.resize(length, 0);
        input.read_exact(&mut packet)?;
        let answer = server.answer(Fields::new(&packet));
        output.write_all(&answer)?;
    }
}

/// Whether bytes of a client can make the reading of fields panic; for fuzzing: nothing is done to any file.
pub(crate) fn understand(packet: &[u8]) {
    let mut fields = Fields::new(packet);
    while fields.byte().is_some() && fields.number().is_some() {
        if fields.string().is_none() || attributes::Attributes::read(&mut fields).is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn served(input: &[u8]) -> (io::Result<()>, Vec<u8>) {
        let mut output = Vec::new();
        let result = serve(BufReader::new(Cursor::new(input)), &mut output);
        (result, output)
    }

    #[test]
    fn nothing_is_answered_with_nothing() {
        let (result, output) = served(b"");
        assert!(result.is_ok() && output.is_empty());
    }

    #[test]
    fn a_length_that_cannot_be_ends_it() {
        assert!(served(&[0xff, 0xff, 0xff, 0xff, 1]).0.is_err());
        assert!(served(&[0, 0, 0, 0]).0.is_err());
    }

    #[test]
    fn the_first_answer_is_the_version() {
        let (_, output) = served(&[0, 0, 0, 5, 1, 0, 0, 0, 3]);
        assert_eq!(output[4..9], [2, 0, 0, 0, 3]);
        let text = String::from_utf8_lossy(&output);
        assert!(text.contains("posix-rename@openssh.com"), "{text}");
    }

    #[test]
    fn a_packet_without_sense_is_answered() {
        // Type 99, number 7: status of 7, "operation unsupported".
        let (result, output) = served(&[0, 0, 0, 5, 99, 0, 0, 0, 7]);
        assert!(result.is_ok());
        assert_eq!(output[4..13], [101, 0, 0, 0, 7, 0, 0, 0, 8]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            understand(&bytes);
        }
    }
}
