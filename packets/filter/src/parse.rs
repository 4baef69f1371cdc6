//! Words to expression, by libpcap's grammar (`grammar.y`): `and` and `or` bind alike and to the left, `not` binds tightest, and a
//! bare value takes the qualifiers of the value before it.

mod address;
mod arithmetic;
mod keyword;
mod number;
mod primitive;
mod value;

use crate::ast::Node;
use crate::error::{Error, Problem};
use crate::lexer::{self, Token, TokenKind};
use value::Qualifiers;

/// How deep expressions may nest, so that no text can exhaust the stack.
const DEEPEST: usize = 128;

/// The expression a text stands for; everything, if it says nothing.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    let mut parser = Parser {
        tokens: lexer::tokens(text)?,
        at: 0,
        depth: 0,
    };
    if parser.peek().is_none() {
        return Ok(Node::And(Vec::new()));
    }
    let whole = parser.expression(None)?;
    match parser.peek() {
        None => Ok(whole.node),
        Some(token) if token.is(")") => Err(parser.unexpected("the end (there is no open parenthesis)")),
        Some(_) => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// How many brackets and signs are open here.
    depth: usize,
}

/// A part of the expression.
struct Part {
    node: Node,
    /// How deep the tree is.
    depth: usize,
    /// What a bare value after it inherits.
    qualifiers: Option<Qualifiers>,
    /// Whether it is a bare value itself.
    bare: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    And,
    Or,
}

impl Parser {
    /// Parts joined by `and` and `or`, where bare values inherit `qualifiers`.
    fn expression(&mut self, qualifiers: Option<Qualifiers>) -> Result<Part, Error> {
        let mut whole = self.part(qualifiers)?;
        let only_bare = whole.bare && self.depth > 0;
        while let Some(joint) = self.joint() {
            let column = self.column();
            let next = self.part(whole.qualifiers)?;
            if only_bare && !next.bare {
                return Err(Problem::Unexpected {
                    found: self.text_at(column),
                    expected: "another bare value",
                }
                .at(column));
            }
            let (node, deeper) = join(whole.node, joint, next.node);
            let depth = whole.depth.max(next.depth) + usize::from(deeper);
            self.check_depth(depth, column)?;
            whole = Part {
                node,
                depth,
                qualifiers: next.qualifiers,
                bare: only_bare,
            };
        }
        Ok(whole)
    }

    fn joint(&mut self) -> Option<Joint> {
        if self.take("and") || self.take("&&") {
            Some(Joint::And)
        } else if self.take("or") || self.take("||") {
            Some(Joint::Or)
        } else {
            None
        }
    }

    /// One part: negated, in parentheses, a primitive or a bare value.
    fn part(&mut self, qualifiers: Option<Qualifiers>) -> Result<Part, Error> {
        let column = self.column();
        if self.take("not") || self.take("!") {
            let part = self.nested(column, |parser| parser.part(qualifiers))?;
            self.check_depth(part.depth + 1, column)?;
            return Ok(Part {
                node: Node::Not(Box::new(part.node)),
                depth: part.depth + 1,
                ..part
            });
        }
        if self.peek_is("(") && !self.parentheses_hold_number() {
            self.at += 1;
            let inside = self.nested(column, |parser| parser.expression(qualifiers))?;
            self.expect(")", "`)` (the parenthesis is still open)")?;
            return Ok(Part { qualifiers, ..inside });
        }
        self.primitive(qualifiers)
    }

    /// Whether what the parenthesis here encloses is calculated with.
    fn parentheses_hold_number(&self) -> bool {
        let mut open = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(self.at) {
            if token.is("(") {
                open += 1;
            } else if token.is(")") {
                open = open.saturating_sub(1);
                if open == 0 {
                    return self.tokens.get(index + 1).is_some_and(arithmetic::continues);
                }
            }
        }
        false
    }

    /// Does something one level deeper.
    fn nested<T>(&mut self, column: usize, inner: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        self.check_depth(self.depth, column)?;
        let result = inner(self)?;
        self.depth -= 1;
        Ok(result)
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as a question to the parser, beside its siblings"
    )]
    fn check_depth(&self, depth: usize, column: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            Err(Problem::TooDeep { limit: DEEPEST }.at(column))
        } else {
            Ok(())
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn peek_is(&self, text: &str) -> bool {
        self.peek().is_some_and(|token| token.is(text))
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.peek_is(text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str, expected: &'static str) -> Result<(), Error> {
        if self.take(text) {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    /// A number that must stand here, with the word it was written as.
    fn number(&mut self, expected: &'static str) -> Result<(u32, Token), Error> {
        match self.peek() {
            Some(
                token @ Token {
                    kind: TokenKind::Number(value),
                    ..
                },
            ) => {
                let found = (*value, token.clone());
                self.at += 1;
                Ok(found)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The column of the word here; at the end, the one after the last word.
    fn column(&self) -> usize {
        self.peek()
            .map_or_else(|| self.tokens.last().map_or(1, Token::end), |token| token.column)
    }

    fn text_at(&self, column: usize) -> Option<String> {
        self.tokens
            .iter()
            .find(|token| token.column == column)
            .map(|token| token.text.clone())
    }

    /// Something else should stand here.
    fn unexpected(&self, expected: &'static str) -> Error {
        let found = self.peek().map(|token| token.text.clone());
        Problem::Unexpected { found, expected }.at(self.column())
    }
}

/// Joins two nodes, and says whether that made the tree deeper.
fn join(left: Node, joint: Joint, right: Node) -> (Node, bool) {
    match (left, joint) {
        (Node::And(mut all), Joint::And) if !all.is_empty() => {
            all.push(right);
            (Node::And(all), false)
        }
        (Node::Or(mut any), Joint::Or) => {
            any.push(right);
            (Node::Or(any), false)
        }
        (left, Joint::And) => (Node::And(vec![left, right]), true),
        (left, Joint::Or) => (Node::Or(vec![left, right]), true),
    }
}
