//! Text from the cluster on its way to a terminal.

use std::fmt::Write as _;

/// Makes text from the cluster harmless: control characters (and with them terminal escapes and line breaks) and invisible or
/// direction-changing characters appear as `\u{1b}`, `\n` …, so that a name cannot move the cursor, recolour, reorder or forge lines.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_treacherous(character) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out
}

/// Control (Cc), line and paragraph separators, and those format characters (Cf) that reorder or hide text
/// (Unicode Technical Report 36, "Trojan Source").
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        assert_eq!(safe("web\x1b[2Jpod"), "web\\u{1b}[2Jpod");
        assert_eq!(safe("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(safe("user\u{202e}nimda"), "user\\u{202e}nimda");
        assert_eq!(safe("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["web-7d9c", "kube-system/coredns", "größe", "日本語", "a b"] {
            assert_eq!(safe(text), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_treacherous_survives(text in any::<String>()) {
            let made_safe = safe(&text);
            prop_assert!(!made_safe.chars().any(is_treacherous));
            prop_assert_eq!(safe(&made_safe), made_safe);
        }
    }
}
