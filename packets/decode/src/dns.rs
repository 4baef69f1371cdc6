//! DNS messages, read by hickory-proto as far as they were captured.

use crate::summary::{Answer, Dns, Question};
use hickory_proto::{
    op::{Header, MessageType, Query},
    rr::{DNSClass, Name, RData, Record},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

/// DNS and mDNS; on other ports nothing is taken for DNS.
const PORTS: [u16; 2] = [53, 5353];
const HEADER: usize = 12;

const MAX_QUESTIONS: usize = 4;
const MAX_ANSWERS: usize = 16;
/// Characters of a text in an answer.
const MAX_TEXT: usize = 200;
/// The highest assigned operation, DNS Stateful Operations (IANA: "DNS OpCodes").
const MAX_OPCODE: u8 = 6;
/// mDNS uses the top bit of a class for itself (RFC 6762, sections 5.4 and 10.2).
const MDNS_BIT: u16 = 0x8000;

/// The message in a datagram, if its ports say DNS and it looks like it.
pub fn over_udp(source: u16, destination: u16, payload: &[u8]) -> Option<Dns> {
    let ports = [source, destination];
    PORTS
        .iter()
        .any(|port| ports.contains(port))
        .then(|| message(payload))
        .flatten()
}

/// The first message in a segment, behind its length (RFC 1035, section 4.2.2), if the segment begins with one.
pub fn over_tcp(source: u16, destination: u16, payload: &[u8]) -> Option<Dns> {
    let ([high, low], rest) = payload.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    (length >= HEADER).then(|| over_udp(source, destination, rest.get(..length).unwrap_or(rest)))?
}

fn message(bytes: &[u8]) -> Option<Dns> {
    let mut decoder = BinDecoder::new(bytes);
    let header = Header::read(&mut decoder).ok()?;
    let (metadata, counts) = (header.metadata, header.counts);
    let questions = questions(&mut decoder, counts.queries.into())?;
    let opcode = u8::from(metadata.op_code);
    if opcode > MAX_OPCODE || (questions.is_empty() && counts.answers == 0) {
        return None;
    }
    // Answers can be found only behind all questions.
    let answers = if questions.len() == usize::from(counts.queries) {
        answers(&mut decoder, counts.answers.into())
    } else {
        Vec::new()
    };
    Some(Dns {
        id: metadata.id,
        response: metadata.message_type == MessageType::Response,
        opcode,
        code: code(metadata.response_code.into()),
        truncated: metadata.truncation,
        questions,
        answers,
        answer_count: counts.answers,
    })
}

/// `None` if the first one is not a question.
fn questions(decoder: &mut BinDecoder<'_>, count: usize) -> Option<Vec<Question>> {
    let mut questions = Vec::new();
    while questions.len() < count.min(MAX_QUESTIONS) {
        let query = Query::read(decoder).ok().filter(|query| is_usual(query.query_class()));
        let Some(query) = query else { break };
        questions.push(Question {
            name: text(query.name()),
            kind: query.query_type().to_string(),
        });
    }
    (count == 0 || !questions.is_empty()).then_some(questions)
}

fn is_usual(class: DNSClass) -> bool {
    let class = DNSClass::from(u16::from(class) & !MDNS_BIT);
    matches!(
        class,
        DNSClass::IN | DNSClass::CH | DNSClass::HS | DNSClass::NONE | DNSClass::ANY
    )
}

fn answers(decoder: &mut BinDecoder<'_>, count: usize) -> Vec<Answer> {
    let records = std::iter::from_fn(|| Record::read(decoder).ok());
    let answers = records.take(count.min(MAX_ANSWERS)).map(|record: Record| Answer {
        name: text(&record.name),
        kind: record.record_type().to_string(),
        ttl: record.ttl,
        data: data(&record.data),
    });
    answers.collect()
}

fn data(data: &RData) -> Option<String> {
    Some(match data {
        RData::A(address) => address.0.to_string(),
        RData::AAAA(address) => address.0.to_string(),
        RData::CNAME(name) => text(&name.0),
        RData::NS(name) => text(&name.0),
        RData::PTR(name) => text(&name.0),
        RData::MX(mx) => format!("{} {}", mx.preference, text(&mx.exchange)),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, text(&srv.target)),
        RData::TXT(txt) => {
            let pieces = txt.txt_data.iter().map(|piece| format!("\"{}\"", piece.escape_ascii()));
            let joined = pieces.collect::<Vec<_>>().join(" ");
            joined.chars().take(MAX_TEXT).collect()
        }
        _ => return None,
    })
}

/// ASCII with escapes, as in a zone file, without the last dot; a name has at most 255 bytes, so this has at most four times that.
fn text(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some(shorter) if !shorter.is_empty() && !shorter.ends_with('\\') => shorter.to_owned(),
        _ => text,
    }
}

/// IANA: "DNS RCODEs".
fn code(code: u16) -> String {
    let known = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
        "NOTZONE",
    ];
    known
        .get(usize::from(code))
        .map_or_else(|| format!("RCODE{code}"), |name| (*name).to_owned())
}
