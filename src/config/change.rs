//! From the streams that are at work to those that are wanted: which are to end, and which can begin.

use super::StreamConfig;
use super::places::collisions;
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
    let place = |stream: &StreamConfig| stream.to.as_ref().map(|url| url.place());
    let same_place = match (place(work.stream), place(stream)) {
        (Some(one), Some(other)) => !collisions(&[one, other]).is_empty(),
        _ => false,
    };
    same_place || work.state_dir == dir
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
