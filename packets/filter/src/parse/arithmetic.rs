//! Numbers out of packets and comparisons between them.

use super::{Parser, keyword};
use crate::ast::{Arithmetic, Comparison, Node, Primitive, Protocol, Size};
use crate::error::{Error, Problem};
use crate::lexer::{Token, TokenKind, bad};
use crate::run::Operation;

/// How tightly a sign before a number binds: tighter than every sign between two.
const SIGN_BEFORE: u8 = 6;

/// The operation of a sign and how tightly it binds. Those with nothing have no rank in libpcap's grammar: they take whatever stands
/// left of them alone, and all that follows.
fn operation(token: &Token) -> Option<(Operation, Option<u8>)> {
    if token.kind != TokenKind::Sign {
        return None;
    }
    Some(match token.text.as_str() {
        "|" => (Operation::Or, Some(1)),
        "&" => (Operation::And, Some(2)),
        "<<" => (Operation::ShiftLeft, Some(3)),
        ">>" => (Operation::ShiftRight, Some(3)),
        "+" => (Operation::Add, Some(4)),
        "-" => (Operation::Subtract, Some(4)),
        "*" => (Operation::Multiply, Some(5)),
        "/" => (Operation::Divide, Some(5)),
        "%" => (Operation::Remainder, None),
        "^" => (Operation::Xor, None),
        _ => return None,
    })
}

fn comparison(token: &Token) -> Option<Comparison> {
    if token.kind != TokenKind::Sign {
        return None;
    }
    Some(match token.text.as_str() {
        "=" | "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        _ => return None,
    })
}

/// Whether a number before this word is calculated with or compared.
pub(super) fn continues(token: &Token) -> bool {
    operation(token).is_some() || comparison(token).is_some()
}

/// A number, and how deep its tree is.
type Deep = (Arithmetic, usize);

impl Parser {
    /// A comparison, such as `tcp[13] & 2 != 0`.
    pub(super) fn relation(&mut self) -> Result<Node, Error> {
        let column = self.column();
        let (left, _) = self.arithmetic(0)?;
        let comparison = self
            .peek()
            .and_then(comparison)
            .ok_or_else(|| self.unexpected("a comparison such as `=`"))?;
        self.at += 1;
        let (right, _) = self.arithmetic(0)?;
        Ok(Node::Test(
            Primitive::Relation {
                comparison,
                left,
                right,
            },
            column,
        ))
    }

    /// Numbers joined by signs that bind at least as tightly as `tightness`.
    fn arithmetic(&mut self, tightness: u8) -> Result<Deep, Error> {
        let (mut left, mut depth) = self.operand()?;
        while let Some((operation, rank)) = self.peek().and_then(operation) {
            if rank.is_some_and(|rank| rank < tightness) {
                break;
            }
            self.at += 1;
            let (first, column) = (self.at, self.column());
            let (right, right_depth) =
                self.nested(column, |parser| parser.arithmetic(rank.map_or(0, |rank| rank + 1)))?;
            self.check_operand(operation, &right, first)?;
            depth = depth.max(right_depth) + 1;
            self.check_depth(depth, column)?;
            left = combined(operation, left, right);
        }
        Ok((left, depth))
    }

    /// Refuses what no kernel's checker takes. The operand began with the word at index `first`.
    fn check_operand(&self, operation: Operation, right: &Arithmetic, first: usize) -> Result<(), Error> {
        let Arithmetic::Constant(value) = right else {
            return Ok(());
        };
        let (what, advice) = match operation {
            Operation::Divide | Operation::Remainder if *value == 0 => {
                ("divisor", "divide by something else than zero")
            }
            Operation::ShiftLeft | Operation::ShiftRight if *value > 31 => ("distance to shift", "shift by at most 31"),
            _ => return Ok(()),
        };
        let operand = self.tokens.get(first..self.at).unwrap_or_default();
        let words: Vec<&str> = operand.iter().map(|token| token.text.as_str()).collect();
        let column = operand.first().map_or_else(|| self.column(), |token| token.column);
        Err(bad(words.join(" "), what, advice).at(column))
    }

