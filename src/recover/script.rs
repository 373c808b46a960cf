//! A plan as commands for stock tools.

use super::plan::Plan;
use super::target::Start;
use crate::binlog::Flavour;
use crate::model::{Gtid, GtidSet};
use std::fmt::Write as _;

/// More files than this are not named on a command line: the system allows some 50 000 names, and long ones fewer.
const NAMED_FILES_MAX: usize = 10_000;
/// As many are named in a command for people; of more, the directory that holds just them.
const SHOWN_FILES_MAX: usize = 4;

/// The clients of a flavour: what reads binlogs, and what applies them.
fn clients(flavour: Flavour) -> (&'static str, &'static str) {
    match flavour {
        Flavour::MySql => ("mysqlbinlog", "mysql"),
        Flavour::MariaDb => ("mariadb-binlog", "mariadb"),
    }
}

/// Text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A shell function that writes all files as mysqlbinlog reads them from its standard input.
fn read_all(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => {
            r#"read_all() { printf '%s\0' "${files[@]}" | (cd "$part" && xargs -0 cat --); }"#
        }
        // It takes a magic number in the middle for an event.
        Flavour::MariaDb => {
            r#"read_all() { printf '\376bin' && printf '%s\0' "${files[@]}" | (cd "$part" && xargs -0 tail -q -c +5 --); }"#
        }
    }
}

/// The options that make mysqlbinlog print just the plan's transactions out of its files.
fn options(plan: &Plan) -> Vec<String> {
    let mut options = vec!["--verify-binlog-checksum".to_owned()];
    if !plan.begin.at_first {
        options.push(format!("--start-position={}", plan.begin.place.position));
    }
    options.push(format!("--stop-position={}", plan.stop.place.position));
    if !plan.question.skip.is_empty() {
        options.push(format!("--exclude-gtids={}", plan.question.skip));
    }
    options
}

/// GTIDs as words of bash, one for each.
fn words(gtids: &GtidSet) -> String {
    let mut words = Vec::new();
    for (source, intervals) in gtids.iter() {
        for &(number, last) in intervals.runs() {
            let source = source.clone();
            let first = Gtid { source, number }.to_string();
            words.push(match first.rsplit_once(':') {
                Some((stem, _)) if last > number => format!("{stem}:{{{number}..{last}}}"),
                _ => first,
            });
        }
    }
    words.join(" ")
}

