//! Filters of the clsact qdisc, for kernels without TCX, by rtnetlink in the calling thread's network namespace.
//!
//! Ours are known by preference 47 and a program's name of ours (net/sched/cls_bpf.c).

use crate::{attach::Program, error::BpfError};
use netcheck_node_state::netlink::{Message, attribute, attributes, dump, put as put_attribute, request, text, u32_at};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The preference of our filters: 0x2f.
pub(crate) const PREFERENCE: u16 = 47;
/// The handle of our filters: one in each place.
const HANDLE: u32 = 1;
const QDISC: &str = "clsact";
/// `TC_H_CLSACT` of include/uapi/linux/pkt_sched.h, and what hangs filters on its sides: `TC_H_MIN_INGRESS`, `TC_H_MIN_EGRESS`.
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// The kind of filters that run BPF programs, and their attributes `TCA_BPF_*` (include/uapi/linux/pkt_cls.h).
const KIND: &str = "bpf";
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`.
const DIRECT_ACTION: u32 = 1;
/// `NLM_F_*` of include/uapi/linux/netlink.h.
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
/// `struct tcmsg` of include/uapi/linux/rtnetlink.h, in bytes: family and padding, then ifindex, handle, parent, info of four bytes each.
const HEADER: usize = 20;
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
    fn read(ifindex: u32, is_ingress: bool, message: &Message) -> Option<Self> {
        let mut filter = Self {
            ifindex,
            is_ingress,
            program_name: String::new(),
            program_id: 0,
            handle: u32_at(&message.body, 8)?,
            info: u32_at(&message.body, 16)?,
        };
        let options = message
            .attributes(HEADER)
            .filter(|(number, _)| *number == libc::TCA_OPTIONS);
        for (number, value) in options.flat_map(|(_, options)| attributes(options)) {
            match number {
                BPF_NAME => filter.program_name = text(value),
                BPF_ID => filter.program_id = u32_at(value, 0)?,
                _ => {}
            }
        }
        Some(filter)
    }

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

fn parent(is_ingress: bool) -> u32 {
    if is_ingress { INGRESS } else { EGRESS }
}

fn message(kind: u16, [ifindex, parent, handle, info]: [u32; 4]) -> Message {
    let mut fixed = [0; HEADER];
    for (place, word) in fixed.chunks_exact_mut(4).zip([0, ifindex, handle, parent, info]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Message::new(kind, &fixed)
}

fn qdisc(kind: u16, ifindex: u32) -> Message {
    message(kind, [ifindex, CLSACT, CLSACT & 0xffff_0000, 0])
}

/// One request, and the kernel's acknowledgement.
fn order(operation: impl FnOnce() -> String, flags: u16, message: &Message) -> Result<(), BpfError> {
    match request(NETLINK_ROUTE, message, flags) {
        Ok(_) => Ok(()),
        Err((source, said)) => Err(BpfError::Netlink {
            operation: operation(),
            source,
            said,
        }),
    }
}

/// The devices that have a clsact qdisc.
fn devices() -> Result<Vec<u32>, BpfError> {
    let all = dump(NETLINK_ROUTE, "qdiscs", &message(libc::RTM_GETQDISC, [0; 4]))?;
    let is_clsact = |qdisc: &&Message| {
        let mut attributes = qdisc.attributes(HEADER);
        attributes.any(|(number, value)| number == libc::TCA_KIND && text(value) == QDISC)
    };
    let found = all.iter().filter(|message| message.kind == libc::RTM_NEWQDISC);
    Ok(found
        .filter(is_clsact)
        .filter_map(|qdisc| u32_at(&qdisc.body, 4))
        .collect())
}

/// The filters on one side of a device; of those that run no BPF program only place and preference are known.
pub(crate) fn filters(ifindex: u32, is_ingress: bool) -> Result<Vec<Filter>, BpfError> {
    let request = message(libc::RTM_GETTFILTER, [ifindex, parent(is_ingress), 0, 0]);
    let all = dump(NETLINK_ROUTE, "filters", &request)?;
    let found = all.iter().filter(|message| message.kind == libc::RTM_NEWTFILTER);
    let filters = found.filter_map(|message| Filter::read(ifindex, is_ingress, message));
    // The kernel also lists each preference as such, without handle.
    Ok(filters.filter(|filter| filter.handle != 0).collect())
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
    let made = order(
        || format!("make the clsact qdisc of {device}"),
        CREATE | EXCLUSIVE,
        &qdisc(libc::RTM_NEWQDISC, ifindex).with_text(libc::TCA_KIND, QDISC),
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
    let mut options = attribute(BPF_FD, &program.as_raw_fd().to_ne_bytes());
    put_attribute(&mut options, BPF_NAME, &[name.as_bytes(), &[0]].concat());
    put_attribute(&mut options, BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
    let info = u32::from(PREFERENCE) << 16 | u32::from(ALL_PROTOCOLS);
    let filter = message(libc::RTM_NEWTFILTER, [ifindex, parent(is_ingress), HANDLE, info])
        .with_text(libc::TCA_KIND, KIND)
        .with_nested(libc::TCA_OPTIONS, &options);
    order(|| format!("hang {name} on {device}"), CREATE, &filter)
}

pub(crate) fn remove(filter: &Filter) -> Result<(), BpfError> {
    let place = [filter.ifindex, parent(filter.is_ingress), filter.handle, filter.info];
    order(
        || format!("remove filter {} of device {}", filter.program_name, filter.ifindex),
        0,
        &message(libc::RTM_DELTFILTER, place).with_text(libc::TCA_KIND, KIND),
    )
}

/// Removes a device's clsact qdisc if no filter is left on either side.
pub(crate) fn remove_qdisc_if_empty(ifindex: u32) -> Result<(), BpfError> {
    for is_ingress in [true, false] {
        if !filters(ifindex, is_ingress)?.is_empty() {
            return Ok(());
        }
    }
    order(
        || format!("remove the clsact qdisc of device {ifindex}"),
        0,
        &qdisc(libc::RTM_DELQDISC, ifindex),
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
