//! How requests fail: the kernel's errors in the protocol's words (draft-ietf-secsh-filexfer-02, 7); pure.

use rustix::io::Errno;

use super::wire::Packet;

/// SSH_FXP_STATUS.
const STATUS: u8 = 101;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    /// Nothing more to read.
    End,
    /// The kernel refused.
    Failed(Errno),
    /// The packet makes no sense.
    Bad,
    /// Nobody knows such a request.
    Unsupported,
}

impl From<Errno> for Status {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for Status {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl Status {
    /// The answer to the request of this number.
    pub(super) fn packet(&self, request: u32) -> Vec<u8> {
        let mut packet = Packet::new(STATUS, request);
        packet.number(self.code());
        packet.string(self.text().as_bytes());
        packet.string(b"");
        packet.finish()
    }

    fn code(&self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::End => 1,
            Self::Failed(Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP) => 2,
            Self::Failed(Errno::PERM | Errno::ACCESS | Errno::FAULT) => 3,
            Self::Failed(Errno::NAMETOOLONG | Errno::INVAL) | Self::Bad => 5,
            Self::Failed(Errno::NOSYS) | Self::Unsupported => 8,
            Self::Failed(_) => 4,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Ok => "Success".into(),
            Self::End => "End of file".into(),
            // OpenSSH's client shows its own words for what has a code, and these for the rest.
            Self::Failed(Errno::NOENT) => "No such file".into(),
            Self::Failed(Errno::PERM | Errno::ACCESS) => "Permission denied".into(),
            Self::Failed(error) => {
                let text = std::io::Error::from(*error).to_string();
                text.split(" (os error")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }
            Self::Bad => "Bad message".into(),
            Self::Unsupported => "Operation unsupported".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_have_codes() {
        assert_eq!(Status::from(Errno::NOENT).code(), 2);
        assert_eq!(Status::from(Errno::ACCESS).code(), 3);
        assert_eq!(Status::from(Errno::NOSPC).code(), 4);
        assert_eq!(Status::from(Errno::NOSPC).text(), "No space left on device");
        let error = std::io::Error::from_raw_os_error(39);
        assert_eq!(Status::from(error).text(), "Directory not empty");
    }
}
