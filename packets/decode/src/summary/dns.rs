//! DNS messages.

use serde::Serialize;

/// A DNS message (RFC 1035), or mDNS (RFC 6762).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// What joins query and response.
    pub id: u16,
    /// A response; else a query.
    pub response: bool,
    /// 0 is an ordinary query.
    pub opcode: u8,
    /// Response code by name.
    pub code: String,
    /// The answer did not fit: ask again over TCP.
    pub truncated: bool,
    /// What is asked; only the first few.
    pub questions: Vec<Question>,
    /// What is answered; only the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// How many answers the message says it has.
    pub answer_count: u16,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// ASCII with escapes (RFC 1035, section 5.1), without the last dot.
    pub name: String,
    /// Record type by name.
    pub kind: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// As in the question.
    pub name: String,
    /// Record type by name.
    pub kind: String,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// The address, name or text, of the usual types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}
