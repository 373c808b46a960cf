//! A man page while it is written: roff, with everything escaped that roff would take for its own.

use crate::cli::version::VERSION;
use std::fmt::Write as _;

/// A page.
pub struct Page {
    name: String,
    section: u8,
    text: String,
}

/// The same apostrophe for every roff; what clap_mangen writes refers to it.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

impl Page {
    /// Begins the page `name(section)`, which is about `about`.
    pub fn new(name: &str, section: u8, date: &str, about: &str) -> Page {
        let mut page = Page {
            name: name.to_owned(),
            section,
            text: APOSTROPHE.to_owned(),
        };
        let _ = writeln!(
            page.text,
            ".TH {} {section} \"{date}\" \"binlogfs {}\" \"binlogfs\"",
            escape(name),
            escape(VERSION)
        );
        page.section("NAME");
        let about = about.trim_end_matches('.');
        page.line(&format!("{} \\- {}", escape(name), escape(about)));
        page
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// The page as it is so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        let _ = writeln!(self.text, ".SH {}", quoted(&escape(title)));
    }

    /// A paragraph; what is between backquotes is bold.
    pub fn paragraph(&mut self, text: &str) {
        self.begin_paragraph();
        self.line(&marked(text));
    }

    /// Something with a name (or several), and what is said of it.
    pub fn item(&mut self, names: &[&str], text: &str) {
        for (n, name) in names.iter().enumerate() {
            self.text += if n == 0 { ".TP\n" } else { ".TQ\n" };
            self.line(&format!("\\fB{}\\fR", code(name)));
        }
        self.line(&marked(text));
    }

    /// Lines as they are typed.
    pub fn literal(&mut self, text: &str) {
        self.begin_paragraph();
        self.text += ".RS 4\n.nf\n";
        for line in text.trim_matches('\n').lines() {
            self.line(&code(line));
        }
        self.text += ".fi\n.RE\n";
    }

    /// What clap_mangen wrote, without the lines that a page has once, and with a single break where it has an empty line
    /// between two.
    pub fn rendered(&mut self, roff: &str) {
        let mut last = "";
        for line in roff.replace(APOSTROPHE, "").lines().map(str::trim_end) {
            if !line.is_empty() && (line, last) != (".br", ".br") {
                let _ = writeln!(self.text, "{line}");
                last = line;
            }
        }
    }

    /// The other pages that belong to this one.
    pub fn see_also(&mut self, pages: &[(&str, u8)]) {
        self.section("SEE ALSO");
        let pages: Vec<_> = pages
            .iter()
            .map(|(name, section)| format!("\\fB{}\\fR({section})", escape(name)))
            .collect();
        self.line(&pages.join(",\n"));
    }

    /// The first paragraph of a section is begun by its title.
    fn begin_paragraph(&mut self) {
        let last = self.text.lines().next_back().unwrap_or_default();
        if !last.starts_with(".SH ") {
            self.text += ".PP\n";
        }
    }

    /// A line of text. One that begins like a request is none.
    fn line(&mut self, text: &str) {
        let guard = if text.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        let _ = writeln!(self.text, "{guard}{text}");
    }
}

fn quoted(text: &str) -> String {
    match text.contains(' ') {
        true => format!("\"{text}\""),
        false => text.to_owned(),
    }
}

/// Text for people: quotes may be made typographic.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Text for machines: it can be copied out of the page.
fn code(text: &str) -> String {
    escape(text)
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}

/// Text in which what is between backquotes is code, and bold.
fn marked(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => escape(part),
        _ => format!("\\fB{}\\fR", code(part)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_roff_would_take_for_its_own_is_escaped() {
        let mut page = Page::new("a-b", 1, "2026-11-26", "Does a thing.");
        page.section("TWO WORDS");
        page.paragraph(r".hidden is `it's -o a\b`, isn't it");
        page.literal(".at/~x");
        let expected = r#".ie \n(.g .ds Aq \(aq
.el .ds Aq '
.TH a\-b 1 "2026-11-26" "binlogfs VERSION" "binlogfs"
.SH NAME
a\-b \- Does a thing
.SH "TWO WORDS"
\&.hidden is \fBit\(aqs \-o a\eb\fR, isn't it
.PP
.RS 4
.nf
\&.at/\(tix
.fi
.RE
"#;
        assert_eq!(page.text(), expected.replace("VERSION", VERSION));
    }
}
