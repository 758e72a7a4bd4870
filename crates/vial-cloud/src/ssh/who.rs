//! Doing something as another person, so that root never does more in a home than its owner may.

use std::io;

use rustix::process::{Gid, Uid};

/// A person, to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Who {
    /// Who runs this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// Does `work` with the rights of this person and no others: a symbolic link then leads nowhere where the person could
    /// not go. A thread of its own gives up root's rights for good (setresuid(2): they are those of a thread).
    ///
    /// # Errors
    /// Those of `work`, or when this process may not become that person.
    pub fn act<T: Send>(self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        if rustix::process::geteuid().as_raw() == self.uid {
            return work();
        }
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                self.become_them()?;
                work()
            });
            acting
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
        })
    }

    fn become_them(self) -> io::Result<()> {
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[gid])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn a_link_of_a_person_leads_root_nowhere() {
        if !rustix::process::geteuid().is_root() {
            return vial_testing::skip("only root becomes somebody else");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(4242), Some(4242)).unwrap();
        let link = home.join("link");
        std::os::unix::fs::symlink(&secret, &link).unwrap();

        let ann = Who {
            uid: 4242,
            gid: 4242,
        };
        let error = ann.act(|| fs::write(&link, "x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        ann.act(|| fs::write(home.join("own"), "x")).unwrap();
        assert_eq!(fs::metadata(home.join("own")).unwrap().uid(), 4242);
        fs::write(&secret, "root is root still").unwrap();
    }
}
