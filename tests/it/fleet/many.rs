//! Two hundred streams of twenty tenants in one agent, against one S3 server.

use super::{Fleet, records};
use crate::agent::daemon::{Daemon, until, until_within};
use crate::s3::server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const TENANTS: usize = 20;
const STREAMS_OF_EACH: usize = 10;
const FILES: usize = 2;
/// What one of them has to archive, when the others have `FILES`.
const FILES_OF_GREEDY: usize = 30;
const FILE_BYTES: usize = 200_000;
const GREEDY: &str = "tenant-00";
/// Memory that such an agent may take.
const RESIDENT_MAX_KIB: u64 = 256 << 10;

fn configuration(fleet: &Fleet, server: &S3Server) -> String {
    let secret = fleet.path("credentials");
    let text = format!(
        "[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    );
    fs::write(&secret, text).expect("writable");
    let mut text = String::new();
    for tenant in 0..TENANTS {
        text += &format!(
            "[[tenant]]\nname = \"tenant-{tenant:02}\"\nto = \"{}\"\ncredentials_file = \"{}\"\nallow_unencrypted = true\n",
            server.url("{tenant}/{cluster}"),
            secret.display(),
        );
    }
    for (tenant, stream) in all() {
        text += &format!(
            "[[stream]]\ntenant = \"tenant-{tenant:02}\"\ncluster = \"c{stream}\"\nsource = \"{}\"\n",
            fleet.path("servers").join(name(tenant, stream)).display(),
        );
    }
    text
}

fn all() -> impl Iterator<Item = (usize, usize)> {
    (0..TENANTS).flat_map(|tenant| (0..STREAMS_OF_EACH).map(move |stream| (tenant, stream)))
}

fn name(tenant: usize, stream: usize) -> String {
    format!("tenant-{tenant:02}/c{stream}")
}

fn files_of(tenant: usize) -> usize {
    match tenant {
        0 => FILES_OF_GREEDY,
        _ => FILES,
    }
}

/// When each record below a tenant's prefix was created.
fn record_times(tenant: &Path) -> Vec<SystemTime> {
    let mut times = Vec::new();
    for stream in fs::read_dir(tenant).expect("listed") {
        let ledger = stream.expect("an entry").path().join("ledger");
        for record in fs::read_dir(ledger).expect("listed") {
            let about = record.expect("an entry").metadata().expect("readable");
            times.push(about.modified().expect("a time"));
        }
    }
    times.sort();
    times
}

/// The most memory that the process ever had resident, in KiB.
fn most_resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.expect("the kernel tells").trim();
    text.trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn two_hundred_streams_are_archived_fairly_in_little_memory() {
    let fleet = Fleet::new();
    let server = S3Server::start(&fleet.path("s3"));
    for (number, (tenant, stream)) in (1..).zip(all()) {
        fleet.server(&name(tenant, stream), number, files_of(tenant), FILE_BYTES);
    }
    let config = fleet.configure(&configuration(&fleet, &server));
    let mut command = fleet.agent(&config);
    // As the unit of systemd has it.
    command
        .env("MALLOC_ARENA_MAX", "2")
        .env("MALLOC_MMAP_THRESHOLD_", "131072");
    let daemon = Daemon::start(command, true);
    let bucket = fleet.path("s3").join(BUCKET);
    let stored = |tenant: usize, stream: usize| -> PathBuf { bucket.join(name(tenant, stream)) };
    let mut left: Vec<_> = all().collect();
    until_within(Duration::from_secs(300), "all is archived", || {
        left.retain(|(tenant, stream)| records(&stored(*tenant, *stream)) < files_of(*tenant));
        left.is_empty()
    });
    let resident = most_resident(daemon.id());
    eprintln!("{resident} KiB resident at most");
    assert!(resident <= RESIDENT_MAX_KIB, "{resident} KiB");

    // While the others waited, the one with fifteen times as much got about what each of them did.
    let others = (1..TENANTS).map(|tenant| bucket.join(format!("tenant-{tenant:02}")));
    let last = others
        .filter_map(|tenant| record_times(&tenant).pop())
        .max();
    let last = last.expect("there are others");
    let greedy = record_times(&bucket.join(GREEDY));
    assert_eq!(greedy.len(), STREAMS_OF_EACH * FILES_OF_GREEDY);
    let meanwhile = greedy.iter().filter(|at| **at <= last).count();
    let each = STREAMS_OF_EACH * FILES;
    eprintln!("{meanwhile} of {GREEDY} while each other tenant had its {each}");
    assert!(
        meanwhile <= each * 2,
        "{meanwhile} while the others had {each} each"
    );

    let mut status = tools::binlogfs();
    status.args(["status", "--config"]).arg(&config);
    status.arg("--state-dir").arg(fleet.state());
    let mut said = String::new();
    until("all is well", || {
        let output = tools::output(&mut status);
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.code() == Some(0)
    });
    assert!(said.contains("200 streams, all well"), "{said}");
    assert_eq!(daemon.stop(), Some(0));
}
