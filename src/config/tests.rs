//! The configuration: the example is right, and every mistake is found at once.

use super::*;
use crate::model::Seq;

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

const TENANTS: &str = r#"
[[tenant]]
name = "acme"
to = "s3://{region}-binlogs/{tenant}/{cluster}"
region = "eu-west-1"
profile = "acme"
credentials_file = "/etc/binlogfs/acme"
state_dir = "/srv/acme"
share = 3
level = 7
allow_unencrypted = true
[[tenant]]
name = "globex"
to = "file:///srv/globex/{cluster}"
allow_unencrypted = true
"#;

#[test]
fn a_stream_of_a_tenant_has_its_place_its_credentials_and_its_defaults() {
    let text = format!(
        "{TENANTS}[[stream]]\ntenant = \"acme\"\ncluster = \"orders\"\nsource = \"/a\"\n\
         [[stream]]\ntenant = \"globex\"\ncluster = \"orders\"\nsource = \"/b\"\nname = \"other\"\nlevel = 2\n\
         [[stream]]\ntenant = \"acme\"\ncluster = \"eu\"\nsource = \"/c\"\nto = \"s3://b/{{server_uuid}}\"\n"
    );
    let config = Config::parse(&text).expect("right");
    assert_eq!(config.tenants[0].share, 3);
    let [orders, other, eu] = config.streams.as_slice() else {
        panic!("three streams");
    };
    let url = |stream: &StreamConfig| stream.to.as_ref().map(ToString::to_string);
    assert_eq!(orders.name, "acme/orders");
    assert_eq!(
        url(orders).as_deref(),
        Some("s3://eu-west-1-binlogs/acme/orders?region=eu-west-1&profile=acme")
    );
    assert_eq!(orders.state_dir, Some(PathBuf::from("/srv/acme/orders")));
    assert_eq!(
        orders.credentials_file,
        Some(PathBuf::from("/etc/binlogfs/acme"))
    );
    assert_eq!(orders.level, 7);
    assert_eq!((other.name.as_str(), other.level), ("other", 2));
    assert_eq!(url(other).as_deref(), Some("file:///srv/globex/orders"));
    assert_eq!((&other.profile, &other.state_dir), (&None, &None));
    assert!(eu.needs_server() && eu.to.is_none());
    assert!(eu.route_to(None).expect_err("unknown").contains("auto.cnf"));
    let uuid = uuid::Uuid::from_u128(7);
    let known = eu.route_to(Some(uuid)).expect("known").to_string();
    assert!(known.starts_with(&format!("s3://b/{uuid}?")), "{known}");
}

#[test]
fn two_streams_never_meet_in_one_place_and_both_are_named() {
    let stream = |tenant: &str, more: &str| {
        format!("[[stream]]\ntenant = \"{tenant}\"\nsource = \"/a\"\n{more}\n")
    };
    for (first, second, places) in [
        (
            "cluster = \"a\"",
            "name = \"b\"\nto = \"s3://eu-west-1-binlogs/acme/a/b\"",
            "/acme/a/b",
        ),
        (
            "name = \"b\"\nto = \"s3://eu-west-1-binlogs/acme/a/b?region=x\"",
            "cluster = \"a\"",
            "/acme/a/b",
        ),
        (
            "cluster = \"a\"",
            "name = \"b\"\nto = \"s3://eu-west-1-binlogs/acme/a?profile=x\"",
            "acme/a?",
        ),
        (
            "name = \"all\"\nto = \"s3://b\"",
            "name = \"b\"\nto = \"s3://b/{server_uuid}\"",
            "{server_uuid}",
        ),
    ] {
        let text = format!(
            "{TENANTS}{}{}",
            stream("acme", first),
            stream("acme", second)
        );
        let found = mistakes(&text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("one inside of the other"), "{found:?}");
        assert!(found[0].contains(places), "{found:?}");
    }
    let apart = format!(
        "{TENANTS}{}{}",
        stream("acme", "name = \"a\"\nto = \"s3://b/{server_uuid}\""),
        stream("acme", "name = \"b\"\nto = \"s3://b/{server_uuid}\"")
    );
    assert_eq!(mistakes(&apart), [""; 0]);
}

