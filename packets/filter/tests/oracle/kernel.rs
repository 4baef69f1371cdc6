//! The kernel's checker takes every program.

use libtest_mimic::{Failed, Trial};
use netcheck_filter::{Filter, Instruction, Loopback, NoNames, Options, Problem, Source};
use socket2::{Domain, SockFilter, Socket, Type};

use crate::expressions::{self, ACCEPTED_HERE, BOTH, OTHERWISE};
use crate::files::report;

const SOURCES: [Source; 5] = [
    Source::EthernetFile,
    Source::RawFile,
    Source::EthernetSocket,
    Source::RawSocket,
    Source::AnySocket,
];

pub fn trials() -> Vec<Trial> {
    vec![netcheck_trials::trial(
        "the kernel takes every program",
        &[],
        every_program,
    )]
}

/// Attaches a program to a socket.
pub fn attach(socket: &Socket, program: &[Instruction]) -> std::io::Result<()> {
    let program: Vec<SockFilter> = program
        .iter()
        .map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k))
        .collect();
    socket.attach_filter(&program)
}

fn every_program() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let own = [
        "inbound",
        "outbound",
        "inbound and vlan 5",
        "not outbound or vlan and tcp",
    ];
    let long = expressions::long();
    let all = BOTH
        .iter()
        .chain(ACCEPTED_HERE)
        .chain(OTHERWISE.iter().map(|(ours, _)| ours))
        .chain(&own)
        .copied();
    for expression in all.chain(long.iter().map(String::as_str)) {
        for source in SOURCES {
            let options = Options {
                source,
                snap_length: 65535,
                loopback: Loopback::Once,
            };
            match Filter::parse(expression).and_then(|filter| filter.compile(options, &NoNames)) {
                Ok(program) => {
                    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                    if let Err(error) = attach(&socket, &program) {
                        wrong.push(format!(
                            "`{expression}` for {source:?}: {error}: {} instructions",
                            program.len()
                        ));
                    }
                }
                Err(error)
                    if matches!(
                        error.problem,
                        Problem::Unsupported { .. } | Problem::MatchesNothing { .. }
                    ) => {}
                Err(error) => wrong.push(format!("`{expression}` for {source:?}: {error}")),
            }
        }
    }
    report(&wrong)
}
