//! How many of something, in words.

/// `1 segment`, `2 segments`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", of_number(n, "", "s"))
}

/// The word that goes with so many: `1 is`, `2 are`.
pub fn of_number<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}
