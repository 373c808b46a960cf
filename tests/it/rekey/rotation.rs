//! New keys for what is archived from now on: by the command line, and by a configuration that is read again.

use super::Scene;
use crate::agent::daemon::{Daemon, until};
use crate::tools;
use std::fs;

fn recipients(entry: &serde_json::Value) -> Vec<&str> {
    let list = entry["recipients"].as_array().expect("a list");
    list.iter().map(|key| key.as_str().expect("text")).collect()
}

#[test]
fn new_segments_are_for_the_new_recipients_and_the_old_ones_stay_as_they_are() {
    let mut scene = Scene::new(2);
    let (old, new, offline) = (scene.old(), scene.key("new"), scene.key("offline"));
    scene.server.rotate(3, 1000);
    let mut archive = tools::binlogfs();
    archive
        .args(["archive", "--once", "--to", &scene.archive.url()])
        .args(["--recipient", &new.public, "--recipient", &offline.public])
        .arg("--source")
        .arg(scene.server.dir())
        .arg("--state-dir")
        .arg(scene.archive.path("state"));
    tools::run(&mut archive);
    let listed = scene.archive.ls(&[]);
    assert_eq!(recipients(&listed[1]), [&old.public]);
    assert_eq!(recipients(&listed[2]), [&new.public, &offline.public]);
    // Who holds both keys reads all of it; who holds one reads that part.
    let both = [old.file.to_str(), offline.file.to_str()].map(|path| path.expect("text"));
    let mut cat = scene.command(&old, "cache", &["cat", &scene.archive.url()]);
    assert!(tools::run(cat.args(["--identity", both[1]])) == scene.plain());
    assert_eq!(scene.cat(&new).status.code(), Some(1));
    // Re-keying brings the old part up to the new.
    scene.rekey(&old, &[&new, &offline], &[], 0);
    for key in [&new, &offline] {
        assert!(scene.cat(key).stdout == scene.plain());
    }
}

#[test]
fn a_configuration_that_is_read_again_encrypts_for_its_new_recipients() {
    let mut scene = Scene::new(1);
    let (old, new) = (scene.old(), scene.key("new"));
    let config = scene.archive.path("binlogfs.toml");
    let configure = |recipient: &str| {
        let text = format!(
            "[agent]\nlisten = \"127.0.0.1:0\"\n[[stream]]\nname = \"orders\"\nsource = \"{}\"\nto = \"{}\"\nstate_dir = \"{}\"\n\
             recipients = [\"{recipient}\"]\n",
            scene.archive.data().display(),
            scene.archive.url(),
            scene.archive.path("state").display(),
        );
        fs::write(&config, text).expect("writable");
    };
    configure(&old.public);
    let mut agent = tools::binlogfs();
    agent.arg("archive").arg("--config").arg(&config);
    let daemon = Daemon::start(agent, true);
    scene.server.rotate(2, 1000);
    until("the second file is archived", || scene.records() == 2);
    configure(&new.public);
    daemon.hang_up();
    let streams = || daemon.get("/metrics").1;
    until("the stream is archived again", || {
        streams().contains("stream=\"orders\"")
    });
    // The agent ends what it does for the old keys before it begins with the new ones.
    until("a file is archived for the new key", || {
        scene.server.rotate(2, 1000);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let listed = scene.archive.ls(&[]);
        recipients(listed.last().expect("an entry")) == [&new.public]
    });
    assert_eq!(daemon.stop(), Some(0));
    let listed = scene.archive.ls(&[]);
    let of_old = listed.iter().filter(|e| recipients(e) == [&old.public]);
    let count = of_old.count();
    assert!(count >= 2, "{listed:#?}");
    let rest = &listed[count..];
    assert!(rest.iter().all(|e| recipients(e) == [&new.public]));
}
