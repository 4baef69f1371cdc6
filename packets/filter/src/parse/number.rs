//! Values that mean numbers: ports and protocols.

use super::keyword;
use super::value::Qualifiers;
use crate::ast::{Primitive, Protocol};
use crate::error::{Error, Problem};
use crate::lexer::{self, Token, TokenKind, bad};
use crate::words::{self, Carrier};

/// A port, by number or service.
pub(super) fn port(qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
    let (low, carrier) = port_number(&token.text, token)?;
    let transport = transport(qualifiers, carrier, token)?;
    Ok(Primitive::Port {
        transport,
        direction: qualifiers.direction,
        low,
        high: low,
    })
}

/// A range of ports, or one.
pub(super) fn port_range(qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
    let Some((first, last)) = token.text.split_once('-') else {
        if let TokenKind::Number(_) = token.kind {
            return port(qualifiers, token);
        }
        return Err(bad(token.text.clone(), "range of ports", "write it as 8000-8080").at(token.column));
    };
    let (first, first_carrier) = port_number(first, token)?;
    let (last, last_carrier) = port_number(last, token)?;
    let carrier = last_carrier.filter(|_| first_carrier == last_carrier);
    let transport = transport(qualifiers, carrier, token)?;
    Ok(Primitive::Port {
        transport,
        direction: qualifiers.direction,
        low: first.min(last),
        high: first.max(last),
    })
}

fn port_number(word: &str, token: &Token) -> Result<(u16, Option<Carrier>), Error> {
    let word = word.strip_prefix('\\').unwrap_or(word);
    let number = match &token.kind {
        TokenKind::Number(value) => Some(Ok(*value)),
        _ => lexer::number(word),
    };
    if let Some(number) = number {
        let number = number.map_err(|problem| problem.at(token.column))?;
        return match u16::try_from(number) {
            Ok(port) => Ok((port, None)),
            Err(_) => Err(bad(word.to_owned(), "port", "use 0 to 65535").at(token.column)),
        };
    }
    let unknown = || {
        let advice = match words::closest_service(word) {
            Some(close) => format!("did you mean `{close}`?"),
            None => "use its number".to_owned() + &keyword::hint(word),
        };
        bad(word.to_owned(), "well-known port", advice).at(token.column)
    };
    words::service(word)
        .map(|(port, carrier)| (port, Some(carrier)))
        .ok_or_else(unknown)
}

/// What carries the port, from the protocol written and the one a service name implies.
fn transport(qualifiers: Qualifiers, carrier: Option<Carrier>, token: &Token) -> Result<Option<u8>, Error> {
    let implied = match carrier {
        Some(Carrier::Tcp) => Some(6),
        Some(Carrier::Udp) => Some(17),
        Some(Carrier::Both) | None => None,
    };
    match (qualifiers.within, implied) {
        (Some(Protocol::Transport(written)), Some(implied)) if written != implied => {
            let (word, advice) = (token.text.clone(), "use the port's number");
            let with = format!("`{} port`", keyword::protocol_word(Protocol::Transport(written)));
            Err(Problem::Mismatch { word, with, advice }.at(token.column))
        }
        (Some(Protocol::Transport(written)), _) => Ok(Some(written)),
        _ => Ok(implied),
    }
}

/// A protocol's number, or its name.
pub(super) fn number(qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
    let link = qualifiers.within == Some(Protocol::Link);
    let word = match &token.kind {
        TokenKind::Escaped(name) => name.as_str(),
        _ => token.text.as_str(),
    };
    let number = match (&token.kind, link) {
        (TokenKind::Number(number), _) => Some(*number),
        (TokenKind::Word | TokenKind::Escaped(_), true) => words::ethernet_type(word),
        (TokenKind::Word | TokenKind::Escaped(_), false) => words::ip_protocol(word),
        _ => None,
    };
    let Some(number) = number else {
        let close = if link {
            words::closest_ethernet_type(word)
        } else {
            words::closest_ip_protocol(word)
        };
        let advice = close.map_or_else(
            || "use its number".to_owned(),
            |close| format!("did you mean `{close}`?"),
        );
        return Err(bad(word.to_owned(), "protocol known here", advice).at(token.column));
    };
    let (fits, advice) = if link {
        (
            number <= 0xff || (1501..=0xffff).contains(&number),
            "use an Ethernet type (1501 to 65535) or a service access point (0 to 255)",
        )
    } else {
        (number <= 0xff, "use 0 to 255")
    };
    if !fits {
        return Err(bad(word.to_owned(), "number of a protocol", advice).at(token.column));
    }
    Ok(Primitive::Number {
        within: qualifiers.within,
        number,
    })
}
