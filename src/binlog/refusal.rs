//! Files that are not archived at all, each refused by name.

/// Why a file is not a binlog that can be archived. It is complete as soon as it is found: nothing more need be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first bytes are not those of a binlog.
    #[error(
        "not a binary log: it does not begin with FE 62 69 6E; name the binlog index file or a file that it lists"
    )]
    NotABinlog,
    /// MySQL's `binlog_encryption`: `FD 62 69 6E`.
    #[error(
        "encrypted by the server (binlog_encryption=ON): without the server's keyring it is no backup; archive with binlog_encryption=OFF and encrypt with an age recipient instead"
    )]
    Encrypted,
    /// MariaDB's and Percona Server 5.7's encryption, which keeps the magic.
    #[error(
        "encrypted by the server (START_ENCRYPTION event, encrypt_binlog=ON): without the server's keys it is no backup; archive with encrypt_binlog=OFF and encrypt with an age recipient instead"
    )]
    StartEncryption,
    /// A page of MariaDB's binlog inside InnoDB.
    #[error(
        "a MariaDB InnoDB binlog (.ibb, binlog_storage_engine=innodb): it is made of pages, not of events, and cannot be archived; start the server without binlog_storage_engine"
    )]
    MariaDbIbb,
    /// A file of MySQL 4.1 or older.
    #[error(
        "binary log format version {0}, of MySQL 4.1 or older: only version 4 (MySQL 5.0 and later) can be archived; upgrade the server"
    )]
    OldVersion(u16),
    /// A format newer than all known.
    #[error(
        "binary log format version {0}, which this version of binlogfs does not know; upgrade binlogfs"
    )]
    UnknownVersion(u16),
    /// A replica's relay log.
    #[error(
        "a relay log, not a binary log: it repeats what the source wrote; archive the source's binlogs, or this server's own with log_replica_updates=ON"
    )]
    RelayLog,
}

impl Refusal {
    /// Whether it is for what the server is set to, and not for what the file is.
    pub fn is_encryption(&self) -> bool {
        match self {
            Refusal::Encrypted | Refusal::StartEncryption => true,
            Refusal::NotABinlog
            | Refusal::MariaDbIbb
            | Refusal::OldVersion(_)
            | Refusal::UnknownVersion(_)
            | Refusal::RelayLog => false,
        }
    }
}

/// First bytes of every binlog.
pub(super) const MAGIC: [u8; 4] = *b"\xfebin";
/// First bytes of a file that MySQL encrypted (`Rpl_encryption_header::ENCRYPTION_MAGIC`).
const MAGIC_ENCRYPTED: [u8; 4] = *b"\xfdbin";
/// First bytes of a page file of MariaDB's InnoDB binlog (`IBB_MAGIC`, 0x010dfefe, little-endian).
const MAGIC_IBB: [u8; 4] = [0xfe, 0xfe, 0x0d, 0x01];

/// Judges the first bytes of a file, however few.
pub(super) fn check_magic(first: &[u8]) -> Result<(), Refusal> {
    let first = &first[..first.len().min(MAGIC.len())];
    if MAGIC.starts_with(first) {
        return Ok(());
    }
    match first {
        [_, _, _, _] if first == MAGIC_ENCRYPTED => Err(Refusal::Encrypted),
        [_, _, _, _] if first == MAGIC_IBB => Err(Refusal::MariaDbIbb),
        // The other two magics differ from ours early, and the reason is worth the fourth byte.
        _ if MAGIC_ENCRYPTED.starts_with(first) || MAGIC_IBB.starts_with(first) => Ok(()),
        _ => Err(Refusal::NotABinlog),
    }
}