#[test]
fn a_replica_is_in_no_place_that_another_stream_writes_to_and_both_are_named() {
    let stream = |name: &str, to: &str, replica: &str| {
        format!(
            "[[stream]]\nname = \"{name}\"\nsource = \"/{name}\"\nto = \"{to}\"\nallow_unencrypted = true\nreplicas = [\"{replica}\"]\n"
        )
    };
    for (first, second, line, parts) in [
        // A replica where another stream is, or inside of it.
        (
            ("s3://x/a", "gs://c/a"),
            ("s3://x/b", "s3://x/a"),
            12,
            "replicas: s3://x/a and the place of stream \"a\", s3://x/a,",
        ),
        // A stream inside of another's replica.
        (
            ("s3://x/a", "gs://c"),
            ("gs://c/b", "s3://x/b"),
            10,
            "to: gs://c/b and a replica of stream \"a\", gs://c/,",
        ),
        // Two copies in one place.
        (
            ("s3://x/a", "gs://c/all"),
            ("s3://x/b", "gs://c/all"),
            12,
            "replicas: gs://c/all and a replica of stream \"a\", gs://c/all,",
        ),
    ] {
        let text = stream("a", first.0, first.1) + &stream("b", second.0, second.1);
        let found = mistakes(&text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("{line}: ")), "{found:?}");
        assert!(found[0].contains(parts), "{found:?}");
    }
    let apart = stream("a", "s3://x/a", "gs://c/a") + &stream("b", "s3://x/b", "gs://c/b");
    assert_eq!(mistakes(&apart), [""; 0]);
    // What the command line says is held to the same.
    let url = |text: &str| text.parse::<crate::model::StoreUrl>().expect("a URL");
    let mut alone = StreamConfig {
        to: Some(url("s3://x/a")),
        replicas: vec![url("gs://c/a").into(), url("s3://x/a2").into()],
        ..StreamConfig::default()
    };
    assert_eq!(alone.check_places(), Ok(()));
    alone.replicas.push(url("s3://x/a/copy").into());
    let why = alone.check_places().expect_err("inside of the stream");
    assert!(why.contains("s3://x/a and s3://x/a/copy"), "{why}");
    // Which server it is does not matter for a copy around all of them.
    let own = mistakes(&stream("a", "s3://x/{server_uuid}", "s3://x"));
    assert!(own[0].contains("with to, or one inside"), "{own:?}");
}

#[test]
fn a_tenant_that_could_reach_into_anothers_place_is_a_mistake() {
    let text = r#"
[[tenant]]
name = "../globex"
credentials_file = "acme"
profile = ""
share = 0
[[tenant]]
name = "globex"
to = "file:///srv/{tenant}/{cluster}"
profile = "x"
[[stream]]
tenant = "initech"
cluster = "a"
source = "/a"
to = "file:///x"
allow_unencrypted = true
[[stream]]
tenant = "globex"
cluster = ".."
source = "/a"
name = "b"
allow_unencrypted = true
[[stream]]
tenant = "globex"
cluster = "c"
source = "/a"
allow_unencrypted = true
"#;
    let found = mistakes(text);
    for (line, part) in [
        (3, "must not be hidden"),
        (4, "is relative"),
        (5, "is empty"),
        (6, "outside of 1 to 100"),
        (12, "no [[tenant]] with name = \"initech\""),
        (19, "must not be hidden"),
        (17, "no cluster is given"),
        (23, "profile means nothing"),
    ] {
        assert!(
            found
                .iter()
                .any(|text| text.starts_with(&format!("{line}: ")) && text.contains(part)),
            "line {line}: {part}: {found:#?}"
        );
    }
}

#[test]
fn a_replica_is_a_url_or_a_table_with_credentials_of_its_own() {
    let stream = |replicas: &str| {
        format!(
            "[[stream]]\nname = \"a\"\nsource = \"/a\"\nto = \"s3://b/a\"\nallow_unencrypted = true\nreplicas = [{replicas}]\n"
        )
    };
    let text = stream(
        r#""gs://copies/a", { to = "s3://copies/a", credentials_file = "/etc/copies", profile = "copies" }, { to = "file:///copies/a" }"#,
    );
    let config = Config::parse(&text).expect("right");
    assert_eq!(config.streams[0].give_up_through, None);
    let given_up = Config::parse(&format!("{text}give_up_through = 150\n")).expect("right");
    assert_eq!(given_up.streams[0].give_up_through, Some(Seq(150)));
    let replicas: Vec<_> = config.streams[0]
        .replicas
        .iter()
        .map(|replica| (replica.url.to_string(), replica.credentials_file.clone()))
        .collect();
    let own = Some(PathBuf::from("/etc/copies"));
    assert_eq!(
        replicas,
        [
            ("gs://copies/a".to_owned(), None),
            ("s3://copies/a?profile=copies".to_owned(), own),
            ("file:///copies/a".to_owned(), None),
        ]
    );
    for (replicas, part) in [
        (r#"{ credentials_file = "/x" }"#, "lacks to"),
        (
            r#"{ to = "s3://c/a", credentials = "/x" }"#,
            "did you mean credentials_file?",
        ),
        (
            r#"{ to = "s3://c/a", credentials_file = "x" }"#,
            "is relative",
        ),
        (r#"{ to = "s3://c/a", profile = "" }"#, "is empty"),
        (r#"{ to = "gs://c/a", profile = "x" }"#, "no s3:// URL"),
        (
            r#"{ to = "file:///c/a", credentials_file = "/x" }"#,
            "nothing for a directory",
        ),
        (r#"{ to = "s3://b/a/x" }"#, "one inside of the other"),
        ("7", "strings or tables"),
        (r#""ftp://x""#, "replicas: "),
    ] {
        let found = mistakes(&stream(replicas));
        assert!(
            found.iter().any(|text| text.contains(part)),
            "{replicas}: {found:?}"
        );
    }
}
