//! What a search costs: requests to the store.

use super::reference::Told;
use super::{History, locator};
use crate::archive::Archive;
use binlogfs::locate::Target;
use binlogfs::model::{Micros, Timeline};

/// Gets of a cold look into a file of many frames: header, tail, two frames, and two that are fetched ahead, because a reader that
/// passes the middle of a frame looks like one that moves forward.
pub const GETS_MAX: usize = 6;

/// What such a look costs: gets, and bytes.
pub async fn cost_of(archive: &Archive, target: &Target) -> (usize, u64) {
    let (locator, recording) = locator(archive).await;
    locator
        .find(Timeline(1), target)
        .await
        .expect("it is there");
    let total = recording.total("get");
    (total.calls as usize, total.bytes)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
pub async fn costs(history: &History) {
    let name = &history.told[50].file;
    let large: Vec<&Told> = history.told.iter().filter(|t| t.file == *name).collect();
    let size = large.last().expect("some").end;
    assert!(size > 12 << 20, "the second file is large: {size}");
    for told in large.iter().step_by(9) {
        let time = Micros(told.committed.0 - 1);
        for target in [
            Target::Time(time),
            Target::Gtid(told.gtid.parse().expect("a GTID")),
        ] {
            let (gets, bytes) = cost_of(&history.archive, &target).await;
            assert!(
                gets <= GETS_MAX && bytes < 3 << 20,
                "{target}: {gets} gets, {bytes} bytes"
            );
        }
    }
}
