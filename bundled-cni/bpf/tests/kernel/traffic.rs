//! Flows between namespaces, single frames, and tcpdump as the judge of what was on a device.

use crate::lab::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `bytes` over one TCP connection, and reads them at the other end.
pub fn tcp_flow(from: &Namespace, to: &Namespace, ip: IpAddr, bytes: usize) {
    let listener = to.within(|| TcpListener::bind((ip, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut sender = from.within(|| TcpStream::connect_timeout(&address, PATIENCE).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    sender.set_write_timeout(Some(PATIENCE)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let chunk = vec![0x55; 128 * 1024];
            let mut left = bytes;
            while left > 0 {
                let now = left.min(chunk.len());
                sender.write_all(&chunk[..now]).unwrap();
                left -= now;
            }
        });
        let mut buffer = vec![0; 128 * 1024];
        let mut total = 0;
        loop {
            match receiver.read(&mut buffer).unwrap() {
                0 => break,
                count => total += count,
            }
        }
        assert_eq!(total, bytes);
    });
}

/// Sends `count` datagrams of `size` bytes. Nobody need read them.
pub fn udp_flow(from: &Namespace, to: &Namespace, ip: IpAddr, count: usize, size: usize) {
    let receiver = to.within(|| UdpSocket::bind((ip, 0)).unwrap());
    let address: SocketAddr = receiver.local_addr().unwrap();
    let any: IpAddr = if ip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let sender = from.within(|| UdpSocket::bind((any, 0)).unwrap());
    let datagram = vec![0x33; size];
    for _ in 0..count {
        sender.send_to(&datagram, address).unwrap();
    }
}

/// Sends one frame out of a device.
pub fn send_frame(from: &Namespace, device: &str, frame: &[u8]) {
    let ifindex = from.ifindex(device);
    from.within(|| {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the kernel made it for us just now.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zero is a valid value of this struct of integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex.cast_signed();
        // SAFETY: frame and address live as long as the call, and are as long as said.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        assert_eq!(
            usize::try_from(sent).ok(),
            Some(frame.len()),
            "{}",
            std::io::Error::last_os_error()
        );
    });
}

/// Hands a frame to a new device `tap0` as a virtual machine does: one large TCP packet, of which only the size of the segments is told.
pub fn receive_from_machine(namespace: &Namespace, segment: u16, frame: impl FnOnce() -> Vec<u8> + Send) {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    /// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR` of include/uapi/linux/if_tun.h.
    const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
    namespace.within(|| {
        let mut tap = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        let mut request = [0_u8; 40];
        request[..4].copy_from_slice(b"tap0");
        request[16..18].copy_from_slice(&FLAGS.to_ne_bytes());
        // SAFETY: the request is a struct ifreq of 40 bytes, and lives as long as the call.
        let made = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        let frame = frame();
        // struct virtio_net_hdr: checksum wanted, TCPv4; length of headers, of a segment; where the checksum begins, and goes.
        let words = [54_u16, segment, 34, 16].map(u16::to_ne_bytes).concat();
        let written = tap.write(&[&[1, 1], &words[..], &frame].concat()).unwrap();
        assert_eq!(written, 10 + frame.len());
    });
}

fn ethernet(to: &str, ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let to: netcheck_node_state::Mac = to.parse().unwrap();
    [&to.0[..], &[2, 0, 0, 0, 0, 9], &ether_type.to_be_bytes(), packet].concat()
}

/// A frame that holds no IP.
pub fn other_frame(to: &str) -> Vec<u8> {
    ethernet(to, 0x88b5, &[0; 46])
}

/// A frame whose IPv4 header is cut off after ten bytes.
pub fn cut_frame(to: &str) -> Vec<u8> {
    ethernet(to, 0x0800, &[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6])
}

/// A frame with an IPv4 or IPv6 header (RFC 791, RFC 8200) and `payload` behind it.
pub fn ip_frame(to: &str, source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
            let header = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
            ethernet(
                to,
                0x0800,
                &[&header[..], &source.octets(), &destination.octets(), payload].concat(),
            )
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            let header = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            ethernet(
                to,
                0x86dd,
                &[&header[..], &source.octets(), &destination.octets(), payload].concat(),
            )
        }
        _ => panic!("two families in one packet"),
    }
}

/// The same frame with options in its header (IPv4), or a header of them behind it (IPv6), that say nothing.
pub fn with_options(frame: &[u8]) -> Vec<u8> {
    const ETHERNET: usize = 14;
    let mut longer = frame.to_vec();
    let (length, options, at) = if frame[ETHERNET] == 0x45 {
        longer[ETHERNET] = 0x46;
        (ETHERNET + 2, vec![1; 4], ETHERNET + 20)
    } else {
        let carried = std::mem::replace(&mut longer[ETHERNET + 6], 60);
        (ETHERNET + 4, vec![carried, 0, 1, 4, 0, 0, 0, 0], ETHERNET + 40)
    };
    // No frame here is longer than a byte tells.
    longer[length + 1] += u8::try_from(options.len()).unwrap();
    longer.splice(at..at, options);
    longer
}

/// A running tcpdump.
pub struct Tcpdump {
    child: Child,
    stderr: BufReader<ChildStderr>,
    file: tempfile::NamedTempFile,
}

impl Tcpdump {
    /// Watches one direction (`in`, `out`) of a device.
    pub fn start(namespace: &Namespace, device: &str, direction: &str, filter: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &namespace.0,
                "timeout",
                "60",
                "tcpdump",
                "-Z",
                "root",
                "-nn",
                "-B",
                "65536",
                "-s",
                "128",
                "-i",
                device,
            ])
            .args(["-Q", direction, "-w"])
            .arg(file.path())
            .args(["--immediate-mode", "-U", filter])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "tcpdump ended early");
        }
        Self { child, stderr, file }
    }

    /// What it has seen by now, a line for each packet.
    pub fn lines(&self) -> Vec<String> {
        let output = Command::new("tcpdump")
            .args(["-nn", "-r", "-"])
            .stdin(File::open(self.file.path()).unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Ends it. It must have lost nothing.
    pub fn end(mut self) {
        // `timeout` hands the signal on.
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut words = String::new();
        self.stderr.read_to_string(&mut words).unwrap();
        self.child.wait().unwrap();
        assert!(words.contains("\n0 packets dropped by kernel"), "{words}");
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How many packets of at most `segment` bytes of payload the lines of tcpdump stand for: what offload has packed together shows as one.
pub fn packets_of(lines: &[String], segment: u64) -> u64 {
    let lengths = lines.iter().map(|line| {
        let length = line.rsplit_once("length ").map_or("0", |(_, length)| length);
        let digits: String = length.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    });
    lengths.map(|length| length.div_ceil(segment).max(1)).sum()
}
