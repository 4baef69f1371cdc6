//! One DNS question over UDP (RFC 1035), in random letter case: id and spelling are what recognises it.

use crate::sys::set_option;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, RecordType},
};
use netcheck_wire::probe::{Mark, Outcome, Record};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// Largest response that is read: what a UDP datagram can hold.
const MAX_RESPONSE: usize = 65_535;

/// A question under way.
#[derive(Debug)]
pub struct Question {
    id: u16,
    /// As spelled, without the last dot.
    name: String,
    query: Query,
    bytes: Vec<u8>,
    to: SocketAddr,
}

/// Sends a question. The inner result is the kernel's immediate answer; the outer error means that nothing was sent.
pub fn open(to: SocketAddr, name: &str, record: Record) -> Result<(Socket, Question, io::Result<()>), String> {
    let no_random = |error| format!("no random numbers: {error}");
    let id = u16::from_ne_bytes(super::random().map_err(no_random)?);
    let case: [u8; 256] = super::random().map_err(no_random)?;
    let question = Question::new(to, id, &spell(name, &case), record)?;
    let cannot = |error: io::Error| format!("cannot open a UDP socket: {error}");
    let socket = Socket::new(
        Domain::for_address(to),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )
    .map_err(cannot)?;
    let (level, option) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    // Without it only a port unreachable reaches the socket; others end as a timeout, and the watch still has the error.
    let _ = set_option(&socket, level, option, 1);
    let sent = socket.connect(&to.into()).and_then(|()| question.send(&socket));
    Ok((socket, question, sent))
}

/// The name with the case of each letter chosen by one random byte (draft-vixie-dnsext-dns0x20), its last dot removed.
fn spell(name: &str, random: &[u8]) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.chars()
        .zip(random.iter().cycle())
        .map(|(letter, byte)| {
            if byte & 1 == 0 {
                letter.to_ascii_lowercase()
            } else {
                letter.to_ascii_uppercase()
            }
        })
        .collect()
}

impl Question {
    fn new(to: SocketAddr, id: u16, name: &str, record: Record) -> Result<Self, String> {
        let kind = match record {
            Record::A => RecordType::A,
            Record::Aaaa => RecordType::AAAA,
        };
        let mut parsed = Name::from_ascii(name).map_err(|error| format!("not a DNS name: {error}"))?;
        parsed.set_fqdn(true);
        let query = Query::query(parsed, kind);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let bytes = message
            .to_vec()
            .map_err(|error| format!("cannot ask for this name: {error}"))?;
        Ok(Self {
            id,
            name: name.to_owned(),
            query,
            bytes,
            to,
        })
    }

    /// What recognises it.
    pub fn mark(&self) -> Mark {
        Mark::Dns {
            id: self.id,
            name: self.name.clone(),
        }
    }

    /// Sends it, or sends it again: the same bytes.
    pub fn send(&self, socket: &Socket) -> io::Result<()> {
        socket.send(&self.bytes).map(drop)
    }

    /// Reads the socket until the response is found, or nothing is left.
    pub fn outcome(&self, socket: &Socket) -> io::Result<Option<Outcome>> {
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        let mut buffer = vec![0u8; MAX_RESPONSE];
        loop {
            match rustix::io::read(socket, &mut buffer) {
                Ok(length) => {
                    if let Some(outcome) = self.read(&buffer[..length]) {
                        return Ok(Some(outcome));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// A datagram as the response to this question; `None` if it is anything else.
    fn read(&self, datagram: &[u8]) -> Option<Outcome> {
        let message = Message::from_vec(datagram).ok()?;
        let is_response = message.metadata.message_type == MessageType::Response && message.metadata.id == self.id;
        // The spelling is compared by the watch, not here: a server that spells otherwise has answered all the same.
        if !is_response || message.queries != [self.query.clone()] {
            return None;
        }
        let addresses = message.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        Some(Outcome::Resolved {
            rcode: message.metadata.response_code.into(),
            addresses: addresses.collect(),
            from: self.to,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::{
        op::ResponseCode,
        rr::{Record as Answer, rdata::A},
    };
    use proptest::prelude::*;

    fn question() -> Question {
        Question::new(
            "192.0.2.53:53".parse().unwrap(),
            7,
            "wEb.shop.SVC.cluster.local",
            Record::A,
        )
        .unwrap()
    }

    fn response(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::response(7, OpCode::Query);
        message.add_query(question().query);
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn the_spelling_on_the_wire_is_the_mark() {
        let question = question();
        let expected = b"\x03wEb\x04shop\x03SVC\x07cluster\x05local\0\0\x01\0\x01";
        assert_eq!(&question.bytes[12..], expected);
        assert_eq!(
            question.mark(),
            Mark::Dns {
                id: 7,
                name: "wEb.shop.SVC.cluster.local".to_owned()
            }
        );
    }

    #[test]
    fn letters_change_case_and_nothing_else_does() {
        assert_eq!(spell("a-1.Bc.", &[1, 0]), "A-1.Bc");
        assert_eq!(spell("abcd", &[0, 1]), "aBcD");
        assert_eq!(spell(".", &[1]), "");
    }

    #[test]
    fn a_response_is_read_with_its_code_and_addresses() {
        let name = Name::from_ascii("web.shop.svc.cluster.local.").unwrap();
        let found = response(|message| {
            message.add_answer(Answer::from_rdata(name, 5, RData::A(A::new(192, 0, 2, 9))));
        });
        let from = "192.0.2.53:53".parse().unwrap();
        let expected = Outcome::Resolved {
            rcode: 0,
            addresses: vec!["192.0.2.9".parse().unwrap()],
            from,
        };
        assert_eq!(question().read(&found), Some(expected));
        let absent = response(|message| message.metadata.response_code = ResponseCode::NXDomain);
        assert_eq!(
            question().read(&absent),
            Some(Outcome::Resolved {
                rcode: 3,
                addresses: vec![],
                from
            })
        );
    }

    #[test]
    fn what_does_not_answer_the_question_is_not_taken() {
        for other in [
            response(|message| message.metadata.id = 8),
            response(|message| message.metadata.message_type = MessageType::Query),
            response(|message| message.queries.clear()),
            response(|message| {
                message.queries[0].set_query_type(RecordType::AAAA);
            }),
        ] {
            assert_eq!(question().read(&other), None);
        }
    }

    #[test]
    fn what_is_no_name_is_not_sent() {
        for name in ["a..b", &"x".repeat(64), &"a.".repeat(200)] {
            assert!(
                Question::new("192.0.2.53:53".parse().unwrap(), 7, name, Record::A).is_err(),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            question().read(&bytes);
        }
    }
}
