//! The files as tshark and capinfos read them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod classic;
mod pcapng;
mod stream;
mod tools;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = [pcapng::trials(), stream::trials(), classic::trials()]
        .into_iter()
        .flatten()
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// Ethernet, IPv4, UDP from 10.0.0.1:1000 to 10.0.0.2:2000, and so many bytes of payload.
fn udp(payload: usize) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload).unwrap().to_be_bytes();
    let ip_length = u16::try_from(28 + payload).unwrap().to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([
        0x45,
        0,
        ip_length[0],
        ip_length[1],
        0,
        0,
        0,
        0,
        64,
        17,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ]);
    frame.extend([3, 232, 7, 208, udp_length[0], udp_length[1], 0, 0]);
    frame.extend(std::iter::repeat_n(b'x', payload));
    frame
}
