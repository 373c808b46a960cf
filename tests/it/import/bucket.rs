//! Piles in a bucket: a prefix of WAL-G's.

use super::pile::{Pile, STORED, import, json};
use super::{expected, listed, name_of};
use crate::archive::Archive;
use crate::s3::server::{BUCKET, S3Server};
use crate::synthetic::SyntheticServer;
use std::path::PathBuf;

#[test]
fn what_wal_g_keeps_in_a_bucket_is_imported_and_what_it_compressed_otherwise_is_named() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "mysql-bin");
    // One that takes more than one request to read, whatever compresses it.
    server.rotate(40, 200_000);
    (0..11).for_each(|_| server.rotate(3, 2000));
    let files = server.closed();
    let root = archive.path("wal-g");
    let s3 = S3Server::start(&root);
    let mut pile = Pile::new(root.join(BUCKET).join("prod/orders"));
    for (n, path) in files.iter().enumerate() {
        let suffix = match n {
            // Brotli has no magic number and is not read.
            5 => continue,
            n => STORED[n % STORED.len()],
        };
        pile.add(&format!("binlog_005/{}", name_of(path)), path, suffix);
    }
    pile.write(
        "binlog_005/mysql-bin.000006.br",
        b"\x8b\x0f\x80neither one nor the other",
    );
    pile.write("binlog_sentinel_005.json", b"{\"GtidArchived\":\"\"}");
    let url = s3.url("prod/orders");
    let missing: Vec<PathBuf> = vec![files[5].clone()];
    let told = json(&mut import(&archive, &url), 3);
    assert_eq!(told["refused"][0]["path"], "binlog_005/mysql-bin.000006.br");
    assert_eq!(told["foreign"][0]["path"], "binlog_sentinel_005.json");
    assert_eq!(told["holes"], serde_json::json!(["mysql-bin.000006"]));
    assert!(
        told["notices"]
            .to_string()
            .contains("binlog_005/mysql-bin.000006.br"),
        "{told}"
    );
    assert_eq!(listed(&archive), expected(&files, &missing));
    assert_eq!(
        json(&mut import(&archive, &url), 3)["archived"],
        serde_json::json!([])
    );
    let asked = s3.asked();
    assert_eq!(
        asked.get("PutObject"),
        None,
        "a pile is only read: {asked:?}"
    );
}