/// A command of bash that prints an empty transaction for each of these, for a server that shall never apply them.
fn empty_transactions(gtids: &GtidSet) -> String {
    let words = words(gtids);
    format!(r#"printf "SET SESSION gtid_next = '%s'; BEGIN; COMMIT;\n" {words}"#)
}

impl Plan {
    /// The commands that replay it with stock tools, over a mount at `dir`; none if there is nothing to replay.
    pub fn commands(&self, url: &str, dir: &str) -> Vec<String> {
        if self.segments.is_empty() {
            return Vec::new();
        }
        let (reader, client) = clients(self.flavour);
        let timeline = match self.is_root {
            true => String::new(),
            false => format!("/.timeline/{}", self.question.timeline),
        };
        let files = match self.segments.len() {
            1..=SHOWN_FILES_MAX => {
                let names = self.segments.iter();
                let paths = names.map(|piece| quoted(&format!("{dir}{timeline}/{}", piece.file)));
                paths.collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        };
        let mount = format!("binlogfs mount {} {}", quoted(url), quoted(dir));
        let apply = format!("{client} --binary-mode --max-allowed-packet=1G");
        let replay = match files.is_empty() {
            false => {
                let options = options(self).iter().map(|o| quoted(o)).collect::<Vec<_>>();
                format!("{reader} {} {files} | {apply}", options.join(" "))
            }
            true => {
                let skip = options(self)
                    .into_iter()
                    .filter(|o| !o.contains("-position="));
                let options = skip.map(|o| quoted(&o)).collect::<Vec<_>>();
                let part = format!("{dir}{timeline}/{}", self.range());
                format!(
                    "{reader} {} {}/* | {apply}",
                    options.join(" "),
                    quoted(&part)
                )
            }
        };
        let mut commands = vec![mount, "set -o pipefail".to_owned()];
        let skip = &self.question.skip;
        if !skip.is_empty() {
            commands.push(format!("{} | {apply}", empty_transactions(skip)));
        }
        commands.push(replay);
        commands
    }

    /// The directory of a mount that shows just what is replayed.
    fn range(&self) -> String {
        let (begin, stop) = (&self.begin.place, &self.stop.place);
        format!(
            ".range/{}:{}/{}:{}",
            begin.file, begin.position, stop.file, stop.position
        )
    }

    /// A shell script that replays it with stock tools: over a mount, or any directory with the files.
    pub fn script(&self, url: &str) -> String {
        let (reader, client) = clients(self.flavour);
        let mut text = format!(
            "#!/bin/bash\n\
             # Replays {url}: {target}.\n\
             # Onto: {start}.\n\
             #\n\
             # Usage: bash SCRIPT DIRECTORY [OPTIONS OF {client}]...\n\
             # DIRECTORY has the binlogs: {place}, or copies of the files named below.\n\
             set -euo pipefail\n\
             \n\
             die() {{ echo \"$0: $*\" >&2; exit 1; }}\n\
             [ $# -ge 1 ] || die \"name the directory that has the binlogs\"\n\
             dir=$1\n\
             shift\n\
             run_client() {{ {client} --binary-mode --max-allowed-packet=1G \"${{client_options[@]}}\" \"$@\"; }}\n\
             client_options=(\"$@\")\n",
            url = comment(url),
            target = comment(&self.question.target.to_string()),
            start = comment(&self.question.start.to_string()),
            place = match self.is_root {
                true => "a mount of that stream".to_owned(),
                false => format!(
                    ".timeline/{} of a mount of that stream",
                    self.question.timeline
                ),
            },
        );
        if self.segments.is_empty() {
            text += "echo \"there is nothing to replay: the server has all of it\"\n";
            return text;
        }
        self.script_files(&mut text);
        self.script_before(&mut text);
        self.script_replay(&mut text, reader);
        self.script_after(&mut text);
        text
    }

    fn script_files(&self, text: &mut String) {
        text.push_str("\n# In replay order.\nfiles=(\n");
        for piece in self.segments.iter() {
            let _ = writeln!(text, "  {}", quoted(piece.file));
        }
        text.push_str(
            ")\npaths=()\n\
             for file in \"${files[@]}\"; do\n  \
               [ -r \"$dir/$file\" ] || die \"$dir/$file cannot be read\"\n  \
               paths+=(\"$dir/$file\")\n\
             done\n",
        );
    }

    /// What the server must have, and must not have.
    fn script_before(&self, text: &mut String) {
        if !self.by_gtid {
            text.push_str(
                "\n# These binlogs have no GTIDs: that the server has just what it should have cannot be checked here.\n",
            );
            return;
        }
        let _ = write!(
            text,
            "\n# What the server has, and what it will have: more or less than that, and it would become one that never existed.\n\
             base='{}'\nall='{}'\n\
             ask() {{ run_client --batch --skip-column-names --execute \"SELECT $1\"; }}\n\
             ask 1 >/dev/null || die \"the server does not answer\"\n\
             [ \"$(ask \"GTID_SUBSET('$base', @@GLOBAL.gtid_executed)\")\" = 1 ] ||\n  \
               die \"the server lacks $(ask \"GTID_SUBTRACT('$base', @@GLOBAL.gtid_executed)\"), which the base must have\"\n\
             [ \"$(ask \"GTID_SUBSET(@@GLOBAL.gtid_executed, '$all')\")\" = 1 ] ||\n  \
               die \"the server has $(ask \"GTID_SUBTRACT(@@GLOBAL.gtid_executed, '$all')\"), which does not belong to this recovery\"\n",
            self.has,
            self.executed(),
        );
    }

    fn script_replay(&self, text: &mut String, reader: &str) {
        if !self.question.skip.is_empty() {
            let _ = write!(
                text,
                "\n# What is left out: empty transactions instead, so that nothing applies it later.\n\
                 {} | run_client || die \"the server does not take what is left out\"\n",
                empty_transactions(&self.question.skip)
            );
        }
        let mut options = options(self);
        let many = self.segments.len() > NAMED_FILES_MAX;
        if many {
            // Concatenated binlogs are read whole from standard input only, and are cut by the mount.
            options.retain(|option| !option.contains("-position="));
            let _ = write!(
                text,
                "\n# More files than a command line holds; the mount cuts the first and the last of them.\n\
                 part=$dir/{}\n\
                 {}\n",
                quoted(&self.range()),
                read_all(self.flavour)
            );
        }
        let options: Vec<String> = options.iter().map(|option| quoted(option)).collect();
        let options = options.join(" ");
        let pipe = match many {
            true => format!("read_all | {reader} {options} - | run_client"),
            false => format!("{reader} {options} \"${{paths[@]}}\" | run_client"),
        };
        // Without GTIDs a second run would apply everything twice.
        let again = match self.by_gtid {
            true => "what was applied stays, and this script can be run again",
            false => "restore the base before you try again",
        };
        let _ = write!(
            text,
            "\n# One reader and one session: temporary tables and variables live as long as it.\n\
             set +e\n\
             {pipe}\n\
             codes=(\"${{PIPESTATUS[@]}}\")\n\
             set -e\n\
             for code in \"${{codes[@]}}\"; do\n  \
               [ \"$code\" = 0 ] || die \"the replay failed: exit codes ${{codes[*]}}; {again}\"\n\
             done\n"
        );
    }

    fn script_after(&self, text: &mut String) {
        if self.by_gtid {
            text.push_str(
                "\nmissing=$(ask \"GTID_SUBTRACT('$all', @@GLOBAL.gtid_executed)\")\n\
                 [ -z \"$missing\" ] || die \"the server still lacks $missing\"\n\
                 extra=$(ask \"GTID_SUBTRACT(@@GLOBAL.gtid_executed, '$all')\")\n\
                 [ -z \"$extra\" ] || die \"the server has $extra besides: the files are not the plan's, or somebody writes to it\"\n",
            );
        }
        let stop = &self.stop.place;
        let _ = writeln!(
            text,
            "echo 'done: the server has everything up to' {}",
            quoted(&format!("{}:{}", stop.file, stop.position))
        );
    }
}

/// Text that stays within one line of a comment.
fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl Plan {
    /// What the base is, for people.
    pub fn base_in_words(&self) -> String {
        match &self.question.start {
            Start::Beginning if self.has.is_empty() => "a server without transactions".to_owned(),
            Start::Beginning => format!("a server that has {}", self.has),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn each_flavour_is_given_many_files_as_its_client_reads_them() {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, bytes) in [("a 1", b"\xFEbinone"), ("-b", b"\xFEbintwo")] {
            std::fs::write(dir.path().join(name), bytes).expect("writable");
        }
        for (flavour, wanted) in [
            (Flavour::MySql, &b"\xFEbinone\xFEbintwo"[..]),
            (Flavour::MariaDb, b"\xFEbinonetwo"),
        ] {
            let script = format!("files=('a 1' -b); part=$0; {}; read_all", read_all(flavour));
            let mut bash = Command::new("bash");
            let output = bash.args(["-c", &script]).arg(dir.path()).output();
            assert_eq!(output.expect("bash").stdout, wanted, "{flavour:?}");
        }
    }

    #[test]
    fn each_transaction_that_is_skipped_becomes_an_empty_one() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let set: GtidSet = format!("{uuid}:3:7-9:t1:4-5").parse().expect("a set");
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &empty_transactions(&set)]).output();
        let printed = String::from_utf8(output.expect("bash").stdout).expect("text");
        let numbers = ["3", "7", "8", "9", "t1:4", "t1:5"];
        let wanted =
            numbers.map(|n| format!("SET SESSION gtid_next = '{uuid}:{n}'; BEGIN; COMMIT;\n"));
        assert_eq!(printed, wanted.concat());
    }

    #[test]
    fn words_of_a_shell_stay_words() {
        for (text, word) in [
            ("/mnt/binlogs/binlog.000001", "/mnt/binlogs/binlog.000001"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("a\nb", "'a\nb'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn a_real_shell_reads_each_word_as_the_text_that_was_quoted() {
        let all_ascii: String = (1..=127_u8).map(char::from).collect();
        let texts = [
            "/mnt/binlogs/binlog.000001",
            "",
            "a b",
            " a  b ",
            "it's",
            "'",
            "''",
            r#"a "b" c"#,
            "$HOME",
            "${HOME}$(echo a)`echo b`",
            "a\nb",
            "a\n",
            "\ta",
            r"a\b\\c\",
            "*",
            "~",
            "~root/a",
            "-n",
            "--",
            "#a",
            "!a",
            "a=b",
            "{a,b}",
            "a;b&c|d<e>f",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9,\n0-1-7",
            "Zürich 山",
            all_ascii.as_str(),
        ];
        let words = texts.map(quoted).join(" ");
        // The words as arguments of a command, as in the commands of a plan, and as the elements of an array, as in its script.
        let print = r#"for word do printf '%s\0' "$word"; done"#;
        let array = format!("files=({words}); set -- \"${{files[@]}}\"; {print}");
        let arguments = format!("set -- {words}; {print}");
        let expected: String = texts.iter().map(|text| format!("{text}\0")).collect();
        for (shell, script) in [("sh", &arguments), ("bash", &arguments), ("bash", &array)] {
            let output = Command::new(shell).args(["-c", script]).output();
            let output = output.unwrap_or_else(|e| panic!("{shell}: {e}"));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && errors.is_empty(),
                "{shell}: {errors}"
            );
            let read = String::from_utf8_lossy(&output.stdout);
            assert_eq!(read, expected, "{shell}: {script}");
        }
    }
}
