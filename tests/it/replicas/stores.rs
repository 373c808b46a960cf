//! A replica in a store of another kind: a directory's on S3, S3's on Cloud Storage.

use super::Replicated;
use crate::archive::Archive;
use crate::gcs::emulator::Emulator;
use crate::s3::server::S3Server;
use crate::tools;
use std::fs;

#[test]
fn from_a_directory_to_s3_to_cloud_storage_and_each_heals_the_one_before() {
    let mut pair = Replicated::of(Archive::encrypted(), 0);
    pair.server.rotate(3, 1000);
    pair.server.rotate(20_000, 200);
    pair.server.rotate(3, 1000);
    pair.archive.archive(pair.server.dir());
    let s3 = S3Server::start(&pair.archive.path("s3-copy"));
    let gcs = Emulator::start(&pair.archive.path("gcs-copy"));
    let (own, on_s3, on_gcs) = (
        pair.archive.url(),
        s3.url("copy/orders"),
        gcs.url("copy/orders"),
    );
    for (from, to) in [(&own, &on_s3), (&on_s3, &on_gcs)] {
        let said = tools::run_text(&mut pair.archive.command(&["replicate", from, "--to", to]));
        assert!(said.contains("copied 3 records, 3 segments"), "{said}");
        tools::run(&mut pair.archive.command(&["verify", to, "--deep", "--orphans"]));
        tools::run(
            &mut pair
                .archive
                .command(&["replicate", from, "--to", to, "--check"]),
        );
    }
    let object = pair.archive.ls(&[])[1]["object"]
        .as_str()
        .expect("a key")
        .to_owned();
    fs::remove_file(pair.archive.bucket().join(&object)).expect("removable");
    let cat = |replica: &str| {
        let output = pair.archive.output(&["cat", &own, "--replica", replica]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            tools::excerpt(&output.stderr)
        );
        assert!(output.stdout == pair.truth(), "past {replica}");
    };
    cat(&on_s3);
    cat(&on_gcs);
    let repair = ["verify", &own, "--repair", "--replica", &on_s3];
    tools::run(&mut pair.archive.command(&repair));
    pair.archive.verify();
}
