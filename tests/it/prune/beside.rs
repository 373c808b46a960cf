//! What is pruned while an archive is looked over is not missed; what is lost is.

use super::*;
use binlogfs::model::StoreUrl;
use binlogfs::store::{self, OpenMode};
use binlogfs::verify::{Audit, FindingKind};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_while_it_is_looked_over_is_no_finding_and_what_is_lost_is() {
    let (archive, _) = archived(Archive::plain(), 5);
    backup(&archive, "late", 45, 0);
    let newest = archive.ls(&[])[4]["object"].clone();
    let newest = newest.as_str().expect("a key");
    let url: StoreUrl = archive.url().parse().expect("a URL");
    let store = store::open(&url, OpenMode::Existing).await.expect("opens");
    let mut audit = Audit::open(&store, Vec::new()).await.expect("opens");
    audit.check_entries().expect("reads");
    assert_eq!(audit.segments.len(), 5);

    let did = prune(&archive, &["--keep", "1s", "--execute", "--grace", "0s"], 0);
    assert_eq!(did["removal"]["objects"], 3, "{did:#}");
    fs::remove_file(archive.bucket().join(newest)).expect("removable");
    audit.check_objects().await;
    assert_eq!(audit.findings.len(), 4, "{:#?}", audit.findings);
    audit.drop_gone().await.expect("follows");
    let [lost] = &audit.findings[..] else {
        panic!("{:#?}", audit.findings)
    };
    assert_eq!(lost.kind, FindingKind::ObjectMissing);
    assert_eq!(lost.object.as_deref(), Some(newest));
    // Of what went, no report says that it was right.
    assert_eq!((audit.segments.len(), audit.pruned), (2, 3));
}
