//! One table of the configuration file: it is asked for what there may be, and at the end says what nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One of a list in which strings and tables may stand.
pub enum Item<'a> {
    /// A string, and where it stands.
    Text(String, usize),
    /// A table.
    Table(Section<'a>),
}

/// Something wrong in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub text: String,
}

/// The text of the file and all that was found wrong with it so far.
pub struct Reader<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Rc<Reader<'a>> {
        Rc::new(Reader {
            text,
            mistakes: RefCell::default(),
        })
    }

    /// Notes a mistake at byte `at`.
    pub fn mistake(&self, at: usize, text: impl Into<String>) {
        let before = self.text.get(..at).unwrap_or(self.text);
        self.mistakes.borrow_mut().push(Mistake {
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            text: text.into(),
        });
    }

    /// All of them, in the order of their lines.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut all = self.mistakes.borrow().clone();
        all.sort();
        all
    }
}

/// A table.
pub struct Section<'a> {
    reader: Rc<Reader<'a>>,
    /// What messages call it: `[agent]`, `[[stream]] "orders"`.
    name: String,
    at: usize,
    table: &'a DeTable<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub fn new(
        reader: &Rc<Reader<'a>>,
        name: impl Into<String>,
        at: usize,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        Section {
            reader: Rc::clone(reader),
            name: name.into(),
            at,
            table,
            asked: RefCell::default(),
        }
    }

    /// Where `key` stands, or where the table begins.
    pub fn at_key(&self, key: &str) -> usize {
        self.table
            .get_key_value(key)
            .map_or(self.at, |(key, _)| key.span().start)
    }

    /// Notes a mistake about `key`.
    pub fn mistake(&self, key: &str, text: impl std::fmt::Display) {
        self.reader
            .mistake(self.at_key(key), format!("{} {key}: {text}", self.name));
    }

    /// Notes a mistake about the table as a whole.
    pub fn mistake_at_top(&self, text: &str) {
        self.reader.mistake(self.at, text);
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    fn wrong_type(&self, key: &'static str, wanted: &str, value: &DeValue<'_>) {
        self.mistake(key, format!("is a {}; write {wanted}", value.type_str()));
    }

    /// A string.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?.get_ref();
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(key, "a string in quotation marks", value);
        }
        text
    }

    /// A string that there must be.
    pub fn required(&self, key: &'static str, example: &str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.asked.borrow_mut().insert(key);
            self.reader.mistake(
                self.at,
                format!("{} lacks {key}; write {key} = {example:?}", self.name),
            );
        }
        self.text(key)
    }

    /// A string read by `read`.
    pub fn parse<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        read(&text).map_err(|error| self.mistake(key, error)).ok()
    }

    /// A whole number within `range`.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?.get_ref();
        let number = value
            .as_integer()
            .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => {
                let (min, max) = (range.start(), range.end());
                self.mistake(key, format!("{number} is outside of {min} to {max}"));
                None
            }
            None => {
                self.wrong_type(key, "a whole number without quotation marks", value);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?.get_ref();
        if value.as_bool().is_none() {
            self.wrong_type(key, "true or false without quotation marks", value);
        }
        value.as_bool()
    }

    /// A list of strings, each read by `read`.
    pub fn list<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let value = self.value(key)?.get_ref();
        let Some(items) = value.as_array() else {
            self.wrong_type(key, "a list of strings, such as [\"...\"]", value);
            return None;
        };
        let mut read_all = Vec::new();
        for item in items.iter() {
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(key, "strings in the list", item.get_ref());
                continue;
            };
            match read(text) {
                Ok(value) => read_all.push(value),
                Err(error) => self
                    .reader
                    .mistake(item.span().start, format!("{} {key}: {error}", self.name)),
            }
        }
        Some(read_all)
    }

    /// A list of strings and tables.
    pub fn items(&self, key: &'static str) -> Vec<Item<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let wanted = "a list of strings or tables, such as [\"...\"]";
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, wanted, value.get_ref());
            return Vec::new();
        };
        let mut read = Vec::new();
        for item in items.iter() {
            let (at, name) = (item.span().start, format!("{} {key}", self.name));
            match (item.get_ref().as_str(), item.get_ref().as_table()) {
                (Some(text), _) => read.push(Item::Text(text.to_owned(), at)),
                (None, Some(table)) => {
                    read.push(Item::Table(Section::new(&self.reader, name, at, table)));
                }
                (None, None) => self.wrong_type(key, wanted, item.get_ref()),
            }
        }
        read
    }

    /// Notes a mistake in the value of `key`, at byte `at`.
    pub fn mistake_at(&self, key: &str, at: usize, text: impl std::fmt::Display) {
        self.reader
            .mistake(at, format!("{} {key}: {text}", self.name));
    }

    /// A table within it.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, &format!("a table: [{key}]"), value.get_ref());
            return None;
        };
        let at = self.at_key(key);
        Some(Section::new(&self.reader, format!("[{key}]"), at, table))
    }

    /// Tables of one name: `[[key]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(
                key,
                &format!("each with a heading [[{key}]]"),
                value.get_ref(),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong_type(
                    key,
                    &format!("each with a heading [[{key}]]"),
                    item.get_ref(),
                );
                continue;
            };
            let name = table.get("name").and_then(|name| name.get_ref().as_str());
            let name = match name {
                Some(name) => format!("[[{key}]] {name:?}"),
                None => format!("[[{key}]]"),
            };
            sections.push(Section::new(&self.reader, name, item.span().start, table));
        }
        sections
    }

    /// Notes every key that was never asked for, with the nearest one that is known.
    pub fn end(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if asked.contains(name) {
                continue;
            }
            let nearest = asked
                .iter()
                .map(|known| (strsim::damerau_levenshtein(name, known), known))
                .min()
                // A third of it may be mistyped.
                .filter(|(distance, known)| distance * 3 <= known.len().max(name.len()));
            let advice = match nearest {
                Some((_, known)) => format!("did you mean {known}?"),
                None => {
                    let known: Vec<_> = asked.iter().copied().collect();
                    format!("there are {}", known.join(", "))
                }
            };
            let shown: String = name.chars().take(60).collect();
            self.reader.mistake(
                key.span().start,
                format!("{} has no {shown:?}; {advice}", self.name),
            );
        }
    }

    /// The keys asked for so far.
    pub fn asked(&self) -> BTreeSet<&'static str> {
        self.asked.borrow().clone()
    }
}
