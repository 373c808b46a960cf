//! Alarms reach a webhook and a command, once each, and their end too.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// A webhook that answers 503 to the first request and 200 to all others; what was posted.
fn webhook() -> (String, Receiver<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/secret-token",
        listener.local_addr().expect("bound")
    );
    let (sender, posts) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).expect("text") > 2 {
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let status = if n == 0 { "503 Busy" } else { "200 OK" };
            let reply =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(reply.as_bytes()).expect("sent");
            if n > 0 {
                let post = serde_json::from_slice(&body).expect("JSON");
                let _ = sender.send(post);
            }
        }
    });
    (url, posts)
}

fn told(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn an_alarm_is_told_once_by_each_way_and_its_end_too() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    let (url, posts) = webhook();
    let webhook_file = archive.path("webhook");
    fs::write(&webhook_file, format!("{url}\n")).expect("writable");
    let heard = archive.path("heard.jsonl");
    let nothing = archive.path("nothing");
    fs::write(&nothing, "").expect("writable");
    let config = archive.path("binlogfs.toml");
    let text = format!(
        "[agent]\nwebhook_file = \"{}\"\ncommand = [\"sh\", \"-c\", \"cat >> {}; echo >> {}\"]\n\
         [archive]\nrecipients = [\"{}\"]\n\
         [[stream]]\nname = \"orders\"\nsource = \"{}\"\nto = \"file://{}\"\nstate_dir = \"{}\"\n",
        webhook_file.display(),
        heard.display(),
        heard.display(),
        archive.recipient(),
        server.dir().display(),
        nothing.join("x").display(),
        archive.path("state").display(),
    );
    fs::write(&config, &text).expect("writable");
    let once = || {
        let mut command = tools::binlogfs();
        command.args(["archive", "--once", "--config"]).arg(&config);
        tools::output(&mut command)
    };
    // An expiry that is near is an alarm from the first failure on, and failing is one from the third, each in a process of its own.
    let with_expiry = text.replace("[archive]", "[archive]\nexpire_after = \"1h\"");
    fs::write(&config, with_expiry.clone()).expect("writable");
    for _ in 0..3 {
        let output = once();
        assert_eq!(output.status.code(), Some(1));
        let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
        assert!(!said.contains("secret-token"), "{said}");
    }
    let raised = told(&heard);
    assert_eq!(raised.len(), 2, "{raised:?}");
    assert_eq!(raised[1]["event"], "raised");
    assert_eq!(raised[1]["kind"], "run_failing");
    assert_eq!(raised[0]["event"], "raised");
    assert_eq!(raised[0]["kind"], "expiry");
    assert_eq!(raised[0]["severity"], "critical");
    assert_eq!(raised[0]["stream"], "orders");
    fs::remove_file(&nothing).expect("removable");
    let no_expiry = with_expiry.replace("\"1h\"", "\"40d\"");
    fs::write(&config, no_expiry).expect("writable");
    assert_eq!(once().status.code(), Some(0));
    let all = told(&heard);
    assert_eq!(all.len(), 4, "{all:?}");
    for (notice, kind) in all[2..].iter().zip(["expiry", "run_failing"]) {
        assert_eq!(notice["event"], "cleared", "{notice}");
        assert_eq!(notice["kind"], kind, "{notice}");
    }
    let posted: Vec<_> = posts.try_iter().collect();
    assert_eq!(posted, all, "the webhook heard the same, past a 503");
}
