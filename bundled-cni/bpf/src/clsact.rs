//! Filters of the clsact qdisc, for kernels without TCX, by rtnetlink in the calling thread's network namespace.
//!
//! Ours are known by preference 47 and a program's name of ours (net/sched/cls_bpf.c).

use crate::{attach::Program, error::BpfError};
use netcheck_node_state::dump;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The preference of our filters: 0x2f.
pub(crate) const PREFERENCE: u16 = 47;
/// The handle of our filters: one in each place.
const HANDLE: u32 = 1;
const QDISC: &str = "clsact";
/// `ETH_P_ALL` of include/uapi/linux/if_ether.h, in network order as tc wants it.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

/// A filter that runs a BPF program.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) ifindex: u32,
    pub(crate) is_ingress: bool,
    pub(crate) program_name: String,
    pub(crate) program_id: u32,
    handle: u32,
    /// Preference in the upper half, protocol in the lower.
    info: u32,
}

impl Filter {
    pub(crate) fn is_at_our_preference(&self) -> bool {
        self.info >> 16 == u32::from(PREFERENCE)
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.is_at_our_preference() && Program::from_name(&self.program_name).is_some()
    }

    pub(crate) fn has_our_handle(&self) -> bool {
        self.handle == HANDLE
    }
}

fn parent(is_ingress: bool) -> TcHandle {
    TcHandle {
        minor: if is_ingress {
            TcHandle::MIN_INGRESS
        } else {
            TcHandle::MIN_EGRESS
        },
        ..TcHandle::CLSACT
    }
}

fn header(ifindex: u32, parent: TcHandle, handle: u32, info: u32) -> TcHeader {
    TcHeader {
        index: ifindex.cast_signed(),
        parent,
        handle: handle.into(),
        info,
        ..TcHeader::default()
    }
}

fn message(header: TcHeader, attributes: Vec<TcAttribute>) -> TcMessage {
    TcMessage::from_parts(header, attributes)
}

/// One request, and the kernel's acknowledgement.
fn order(operation: impl FnOnce() -> String, flags: u16, message: RouteNetlinkMessage) -> Result<(), BpfError> {
    let outcome = || -> io::Result<()> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        socket.send(&bytes, 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Error(_) => Ok(()),
            _ => Err(io::Error::other("the kernel's answer is no acknowledgement")),
        }
    }();
    outcome.map_err(|source| BpfError::Netlink {
        operation: operation(),
        source,
    })
}

/// The devices that have a clsact qdisc.
fn devices() -> Result<Vec<u32>, BpfError> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    let mut devices = Vec::new();
    for message in dump(NETLINK_ROUTE, "qdiscs", &request)? {
        if let RouteNetlinkMessage::NewQueueDiscipline(qdisc) = message
            && qdisc
                .attributes
                .iter()
                .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == QDISC))
        {
            devices.push(qdisc.header.index.cast_unsigned());
        }
    }
    Ok(devices)
}

/// The filters on one side of a device; of those that run no BPF program only place and preference are known.
pub(crate) fn filters(ifindex: u32, is_ingress: bool) -> Result<Vec<Filter>, BpfError> {
    let request = message(header(ifindex, parent(is_ingress), 0, 0), Vec::new());
    let mut filters = Vec::new();
    for message in dump(
        NETLINK_ROUTE,
        "filters",
        &RouteNetlinkMessage::GetTrafficFilter(request),
    )? {
        let RouteNetlinkMessage::NewTrafficFilter(found) = message else {
            continue;
        };
        let mut filter = Filter {
            ifindex,
            is_ingress,
            program_name: String::new(),
            program_id: 0,
            handle: found.header.handle.into(),
            info: found.header.info,
        };
        for attribute in found.attributes {
            let TcAttribute::Options(options) = attribute else {
                continue;
            };
            for option in options {
                match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.program_name = name,
                    TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program_id = id,
                    _ => {}
                }
            }
        }
        // The kernel also lists each preference as such, without handle.
        if filter.handle != 0 {
            filters.push(filter);
        }
    }
    Ok(filters)
}

/// All filters of ours on all devices.
pub(crate) fn ours() -> Result<Vec<Filter>, BpfError> {
    let mut all = Vec::new();
    for ifindex in devices()? {
        for is_ingress in [true, false] {
            all.extend(filters(ifindex, is_ingress)?.into_iter().filter(Filter::is_ours));
        }
    }
    Ok(all)
}

/// Makes the qdisc that filters hang on, if there is none.
pub(crate) fn ensure_qdisc(ifindex: u32, device: &str) -> Result<(), BpfError> {
    let attributes = vec![TcAttribute::Kind(QDISC.to_owned())];
    let handle = u32::from(TcHandle::CLSACT) & 0xffff_0000;
    let qdisc = message(header(ifindex, TcHandle::CLSACT, handle, 0), attributes);
    let made = order(
        || format!("make the clsact qdisc of {device}"),
        NLM_F_CREATE | NLM_F_EXCL,
        RouteNetlinkMessage::NewQueueDiscipline(qdisc),
    );
    match made {
        Err(BpfError::Netlink { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        made => made,
    }
}

/// Hangs a program, in place of ours that is there.
pub(crate) fn put(
    ifindex: u32,
    is_ingress: bool,
    program: BorrowedFd<'_>,
    name: &str,
    device: &str,
) -> Result<(), BpfError> {
    let options = vec![
        TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let attributes = vec![
        TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
        TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()),
    ];
    let info = u32::from(PREFERENCE) << 16 | u32::from(ALL_PROTOCOLS);
    let filter = message(header(ifindex, parent(is_ingress), HANDLE, info), attributes);
    order(
        || format!("hang {name} on {device}"),
        NLM_F_CREATE,
        RouteNetlinkMessage::NewTrafficFilter(filter),
    )
}

pub(crate) fn remove(filter: &Filter) -> Result<(), BpfError> {
    let place = header(filter.ifindex, parent(filter.is_ingress), filter.handle, filter.info);
    let attributes = vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())];
    order(
        || format!("remove filter {} of device {}", filter.program_name, filter.ifindex),
        0,
        RouteNetlinkMessage::DelTrafficFilter(message(place, attributes)),
    )
}

/// Removes a device's clsact qdisc if no filter is left on either side.
pub(crate) fn remove_qdisc_if_empty(ifindex: u32) -> Result<(), BpfError> {
    for is_ingress in [true, false] {
        if !filters(ifindex, is_ingress)?.is_empty() {
            return Ok(());
        }
    }
    let handle = u32::from(TcHandle::CLSACT) & 0xffff_0000;
    order(
        || format!("remove the clsact qdisc of device {ifindex}"),
        0,
        RouteNetlinkMessage::DelQueueDiscipline(message(header(ifindex, TcHandle::CLSACT, handle, 0), Vec::new())),
    )
}

/// Removes all filters of ours, and the qdiscs that nobody else uses.
pub(crate) fn remove_all() -> Result<(), Vec<BpfError>> {
    let filters = ours().map_err(|error| vec![error])?;
    let mut errors: Vec<BpfError> = filters.iter().filter_map(|filter| remove(filter).err()).collect();
    for filter in &filters {
        // The first filter of a device may have taken the qdisc along.
        if devices().is_ok_and(|devices| devices.contains(&filter.ifindex)) {
            errors.extend(remove_qdisc_if_empty(filter.ifindex).err());
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
