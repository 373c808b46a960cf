//! A slow or broken link on the loopback interface, for the benchmarks and to try things by hand.
//!
//! `slow_link SERVER:PORT [SETTING VALUE]...` prints its address and passes what is sent there on to the server. Settings, in the
//! arguments and, one a line, on standard input: `round-trip-ms 20`, `rate-mbit 200` for all connections together or `none`,
//! `connection-mbit 720` for each of them or `none`, `fault silence`, `trickle`, `cut:BYTES`, `refuse` or `none`. `traffic` prints
//! what has passed so far. It runs until its standard input ends.

#[path = "../tests/it/slow_link/conditions.rs"]
mod conditions;
#[path = "../tests/it/slow_link/link.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod link;
#[path = "../tests/it/slow_link/pace.rs"]
mod pace;

use anyhow::{Context as _, Result, anyhow, bail};
use conditions::{Change, Conditions};
use link::SlowLink;
use std::io::BufRead as _;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((server, settings)) = arguments.split_first() else {
        bail!("usage: slow_link SERVER:PORT [SETTING VALUE]...");
    };
    let server = server
        .parse()
        .with_context(|| format!("{server} is not an address"))?;
    let mut conditions = Conditions::default();
    for setting in settings.chunks(2) {
        let [name, value] = setting else {
            bail!("{} has no value", setting[0]);
        };
        conditions.apply(Change::parse(name, value).map_err(|e| anyhow!(e))?);
    }
    let link = SlowLink::start(server, conditions);
    println!("{}", link.address());
    for line in std::io::stdin().lock().lines() {
        println!("{}", obey(&link, &line?));
    }
    Ok(())
}

/// Does what a line of standard input asks for; what there is to say.
fn obey(link: &SlowLink, line: &str) -> String {
    if line.trim() == "traffic" {
        let traffic = link.traffic();
        return format!(
            "connections={} up_bytes={} down_bytes={}",
            traffic.connections, traffic.up_bytes, traffic.down_bytes
        );
    }
    let (name, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match Change::parse(name, value.trim()) {
        Ok(change) => {
            link.change(|conditions| conditions.apply(change));
            "ok".to_owned()
        }
        Err(error) => format!("error: {error}"),
    }
}