    fn operand(&mut self) -> Result<Deep, Error> {
        let column = self.column();
        if self.take("-") {
            let (value, depth) = self.nested(column, |parser| parser.arithmetic(SIGN_BEFORE))?;
            self.check_depth(depth + 1, column)?;
            return Ok(match value {
                Arithmetic::Constant(value) => (Arithmetic::Constant(value.wrapping_neg()), 1),
                value => (Arithmetic::Negated(Box::new(value)), depth + 1),
            });
        }
        if self.take("(") {
            let inside = self.nested(column, |parser| parser.arithmetic(0))?;
            self.expect(")", "`)` (the parenthesis is still open)")?;
            return Ok(inside);
        }
        if self.take("len") || self.take("length") {
            return Ok((Arithmetic::Length, 1));
        }
        let token = self.peek();
        if let Some(TokenKind::Number(value)) = token.map(|token| &token.kind) {
            let value = *value;
            self.at += 1;
            return Ok((Arithmetic::Constant(value), 1));
        }
        let protocol = token
            .filter(|token| token.kind == TokenKind::Word)
            .and_then(|token| keyword::protocol(&token.text));
        if let Some(protocol) = protocol {
            self.at += 1;
            return self.bytes(protocol, column);
        }
        match token {
            Some(token) if token.kind == TokenKind::Word && is_glued_subtraction(&token.text) => {
                let advice = "write spaces around the `-`";
                Err(bad(token.text.clone(), "number", advice).at(column))
            }
            _ => Err(self.unexpected("a number, `len` or bytes such as `tcp[13]`")),
        }
    }

    /// What follows a protocol of which bytes are read: `[13]` or `[0:2]`.
    fn bytes(&mut self, protocol: Protocol, column: usize) -> Result<Deep, Error> {
        self.expect("[", "`[` and the offset of bytes to read")?;
        if !has_bytes(protocol) {
            let word = keyword::protocol_word(protocol).to_owned();
            return Err(Problem::Unsupported {
                word,
                reason: "its bytes have no fixed place, use `ip[…]` or `ether[…]`",
            }
            .at(column));
        }
        let (at, depth) = self.nested(column, |parser| parser.arithmetic(0))?;
        let size = if self.take(":") {
            let (size, token) = self.number("the number of bytes to read")?;
            match size {
                1 => Size::Byte,
                2 => Size::Half,
                4 => Size::Word,
                _ => return Err(bad(token.text, "number of bytes to read", "read 1, 2 or 4").at(token.column)),
            }
        } else {
            Size::Byte
        };
        self.expect("]", "`]` (the bracket is still open)")?;
        self.check_depth(depth + 1, column)?;
        Ok((
            Arithmetic::Bytes {
                protocol,
                at: Box::new(at),
                size,
            },
            depth + 1,
        ))
    }
}

/// Two numbers combined, calculated here if both are known.
fn combined(operation: Operation, left: Arithmetic, right: Arithmetic) -> Arithmetic {
    if let (Arithmetic::Constant(a), Arithmetic::Constant(b)) = (&left, &right)
        && let Some(result) = operation.apply(*a, *b)
    {
        return Arithmetic::Constant(result);
    }
    Arithmetic::Combined(operation, Box::new(left), Box::new(right))
}

/// libpcap reads bytes of these protocols only.
fn has_bytes(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Frame(number) => matches!(number, 0x809b | 0x6001..=0x6004 | 0x6007),
        Protocol::Transport(number) => !matches!(number, 50 | 51),
        _ => true,
    }
}

/// `10-5` is one word, here as in libpcap.
fn is_glued_subtraction(word: &str) -> bool {
    word.split_once('-')
        .is_some_and(|(left, _)| matches!(left, "len" | "length") || left.bytes().all(|byte| byte.is_ascii_digit()))
}
