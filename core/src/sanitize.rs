//! Escapes text before it is printed (SEC-11).
//!
//! Responsible for text of servers, helpers and systems: nothing in it may move a cursor. Must not know
//! where the text came from. Queries of URLs and secrets in it are redacted elsewhere (`redact`).

use alloc::string::String;
use core::fmt::Write as _;

/// `text` with everything escaped that could move a cursor, change a colour or turn the reading
/// direction, cut to at most `max` bytes, with `…` where it was cut (SEC-11).
///
/// # Example: a server that tries to hide what it says
///
/// ```
/// # use windlass_core::sanitize::escape;
/// assert_eq!(escape("a\u{1b}[2Jb\nc", 100), r"a\u{1b}[2Jb\u{a}c");
/// assert_eq!(escape("a long story", 8), "a lon…");
/// ```
pub fn escape(text: &str, max: usize) -> String {
    const CUT: char = '…';
    let mut out = String::new();
    // How much of `out` can stand when a mark has to follow it.
    let mut fits = 0;
    for char in text.chars() {
        if is_harmful(char) {
            let code = u32::from(char);
            write!(out, "\\u{{{code:x}}}").expect("writing to a string cannot fail");
        } else {
            out.push(char);
        }
        if out.len() > max {
            out.truncate(fits);
            if CUT.len_utf8() <= max {
                out.push(CUT);
            }
            return out;
        }
        if out.len() + CUT.len_utf8() <= max {
            fits = out.len();
        }
    }
    out
}

/// C0 and C1 controls, line separators, bidi controls, and the byte order mark.
pub(crate) fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_made_harmless() {
        let table = [
            ("SEC-11 ESC", "\u{1b}[0m", 99, r"\u{1b}[0m"),
            (
                "SEC-11 bidi",
                "a\u{202e}b\u{2066}",
                99,
                r"a\u{202e}b\u{2066}",
            ),
            ("SEC-11 newline", "a\nb\r", 99, r"a\u{a}b\u{d}"),
            ("SEC-11 C1, DEL", "\u{9b}\u{7f}", 99, r"\u{9b}\u{7f}"),
            ("fits exactly", "abcdef", 6, "abcdef"),
            ("cut", "abcdefg", 6, "abc…"),
            ("cut before an escape", "abc\u{1b}", 6, "abc…"),
            ("nothing fits", "abc", 2, ""),
            ("empty", "", 0, ""),
            ("harmless", "größer ✓", 99, "größer ✓"),
        ];
        for (row, text, max, expected) in table {
            assert_eq!(escape(text, max), expected, "{row}");
        }
        for max in 0..40 {
            assert!(
                escape("é\u{1b}größer\u{202e}✓ and more", max).len() <= max,
                "{max}"
            );
        }
    }
}
