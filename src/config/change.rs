//! From the streams that are at work to those that are wanted: which are to end, and which can begin.

use super::StreamConfig;
use super::places::meetings;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A stream at work.
#[derive(Clone, Copy, Debug)]
pub struct AtWork<'a> {
    /// As it was begun.
    pub stream: &'a StreamConfig,
    /// Where its state is.
    pub state_dir: &'a PathBuf,
    /// It was asked to end.
    pub leaves: bool,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Names of those that are to end.
    pub end: Vec<String>,
    /// Numbers of the wanted that can begin now.
    pub begin: Vec<usize>,
    /// Numbers of the wanted that begin when another has ended.
    pub later: Vec<usize>,
}

/// Compares those at work with the `wanted`, each with its state directory. What is wanted as it is, is not touched; what has
/// changed ends, and begins again when it has. Nothing begins in a place, or with a state directory, that is still worked in.
pub fn steps(at_work: &[AtWork<'_>], wanted: &[(&StreamConfig, PathBuf)]) -> Steps {
    let mut steps = Steps::default();
    for work in at_work.iter().filter(|work| !work.leaves) {
        let same = |(stream, dir): &(&StreamConfig, PathBuf)| {
            *stream == work.stream && dir == work.state_dir
        };
        if !wanted.iter().any(same) {
            steps.end.push(work.stream.name.clone());
        }
    }
    for (n, (stream, dir)) in wanted.iter().enumerate() {
        let leaves = |work: &AtWork<'_>| work.leaves || steps.end.contains(&work.stream.name);
        let named = at_work.iter().find(|work| work.stream.name == stream.name);
        match named {
            Some(work) if !leaves(work) => {}
            Some(_) => steps.later.push(n),
            None if at_work.iter().any(|work| in_the_way(work, stream, dir)) => {
                steps.later.push(n);
            }
            None => steps.begin.push(n),
        }
    }
    steps
}

fn in_the_way(work: &AtWork<'_>, stream: &StreamConfig, dir: &PathBuf) -> bool {
    let places = |stream: &StreamConfig| stream.places(stream.to.as_ref());
    let met = meetings(&[places(work.stream), places(stream)]);
    met.iter().any(|(one, other)| one.stream != other.stream) || work.state_dir == dir
}

/// Those of `streams` that would write where one before them does, by their numbers and with the reason. Only when their servers are
/// known can two of them turn out to be one.
pub fn refused(streams: &[Option<&StreamConfig>]) -> BTreeMap<usize, String> {
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    // Each place meets the nearest around it alone: whoever is refused may have stood between two others.
    loop {
        let places = |(n, stream): (usize, &Option<&StreamConfig>)| match stream {
            Some(stream) if !refused.contains_key(&n) => stream.places(stream.to.as_ref()),
            Some(_) | None => Vec::new(),
        };
        let met = meetings(&streams.iter().enumerate().map(places).collect::<Vec<_>>());
        if met.is_empty() {
            return refused;
        }
        for (first, later) in met {
            if refused.contains_key(&first.stream) || refused.contains_key(&later.stream) {
                continue;
            }
            if let (Some(one), Some(other)) = (streams[first.stream], streams[later.stream]) {
                let why = other.collides_with(later.which, (one, first.which));
                refused.insert(later.stream, format!("{}: {why}", later.key()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StoreUrl;

    fn stream(name: &str, to: &str) -> StreamConfig {
        StreamConfig {
            name: name.to_owned(),
            to: Some(to.parse().expect("a URL")),
            ..StreamConfig::default()
        }
    }

    /// What is to be done about these, each with a state directory named like it.
    fn after(at_work: &[(&StreamConfig, bool)], wanted: &[&StreamConfig]) -> Steps {
        let dirs: Vec<_> = at_work
            .iter()
            .map(|(stream, _)| PathBuf::from(&stream.name))
            .collect();
        let at_work: Vec<_> = at_work
            .iter()
            .zip(&dirs)
            .map(|((stream, leaves), state_dir)| AtWork {
                stream,
                state_dir,
                leaves: *leaves,
            })
            .collect();
        let wanted: Vec<_> = wanted
            .iter()
            .map(|stream| (*stream, PathBuf::from(&stream.name)))
            .collect();
        steps(&at_work, &wanted)
    }

    #[test]
    fn what_stays_is_not_touched_and_what_changed_ends_before_it_begins() {
        let (a, b, c) = (
            stream("a", "file:///b/a"),
            stream("b", "file:///b/b"),
            stream("c", "file:///b/c"),
        );
        assert_eq!(after(&[], &[&a, &b]).begin, [0, 1]);
        assert_eq!(
            after(&[(&a, false), (&b, false)], &[&a, &b]),
            Steps::default()
        );
        let done = after(&[(&a, false), (&b, false)], &[&b, &c]);
        assert_eq!((done.end, done.begin), (vec!["a".to_owned()], vec![1]));
        let mut slower = a.clone();
        slower.level = 9;
        let done = after(&[(&a, false)], &[&slower]);
        assert_eq!((done.end, done.later), (vec!["a".to_owned()], vec![0]));
        // While it ends, nothing more is to be done; when it has ended, the new one begins.
        let done = after(&[(&a, true)], &[&slower]);
        assert_eq!(
            (done.end, done.begin, done.later),
            (vec![], vec![], vec![0])
        );
        assert_eq!(after(&[], &[&slower]).begin, [0]);
        // It was asked to end, and is wanted again as it was: it ends all the same.
        assert_eq!(after(&[(&a, true)], &[&a]).later, [0]);
    }

    #[test]
    fn a_place_is_given_up_before_another_stream_takes_it() {
        let (a, renamed) = (stream("a", "file:///b/a"), stream("x", "file:///b/a"));
        let done = after(&[(&a, false)], &[&renamed]);
        assert_eq!((done.end, done.later), (vec!["a".to_owned()], vec![0]));
        let inside = stream("y", "file:///b/a/y");
        assert_eq!(after(&[(&a, true)], &[&inside]).later, [0]);
        let mut copied = stream("z", "file:///b/z");
        copied.replicas = vec!["file:///b/a".parse::<StoreUrl>().expect("a URL").into()];
        assert_eq!(after(&[(&a, true)], &[&copied]).later, [0]);
        assert_eq!(after(&[(&copied, true)], &[&a]).later, [0]);
    }

    #[test]
    fn of_streams_that_turn_out_to_write_to_one_place_the_first_alone_does() {
        let (a, b, c) = (
            stream("a", "file:///b/a"),
            stream("b", "file:///b/a"),
            stream("c", "file:///b/a"),
        );
        let refused_of = |streams: &[&StreamConfig]| {
            let streams: Vec<_> = streams.iter().map(|stream| Some(*stream)).collect();
            refused(&streams).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(refused_of(&[&a, &b, &c]), [1, 2]);
        // The one in the middle is refused, and what is inside of it is inside of the first as well.
        let (inner, middle) = (stream("i", "file:///b/a/1/2"), stream("m", "file:///b/a/1"));
        assert_eq!(refused_of(&[&a, &inner, &middle]), [1, 2]);
        let mut copied = stream("z", "file:///b/z");
        copied.replicas = vec![
            "file:///b/a/copy"
                .parse::<StoreUrl>()
                .expect("a URL")
                .into(),
        ];
        assert_eq!(refused_of(&[&copied, &a]), [1]);
        let told = refused(&[Some(&a), None, Some(&copied)]);
        let why = told.get(&2).expect("refused");
        assert!(why.starts_with("replicas: file:///b/a/copy and"), "{why}");
        assert!(why.contains("the place of stream \"a\""), "{why}");
        assert_eq!(refused_of(&[&a, &stream("x", "file:///b/x")]), [0usize; 0]);
    }
}
