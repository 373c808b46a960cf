//! What an error of the network was caused by, and how much of it goes into a message.

use std::error::Error as StdError;

/// Longest text of a server that goes into a message, in characters: some answer with a whole web page.
const CAUSE_MAX_CHARS: usize = 800;
/// Deepest chain of causes followed.
const CHAIN_MAX: usize = 16;

/// As much of a text as a message repeats.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(CAUSE_MAX_CHARS)
        .collect()
}

/// Whether an error is TLS's own: it travels inside io::Errors, one in another, which do not name it as their source.
pub(super) fn is_of_tls(error: &(dyn StdError + 'static)) -> bool {
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match inner {
        Some(inner) => is_of_tls(inner),
        None => error.downcast_ref::<rustls::Error>().is_some(),
    }
}

/// An error and what it was caused by, outermost first.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source()).take(CHAIN_MAX)
}

/// The causes in one line, without those that only repeat the one before.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_short_and_without_control_characters() {
        let text = printable(&"a\r\nb\u{1b}[31m".repeat(1000));
        assert_eq!(text.len(), CAUSE_MAX_CHARS);
        assert!(!text.chars().any(char::is_control));
    }
}
