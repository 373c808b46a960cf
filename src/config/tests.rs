//! The configuration: the example is right, and every mistake is found at once.

use super::*;

const EXAMPLE: &str = include_str!("../../packaging/binlogfs.toml");

fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(text) {
        Ok(_) => Vec::new(),
        Err(Mistakes(all)) => all
            .iter()
            .map(|mistake| format!("{}: {}", mistake.line, mistake.text))
            .collect(),
    }
}

#[test]
fn the_example_is_right_and_describes_every_option() {
    // With every commented option switched on, it is still right.
    let all: String = EXAMPLE
        .lines()
        .map(|line| {
            let option = line.strip_prefix("#").filter(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                })
            });
            format!("{}\n", option.unwrap_or(line))
        })
        .collect();
    for text in [EXAMPLE, &all] {
        assert_eq!(mistakes(text), [""; 0], "{text}");
    }
    let (_, known) = Config::read(&all);
    for key in known {
        let described = EXAMPLE.lines().any(|line| {
            line.trim_start_matches('#')
                .starts_with(&format!("{key} = "))
        });
        assert!(described, "the example says nothing of {key}");
    }
}

#[test]
fn every_mistake_is_found_at_once_with_its_line_and_what_to_write() {
    let text = r#"
[agent]
listen = "0.0.0.0:9418"
nise = 5
[archive]
level = 40
poll = "5"
[[stream]]
name = "orders"
source = "relative"
to = "ftp://x/y"
recipient = ["age1..."]
allow_unencrypted = "yes"
[[stream]]
source = "/var/lib/mysql"
to = "s3://bucket/b"
mysql = "mysql://u:secret@h"
allow_unencrypted = true
pause = ["2-3"]
"#;
    let found = mistakes(text);
    for (line, part) in [
        (3, "is not on this host"),
        (4, "did you mean nice?"),
        (6, "outside of 1 to 19"),
        (7, "is no duration"),
        (10, "is relative"),
        (11, "unknown scheme"),
        (12, "did you mean recipients?"),
        (13, "write true or false"),
        (9, "would not be encrypted"),
        (14, "lacks name"),
        (17, "a password in a DSN"),
        (19, "no time of day"),
    ] {
        assert!(
            found
                .iter()
                .any(|text| text.starts_with(&format!("{line}: ")) && text.contains(part)),
            "line {line}: {part}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 12, "{found:#?}");
    assert!(found.iter().all(|text| !text.contains("secret")));
}

#[test]
fn what_is_no_toml_says_where() {
    let found = mistakes("[agent\nlisten = \n");
    assert!(found[0].starts_with("1: this is no TOML"), "{found:?}");
}

#[test]
fn a_stream_takes_what_archive_says_and_may_say_otherwise() {
    let text = r#"
[archive]
level = 7
lag_warning = "5m"
allow_unencrypted = true
[[stream]]
name = "a"
source = "/a"
to = "file:///b/a"
[[stream]]
name = "b"
source = "/b"
to = "file:///b/b"
level = 1
"#;
    let config = Config::parse(text).expect("right");
    let levels: Vec<_> = config.streams.iter().map(|stream| stream.level).collect();
    assert_eq!(levels, [7, 1]);
    for stream in config.streams {
        assert_eq!(stream.thresholds.lag_warning, Duration::from_secs(300));
    }
}

#[test]
fn two_streams_share_no_name_and_no_place() {
    let one =
        "[[stream]]\nname = \"a\"\nsource = \"/a\"\nto = \"file:///b\"\nallow_unencrypted = true\n";
    let found = mistakes(&format!("{one}{one}"));
    assert!(found[0].contains("is that of another stream"), "{found:?}");
}
