//! Filters on live traffic, judged by tcpdump beside it; tunnels.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Files},
    lab::{Lab, Namespace, said},
    manifests,
    tcpdump::Recording,
    traffic::{ECHO, Inside, everything, query, talkers},
    tshark::{Frame, frames},
};
use std::net::IpAddr;

pub const CASES: &[Case] = &[
    (
        "capture filters: each lets through what tcpdump's own lets through",
        beside_tcpdump,
    ),
    ("capture filters: pods and Services by name", names),
    (
        "capture filters: VLANs and VXLAN on the wire; the tunnel is opened in lines",
        tunnels,
    ),
];

/// Without times: each side has its own clock reading.
fn packets(frames: Vec<Frame>) -> Vec<(u32, Vec<u8>)> {
    frames
        .into_iter()
        .map(|frame| (frame.original_length, frame.bytes))
        .collect()
}

/// Captures pod `one` with each of our filters while tcpdump records with its own, and compares.
fn compare(
    lab: &Lab,
    namespace: &Namespace<'_>,
    pairs: &[(&str, &str)],
    traffic: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let files = Files::new()?;
    let mut running = Vec::new();
    for (index, (ours, theirs)) in pairs.iter().enumerate() {
        let (path, file) = files.path(&format!("{index}.pcapng"));
        let tcpdump = Recording::start(lab, namespace, "one", "eth0", theirs)?;
        let line = ["one", "-i", "eth0", "-w", &file, "--", ours];
        let capture = Capture::start(lab, namespace, line).with_context(|| ours.to_string())?;
        running.push((path, tcpdump, capture));
    }
    // What was said before all listened, or is said after some stopped, only one of two may have heard.
    let began = now_ns()?;
    traffic()?;
    let ended = now_ns()?;
    let within = |frames: Vec<Frame>| {
        frames
            .into_iter()
            .filter(|frame| (began..=ended).contains(&frame.at_ns))
            .collect()
    };
    let mut empty = Vec::new();
    for ((path, tcpdump, capture), (filter, _)) in running.into_iter().zip(pairs) {
        capture.stop()?;
        let (ours, theirs) = (packets(within(frames(&path)?)), packets(within(tcpdump.stop()?)));
        // Neighbours greet each other when they like.
        let noise = |(_, bytes): &(u32, Vec<u8>)| bytes.get(12..14) == Some(&[8, 6]) || is_neighbour_discovery(bytes);
        let of = |packets: Vec<_>| -> Vec<_> { packets.into_iter().filter(|packet| !noise(packet)).collect() };
        let (ours, theirs) = (of(ours), of(theirs));
        ensure!(
            ours == theirs,
            "{filter}: {} packets, tcpdump has {}",
            ours.len(),
            theirs.len()
        );
        if ours.is_empty() {
            empty.push(*filter);
        }
    }
    ensure!(empty.is_empty(), "nothing was to be seen of {empty:?}");
    Ok(())
}

/// The machine's clock, which stamps packets too.
fn now_ns() -> Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_nanos())?)
}

/// Router and neighbour solicitations and advertisements (RFC 4861), multicast listeners' reports (RFC 3810): they come when they come.
fn is_neighbour_discovery(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[0x86, 0xdd])
        && (matches!(bytes.get(20), Some(0))
            || (bytes.get(20) == Some(&58) && matches!(bytes.get(54), Some(133..=136))))
}

fn beside_tcpdump(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let (v4, v6) = (namespace.address("two", false)?, namespace.address("two", true)?);
    let own: Vec<String> = vec![
        format!("host {v4}"),
        format!("src host {v6} and tcp"),
        format!("dst net {v4}/32 and not udp"),
        "tcp port 8080".into(),
        "udp portrange 9990-9999".into(),
        "port domain".into(),
        "icmp or icmp6".into(),
        "icmp[icmptype] == icmp-echo".into(),
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0".into(),
        "ip[8] < 65 and greater 100".into(),
        "ip6 and less 120".into(),
        "udp and (src port 9999 or dst port 7)".into(),
        "not (tcp or icmp or icmp6 or arp)".into(),
        "ip proto 17 and udp[4:2] > 20".into(),
        "ether[0] & 1 = 0 and ip".into(),
    ];
    let pairs: Vec<(&str, &str)> = own.iter().map(|filter| (filter.as_str(), filter.as_str())).collect();
    // All at once would ask for a node's memory; a few at a time.
    for pairs in pairs.chunks(5) {
        compare(lab, &namespace, pairs, || everything(lab, &namespace, "one", "two"))?;
    }
    Ok(())
}

