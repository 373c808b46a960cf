//! Random damage.

use super::*;

/// Numbers that look random and are the same each time.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn damaged_and_cut_metadata_are_read_or_refused_and_never_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let (packed, zipped) = (zstd_of(MYSQLDUMP), gzip(MYSQLDUMP));
    let texts: [(&str, &[u8]); 9] = [
        ("full.sql", MYSQLDUMP.as_bytes()),
        ("maria.sql", MARIADB_DUMP.as_bytes()),
        ("full.sql.zst", &packed),
        ("full.sql.gz", &zipped),
        ("metadata", MYDUMPER_OLD.as_bytes()),
        ("metadata", MYDUMPER_NEW.as_bytes()),
        ("@.json", SHELL.as_bytes()),
        ("xtrabackup_binlog_info", BINLOG_INFO.as_bytes()),
        ("#view_status", CLONED.as_bytes()),
    ];
    let dir = dir(&[("@.done.json", b"{}"), ("xtrabackup_info", INFO.as_bytes())]);
    let (mut refused, mut read_all_the_same) = (0, 0);
    for (name, whole) in texts {
        let path = dir.path().join(name);
        for _ in 0..400 {
            let mut bytes = whole.to_vec();
            for _ in 0..random(&mut seed) % 4 {
                let at = random(&mut seed) as usize % bytes.len();
                bytes[at] ^= 1 << (random(&mut seed) % 8);
            }
            if random(&mut seed).is_multiple_of(2) {
                bytes.truncate(random(&mut seed) as usize % bytes.len());
            }
            fs::write(&path, &bytes).expect("writable");
            match read(&path) {
                Ok(found) => {
                    assert!(found.is_place(), "{name}: {found:?}");
                    read_all_the_same += 1;
                }
                Err(error) => {
                    assert!(!error.reason.is_empty() && !error.next.is_empty());
                    refused += 1;
                }
            }
        }
        fs::remove_file(&path).expect("it is there");
    }
    assert!(
        refused > 500 && read_all_the_same > 500,
        "{refused} {read_all_the_same}"
    );
}
