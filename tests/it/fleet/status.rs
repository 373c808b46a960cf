//! `binlogfs status` over a configuration: one line for each stream, the worst first.

use super::{Fleet, records};
use crate::agent::daemon::{Daemon, until};
use crate::tools;

fn configuration(fleet: &Fleet) -> String {
    let place = fleet.path("store");
    format!(
        "[[tenant]]\nname = \"acme\"\nto = \"file://{}/{{tenant}}/{{cluster}}\"\nallow_unencrypted = true\n\
         [[stream]]\ntenant = \"acme\"\ncluster = \"orders\"\nsource = \"{}\"\n\
         [[stream]]\ntenant = \"acme\"\ncluster = \"eu\"\nto = \"file://{}/{{server_uuid}}\"\nsource = \"{}\"\n",
        place.display(),
        fleet.path("servers/orders").display(),
        place.display(),
        fleet.path("servers/eu").display(),
    )
}

#[test]
fn a_fleet_is_one_table_with_the_worst_first_and_says_which_agent_does_not_run() {
    let fleet = Fleet::new();
    let mut orders = fleet.server("orders", 1, 2, 1000);
    fleet.server("eu", 2, 1, 1000);
    let config = fleet.configure(&configuration(&fleet));
    let status = |more: &[&str]| {
        let mut command = tools::binlogfs();
        command.args(["status", "--config"]).arg(&config).args(more);
        let output = tools::output(command.arg("--state-dir").arg(fleet.state()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = status(&[]);
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(text.matches("not_running").count(), 2, "{text}");

    let daemon = Daemon::start(fleet.agent(&config), true);
    let eu = fleet.path("store").join(crate::synthetic::uuid_of(2));
    until("all is archived", || {
        records(&fleet.path("store/acme/orders")) == 2 && records(&eu) == 1
    });
    until("all is well", || status(&[]).0 == Some(0));
    let (_, text) = status(&[]);
    assert!(text.starts_with("TENANT  STREAM"), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].starts_with("acme    acme/eu      ok"), "{text}");
    assert!(text.contains("2 streams, all well"), "{text}");

    // What is purged before it was archived: a hole, and critical.
    orders.rotate(1, 1000);
    until("it is archived", || {
        records(&fleet.path("store/acme/orders")) == 3
    });
    daemon.kill();
    let (code, text) = status(&["--json"]);
    assert_eq!(code, Some(3), "{text}");
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["state"], "critical");
    for stream in told["streams"].as_array().expect("a list") {
        assert_eq!(stream["findings"][0]["kind"], "not_running", "{told:#}");
        assert!(stream["last_archived_at"].is_string(), "{told:#}");
    }
    orders.rotate(1, 1000);
    orders.rotate(1, 1000);
    orders.purge(4);
    let daemon = Daemon::start(fleet.agent(&config), true);
    until("the hole is critical, and the other is well", || {
        let (code, text) = status(&[]);
        let lines: Vec<_> = text.lines().collect();
        let is = |n: usize, said: &str| lines.get(n).is_some_and(|line| line.contains(said));
        code == Some(3)
            && text.contains("hole")
            && is(1, "acme/orders  critical")
            && is(2, "acme/eu      ok")
    });
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_stream_of_a_server_that_was_never_started_is_waited_for_and_said_to_be() {
    let fleet = Fleet::new();
    fleet.server("orders", 1, 1, 1000);
    std::fs::create_dir_all(fleet.path("servers/eu")).expect("writable");
    let config = fleet.configure(&configuration(&fleet));
    let daemon = Daemon::start(fleet.agent(&config), true);
    until("the other one is archived", || {
        records(&fleet.path("store/acme/orders")) == 1
    });
    let (code, said) = daemon.get("/readyz");
    assert!(code == 503 && said.starts_with("acme/eu: "), "{said}");
    assert_eq!(daemon.get("/healthz").0, 200);
    fleet.server("eu", 2, 1, 1000);
    let eu = fleet.path("store").join(crate::synthetic::uuid_of(2));
    until("it begins", || records(&eu) == 1);
    assert_eq!(daemon.stop(), Some(0));
}