fn names(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2"), ("three", "n3")])?;
    lab.apply(&manifests::service(&namespace.name, "front", "two", 8080))?;
    let address = |pod: &str| -> Result<String> {
        Ok(format!(
            "host {} or host {}",
            namespace.address(pod, false)?,
            namespace.address(pod, true)?
        ))
    };
    let front = lab.kubectl(&format!(
        "-n {} get service front -o jsonpath={{.spec.clusterIPs[*]}}",
        namespace.name
    ))?;
    let front: Vec<IpAddr> = front.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let service = front
        .iter()
        .map(|ip| format!("host {ip}"))
        .collect::<Vec<_>>()
        .join(" or ");
    let (two, three) = (address("two")?, address("three")?);
    let qualified = format!("pod {}/three", namespace.name);
    let inside = Inside::pod(lab, &namespace, "one")?;
    let dns = "svc kube-system/kube-dns";
    let kube_dns = lab.kubectl("-n kube-system get service kube-dns -o jsonpath={.spec.clusterIPs[*]}")?;
    let kube_dns = kube_dns
        .split_whitespace()
        .map(|ip| format!("host {ip}"))
        .collect::<Vec<_>>()
        .join(" or ");
    let both = (
        format!("pod two and udp port {ECHO}"),
        format!("({two}) and udp port {ECHO}"),
    );
    let pairs = [
        ("pod two", two.as_str()),
        (&qualified, &three),
        ("svc front", &service),
        (dns, &kube_dns),
        (&both.0, &both.1),
    ];
    compare(lab, &namespace, &pairs, || {
        everything(lab, &namespace, "one", "two")?;
        for ip in &front {
            // The Service may still be on its way into the node's rules: what was sent to it is on the wire all the same.
            let _answer = inside.connection((*ip, 80).into(), "to the Service");
        }
        for v6 in [false, true] {
            inside.ask((namespace.address("three", v6)?, ECHO).into(), b"to the third")?;
        }
        Ok(())
    })
}

/// Three UDP datagrams to port 4444 in VLAN 7, and one in VLAN 8, as whole frames.
const TAGGED: &str = r#"
import socket, struct
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
for vlan in (7, 7, 8, 7):
    payload = b"tagged"
    udp = struct.pack("!HHHH", 5555, 4444, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([198, 51, 100, 1]), bytes([198, 51, 100, 2]))
    ethernet = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01" + struct.pack("!HHH", 0x8100, vlan, 0x0800)
    link.send(ethernet + ip + udp)
"#;

fn tunnels(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let (one, two) = (namespace.address("one", false)?, namespace.address("two", false)?);
    // Links in the pods' own namespaces, gone with them.
    for (pod, peer, inner) in [("one", two, "192.0.2.1"), ("two", one, "192.0.2.2")] {
        for line in [
            format!("ip link add vx0 type vxlan id 42 dstport 4789 remote {peer} dev eth0"),
            format!("ip address add {inner}/24 dev vx0"),
            "ip link set vx0 up".into(),
        ] {
            namespace.in_pod(pod, &line)?;
        }
    }
    let inside = Inside::pod(lab, &namespace, "one")?;
    let pairs = [
        ("vlan 7", "vlan 7"),
        ("vlan and udp port 4444", "vlan and udp port 4444"),
        ("udp port 4789", "udp port 4789"),
    ];
    let lines = Capture::start(lab, &namespace, ["one", "-i", "eth0", "--", "udp port 4789"])?;
    compare(lab, &namespace, &pairs, || {
        namespace.in_pod("one", "ping -n -q -c 2 -i 0.2 192.0.2.2")?;
        inside.datagrams((IpAddr::from([192, 0, 2, 2]), 53).into(), 1, 4)?;
        inside.run(|| {
            let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
            let name: [&[u8]; 3] = [b"inside", b"the", b"tunnel"];
            socket.send_to(&query(3, &name), (IpAddr::from([192, 0, 2, 2]), 53))?;
            Ok(())
        })?;
        // This kernel has no links for VLANs: whole frames with a tag, as such a link would send them.
        let output = lab.rig.pod_exec(&namespace.name, "one", ["python3", "-c", TAGGED])?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    })?;
    let captured = lines.stop()?;
    let text = String::from_utf8_lossy(&captured.stdout).into_owned();
    for words in [
        "192.0.2.1",
        "192.0.2.2",
        "inside.the.tunnel",
        "42",
        &format!("two.{}.pod", namespace.name),
    ] {
        ensure!(text.contains(words), "{words:?} is in no line: {}", captured.all());
    }
    // The other end refuses nothing and its pod still serves: the links did no harm.
    let output = lab
        .rig
        .pod_exec(&namespace.name, "two", ["ip", "link", "show", "vx0"])?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}
