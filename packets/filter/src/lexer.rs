//! Cuts an expression into words, by the rules of libpcap's scanner: the longest word wins.

use std::net::Ipv6Addr;

use crate::error::{Error, Problem};
use crate::words;

/// The most characters an expression may have.
pub(crate) const LONGEST: usize = 64 * 1024;

/// A word with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// In characters, from one.
    pub column: usize,
    /// As written.
    pub text: String,
    pub kind: TokenKind,
}

impl Token {
    /// Whether it is this word or sign, and not the name an escape makes of it.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Sign) && self.text == text
    }

    /// The column right after it.
    pub fn end(&self) -> usize {
        self.column + self.text.chars().count()
    }
}

/// What a word is by its looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or name.
    Word,
    /// A name that an escape keeps from being a keyword: `\tcp`.
    Escaped(String),
    Number(u32),
    /// Two to four numbers with dots between them.
    Dotted,
    V6(Ipv6Addr),
    Mac([u8; 6]),
    Sign,
}

const SIGNS: &[&str] = &[
    "&&", "||", ">=", "<=", "!=", "==", "<<", ">>", "+", "-", "*", "/", "%", ":", "[", "]", "!", "<", ">", "(", ")",
    "&", "|", "^", "=",
];

/// All words of an expression.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > LONGEST {
        return Err(Problem::TooLong { limit: LONGEST }.at(LONGEST + 1));
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = characters.get(at..).filter(|rest| !rest.is_empty()) {
        if rest
            .first()
            .is_some_and(|first| matches!(first, ' ' | '\t' | '\r' | '\n'))
        {
            at += 1;
            continue;
        }
        let token = token(rest, at + 1)?;
        at = token.end() - 1;
        found.push(token);
    }
    Ok(found)
}

fn token(rest: &[char], column: usize) -> Result<Token, Error> {
    let made = |text: String, kind| Ok(Token { column, text, kind });
    let run = |allowed: fn(char) -> bool| rest.iter().copied().take_while(|c| allowed(*c)).collect::<String>();

    let address = run(|c| c.is_ascii_alphanumeric() || c == ':' || c == '.');
    if address.contains("::") || address.matches(':').count() >= 2 {
        if let Ok(v6) = address.parse() {
            return made(address, TokenKind::V6(v6));
        }
        if let Some(mac) = mac(&address) {
            return made(address, TokenKind::Mac(mac));
        }
        return Err(bad(address, "IPv6 or Ethernet address", "check its digits and colons").at(column));
    }

    let first = rest.first().copied().unwrap_or_default();
    if first.is_ascii_alphanumeric() {
        let run = run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let word = run.trim_end_matches(['-', '_']).to_owned();
        let kind = word_kind(&word).map_err(|problem| problem.at(column))?;
        return made(word, kind);
    }
    if first == '\\' {
        let name: String = rest
            .iter()
            .skip(1)
            .copied()
            .take_while(|c| !matches!(c, ' ' | '!' | '(' | ')' | '\n' | '\t'))
            .collect();
        if !name.is_empty() {
            return made(format!("\\{name}"), TokenKind::Escaped(name));
        }
    }
    let start: String = rest.iter().take(2).collect();
    match SIGNS.iter().find(|sign| start.starts_with(**sign)) {
        Some(sign) => made((*sign).to_owned(), TokenKind::Sign),
        None => Err(Problem::StrayCharacter(first).at(column)),
    }
}

fn word_kind(word: &str) -> Result<TokenKind, Problem> {
    if let Some(mac) = mac(word) {
        return Ok(TokenKind::Mac(mac));
    }
    if let Some(value) = words::constant(word) {
        return Ok(TokenKind::Number(value));
    }
    if let Some(number) = number(word) {
        return number.map(TokenKind::Number);
    }
    let parts = || word.split('.');
    let dotted = (2..=4).contains(&parts().count()) && parts().all(|part| number(part).is_some());
    Ok(if dotted { TokenKind::Dotted } else { TokenKind::Word })
}

/// A number as C writes them: decimal, `0x` hexadecimal, `0` octal. Nothing where the word does not look like one.
pub(crate) fn number(word: &str) -> Option<Result<u32, Problem>> {
    let hexadecimal = word
        .strip_prefix("0x")
        .or_else(|| word.strip_prefix("0X"))
        .filter(|digits| !digits.is_empty());
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if word.len() > 1 && word.starts_with('0') => (word, 8),
        None => (word, 10),
    };
    let looks_right = |c: char| c.is_digit(radix.max(10));
    if digits.is_empty() || !digits.chars().all(looks_right) {
        return None;
    }
    Some(u32::from_str_radix(digits, radix).map_err(|_| {
        if radix == 8 && digits.contains(['8', '9']) {
            bad(
                word.to_owned(),
                "octal number",
                "a leading 0 means octal, leave it away for decimal",
            )
        } else {
            bad(word.to_owned(), "32-bit number", "use at most 4294967295")
        }
    }))
}

/// An Ethernet address in any of the ways libpcap reads them.
fn mac(word: &str) -> Option<[u8; 6]> {
    let pair = |digits: &str| u8::from_str_radix(digits, 16).ok();
    let hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    for separator in [':', '-', '.'] {
        let parts: Vec<&str> = word.split(separator).collect();
        if parts.len() == 6
            && parts
                .iter()
                .all(|part| (1..=2).contains(&part.len()) && hexadecimal(part))
        {
            let bytes: Option<Vec<u8>> = parts.into_iter().map(pair).collect();
            return bytes?.try_into().ok();
        }
    }
    let parts: Vec<&str> = word.split('.').collect();
    let packed = match parts.as_slice() {
        [one] if one.len() == 12 => word.to_owned(),
        [_, _, _] if parts.iter().all(|part| part.len() == 4) => parts.concat(),
        _ => return None,
    };
    let value = hexadecimal(&packed)
        .then(|| u64::from_str_radix(&packed, 16).ok())
        .flatten()?;
    let [_, _, address @ ..] = value.to_be_bytes();
    Some(address)
}

/// A value that cannot be.
pub(crate) fn bad(word: String, what: &'static str, advice: impl Into<String>) -> Problem {
    Problem::BadValue {
        word,
        what,
        advice: advice.into(),
    }
}
