//! Text from the cluster on its way into a file.

use std::borrow::Cow;

/// Longest text of an option, in bytes of UTF-8: its length field has 16 bits.
pub const MAX_OPTION: usize = u16::MAX as usize;

/// Longest name of an address, in bytes: that of a DNS name in text (RFC 1035, section 3.1), and as much as readers keep.
pub const MAX_NAME: usize = 255;

/// Stands for what was cut off.
const CUT: char = '…';

/// One line of text: control characters, which readers pass on to terminals or take for an end, become U+FFFD.
pub fn line(text: &str, max: usize) -> Cow<'_, str> {
    cut(replace(text, char::is_control), max)
}

/// Text that may have several lines.
pub fn lines(text: &str, max: usize) -> Cow<'_, str> {
    cut(
        replace(text, |character| character.is_control() && character != '\n'),
        max,
    )
}

fn replace(text: &str, unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.contains(&unwanted) {
        Cow::Owned(text.replace(unwanted, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// At most `max` bytes, cut between characters and marked.
fn cut(text: Cow<'_, str>, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return text;
    }
    let kept = text.floor_char_boundary(max.saturating_sub(CUT.len_utf8()));
    let mut text = text.into_owned();
    text.truncate(kept);
    text.push(CUT);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        assert_eq!(line("shop/web größe", MAX_NAME), "shop/web größe");
        assert_eq!(lines("one\ntwo", MAX_NAME), "one\ntwo");
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(line("a\0b\x1b[2J\n", MAX_NAME), "a\u{fffd}b\u{fffd}[2J\u{fffd}");
        assert_eq!(lines("a\nb\r", MAX_NAME), "a\nb\u{fffd}");
    }

    #[test]
    fn long_text_is_cut_between_characters_and_marked() {
        assert_eq!(line("größe", 6), "gr…");
        assert_eq!(lines(&"x".repeat(70_000), MAX_OPTION).len(), MAX_OPTION);
    }

    proptest! {
        #[test]
        fn no_text_is_too_long(text in any::<String>(), max in 3usize..40) {
            prop_assert!(line(&text, max).len() <= max);
        }
    }
}
