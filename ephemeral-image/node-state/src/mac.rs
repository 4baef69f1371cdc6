//! A hardware address of Ethernet.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Six bytes, written `0a:58:0a:f4:01:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

/// Why a text is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hardware address: six bytes in hex with colons between them are wanted")]
pub struct NoMac(String);

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(formatter, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = NoMac;

    fn try_from(text: String) -> Result<Self, NoMac> {
        text.parse()
    }
}

impl FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Self, NoMac> {
        let no_mac = || NoMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            let word = words.next().filter(|word| word.len() == 2).ok_or_else(no_mac)?;
            // from_str_radix alone would take a sign.
            let is_hex = word.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(word, 16)
                .ok()
                .filter(|_| is_hex)
                .ok_or_else(no_mac)?;
        }
        if words.next().is_some() {
            return Err(no_mac());
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn reads_what_it_writes() {
        let text = "0a:58:0a:f4:01:ff";
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), text);
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "0a:58:0a:f4:01",
            "0a:58:0a:f4:01:02:03",
            "+a:58:0a:f4:01:02",
            "a:58:0a:f4:01:02",
            "0a-58-0a-f4-01-02",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
