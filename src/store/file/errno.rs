//! What a system error means for a store: the one table.

use crate::store::ErrorKind;
use rustix::io::Errno;
use std::io;

/// The kind of a failed system call.
///
/// Local disks do not have passing faults, network file systems do. EIO is not one of them: the kernel reports a failed
/// write-back once and forgets the pages, so the next fsync would lie.
pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    let Some(code) = error.raw_os_error() else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
            io::ErrorKind::WriteZero => ErrorKind::NoSpace,
            _ => ErrorKind::Permanent,
        };
    };
    match Errno::from_raw_os_error(code) {
        Errno::NOENT => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
        // ELOOP: a symbolic link where none is followed.
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::LOOP => ErrorKind::Denied,
        Errno::NOKEY | Errno::KEYEXPIRED | Errno::KEYREVOKED | Errno::KEYREJECTED => {
            ErrorKind::Credentials
        }
        Errno::TIMEDOUT => ErrorKind::Timeout,
        // Descriptors and memory come back; the rest is a network file system's server restarting.
        Errno::INTR
        | Errno::AGAIN
        | Errno::BUSY
        | Errno::NOMEM
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOLCK
        | Errno::STALE
        | Errno::CONNREFUSED
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::NOTCONN
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::REMOTEIO => ErrorKind::Transient,
        Errno::OPNOTSUPP | Errno::NOSYS => ErrorKind::Unsupported,
        _ => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_error_has_its_kind() {
        for (errno, kind) in [
            (Errno::NOENT, ErrorKind::NotFound),
            (Errno::EXIST, ErrorKind::AlreadyExists),
            (Errno::NOSPC, ErrorKind::NoSpace),
            (Errno::DQUOT, ErrorKind::NoSpace),
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::INTR, ErrorKind::Transient),
            (Errno::TIMEDOUT, ErrorKind::Timeout),
            (Errno::IO, ErrorKind::Permanent),
            (Errno::OPNOTSUPP, ErrorKind::Unsupported),
        ] {
            assert_eq!(kind_of(&errno.into()), kind, "{errno}");
        }
        let short = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(kind_of(&short), ErrorKind::Truncated);
    }
}
