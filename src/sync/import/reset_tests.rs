//! Two lives of a server that RESET divides, with files lost: what tells them apart, and what does not.

use super::*;

/// Files of a life that are there, at paths below `dir`.
fn there(dir: &str, life: &[(String, Vec<u8>)], numbers: &[usize]) -> Vec<(String, Vec<u8>)> {
    let file = |number: &usize| {
        let (name, bytes) = &life[number - 1];
        (format!("{dir}/{name}"), bytes.clone())
    };
    numbers.iter().map(file).collect()
}

fn paths(order: &Order) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    for life in &order.lives {
        let files = life.files.iter();
        paths.push(files.map(|file| file.found.item.path.as_str()).collect());
    }
    paths
}

/// The last file before a RESET has executed exactly what the fourth of the next life says was executed before it.
#[test]
fn gtids_that_repeat_exactly_do_not_join_two_lives() {
    let mut server = Server::new(true);
    server
        .file(1, End::Rotate)
        .file(1, End::Rotate)
        .file(4, End::Reset)
        .file(3, End::Rotate)
        .file(1, End::Rotate)
        .file(2, End::Rotate)
        .file(0, End::Rotate);
    let mut pile = there("old", &server.files[0], &[1, 3]);
    pile.extend(there("new", &server.files[1], &[1, 4]));
    let order = ordered(&pile).expect("an order");
    assert_eq!(
        paths(&order),
        [
            ["old/binlog.000001", "old/binlog.000003"],
            ["new/binlog.000001", "new/binlog.000004"]
        ]
    );
}

/// What stands between two files that go on exactly, and cannot be before the second, is of another server.
#[test]
fn a_file_of_another_server_between_two_that_go_on_exactly_is_refused() {
    let mut server = Server::new(true);
    server.file(3, End::Stop).file(2, End::Rotate);
    let mut other = Server::new(true);
    // With other GTIDs, begun when the first had stopped, and the second was not begun.
    (other.seconds, other.transaction) = (other.seconds + 4, 1000);
    other.file(1, End::Stop);
    let mut pile = there("one", &server.files[0], &[1, 2]);
    pile.extend(there("other", &other.files[0], &[1]));
    let error = ordered(&pile).expect_err("two servers");
    let OrderError::AtOnce { first, second } = &error else {
        panic!("{error}");
    };
    assert!(first.contains("one/binlog.000002"), "{first}");
    assert!(second.contains("other/binlog.000001"), "{second}");
}

/// Two first files that rotated in one second, and one second file: the pile of two lives that nothing but GTIDs divides.
fn two_firsts_and_a_second(gtids: bool) -> Vec<(String, Vec<u8>)> {
    let (mut long, mut short) = (Server::new(gtids), Server::new(gtids));
    long.file(2, End::Rotate).file(1, End::Rotate);
    short.seconds += 1;
    short.file(1, End::Rotate);
    let mut pile = there("short", &short.files[0], &[1]);
    pile.extend(there("long", &long.files[0], &[1, 2]));
    pile
}

#[test]
fn one_file_behind_two_that_fit_equally_is_refused() {
    let error = ordered(&two_firsts_and_a_second(false)).expect_err("one behind two");
    let OrderError::Forked { name, path, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(name, "binlog.000002");
    assert_eq!(path, "long/binlog.000002");
    for told in ["long/binlog.000001", "short/binlog.000001", "--exclude"] {
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn gtids_tell_which_of_two_that_rotated_in_one_second_is_before_a_file() {
    let order = ordered(&two_firsts_and_a_second(true)).expect("an order");
    let mut lives = paths(&order);
    lives.sort();
    assert_eq!(
        lives,
        [
            vec!["long/binlog.000001", "long/binlog.000002"],
            vec!["short/binlog.000001"]
        ]
    );
}
