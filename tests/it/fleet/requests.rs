//! What an agent asks of a store: this is what it costs.

use super::{Fleet, records};
use crate::agent::daemon::{Daemon, until};
use crate::s3::server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use std::fs;

/// Segments archived one after another.
const SEGMENTS: u64 = 20;
/// Requests for each, the budget of a segment of one part.
const REQUESTS_MAX: u64 = 4;

#[test]
fn a_segment_of_one_part_takes_at_most_four_requests() {
    let fleet = Fleet::new();
    let store = S3Server::start(&fleet.path("s3"));
    let secret = fleet.path("credentials");
    let text = format!(
        "[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    );
    fs::write(&secret, text).expect("writable");
    let mut server = fleet.server("orders", 1, 2, 1000);
    let config = fleet.configure(&format!(
        "[[tenant]]\nname = \"acme\"\nto = \"{}\"\ncredentials_file = \"{}\"\nallow_unencrypted = true\n\
         [[stream]]\ntenant = \"acme\"\ncluster = \"orders\"\nsource = \"{}\"\n",
        store.url("{cluster}"),
        secret.display(),
        server.dir().display(),
    ));
    let daemon = Daemon::start(fleet.agent(&config), true);
    let bucket = fleet.path("s3").join(BUCKET).join("orders");
    until("the first are archived", || records(&bucket) >= 2);
    store.asked();
    for number in 0..SEGMENTS {
        server.rotate(1, 1000);
        let wanted = 3 + usize::try_from(number).expect("few");
        until("one more is archived", || records(&bucket) >= wanted);
    }
    let asked = store.asked();
    eprintln!("{asked:?} for {SEGMENTS} segments");
    let all: u64 = asked.values().sum();
    assert!(all <= SEGMENTS * REQUESTS_MAX, "{asked:?}");
    assert_eq!(daemon.stop(), Some(0));
}
