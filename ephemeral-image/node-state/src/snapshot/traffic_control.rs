//! Queueing disciplines and the filters at devices' doors, from what the kernel says about them (net/sched/sch_api.c, cls_api.c).

use super::Names;
use crate::{
    netlink::{DumpError, dump},
    numbers::{
        RTM_GETQDISC, RTM_GETTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER, TCA_KIND, TCA_OPTIONS, TCA_STATS_QUEUE, TCA_STATS2,
    },
    record::{Action, Filter, Qdisc, Side},
    wire::{Message, attributes, text, u32_at},
};
use netlink_sys::protocols::NETLINK_ROUTE;

/// `struct tcmsg` of linux/rtnetlink.h, in bytes: family and padding, then ifindex, handle, parent, info.
const HEADER: usize = 20;
/// What filters of the sides hang on (linux/pkt_sched.h): `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS` of `TC_H_CLSACT`.
const SIDES: [(Side, u32); 2] = [(Side::Ingress, 0xffff_fff2), (Side::Egress, 0xffff_fff3)];
/// `TCA_ACT_*`, `TCA_BPF_*`, `TCA_GACT_PARMS` and `TCA_MIRRED_PARMS` (linux/pkt_cls.h, linux/tc_act/).
const ACT_KIND: u16 = 1;
const ACT_OPTIONS: u16 = 2;
const BPF_NAME: u16 = 7;
const BPF_ID: u16 = 11;
const PARAMETERS: u16 = 2;
/// Where in the parameters of each action its verdict (`TC_ACT_*`) is, and behind them mirred's own: what it does, and the device.
const VERDICT: usize = 8;
const MIRRED_DEED: usize = 20;
const MIRRED_DEVICE: usize = 24;

/// Reads both, of all devices in the calling thread's network namespace.
pub(crate) fn traffic_control(names: &Names) -> Result<(Vec<Qdisc>, Vec<Filter>), DumpError> {
    let answers = dump(NETLINK_ROUTE, "qdiscs", &message(RTM_GETQDISC, 0, 0))?;
    let qdiscs: Vec<(u32, Qdisc)> = answers.iter().filter_map(|answer| qdisc(answer, names)).collect();
    let mut filters = Vec::new();
    for (index, qdisc) in &qdiscs {
        let sides = match qdisc.kind.as_str() {
            "clsact" => &SIDES[..],
            "ingress" => &SIDES[..1],
            _ => continue,
        };
        for &(side, parent) in sides {
            match dump(NETLINK_ROUTE, "filters", &message(RTM_GETTFILTER, *index, parent)) {
                Ok(answers) => filters.extend(
                    answers
                        .iter()
                        .filter_map(|answer| filter(answer, &qdisc.device, side, names)),
                ),
                // The device is gone meanwhile.
                Err(DumpError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((qdiscs.into_iter().map(|(_, qdisc)| qdisc).collect(), filters))
}

fn message(kind: u16, index: u32, parent: u32) -> Message {
    let mut fixed = [0; HEADER];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[12..16].copy_from_slice(&parent.to_ne_bytes());
    Message::new(kind, &fixed)
}

/// Reads a message of `RTM_NEWQDISC`, with the number of its device.
pub(super) fn qdisc(answer: &Message, names: &Names) -> Option<(u32, Qdisc)> {
    if answer.kind != RTM_NEWQDISC {
        return None;
    }
    let index = u32_at(&answer.body, 4)?;
    let mut qdisc = Qdisc {
        device: names.get(&index)?.clone(),
        handle: u32_at(&answer.body, 8)?,
        parent: u32_at(&answer.body, 12)?,
        ..Qdisc::default()
    };
    for (number, value) in answer.attributes(HEADER) {
        match number {
            TCA_KIND => qdisc.kind = text(value),
            TCA_STATS2 => {
                let queue = attributes(value).find(|(number, _)| *number == TCA_STATS_QUEUE);
                // `struct gnet_stats_queue`: qlen, backlog, drops.
                qdisc.dropped = queue.and_then(|(_, queue)| u32_at(queue, 8)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some((index, qdisc))
}

/// Reads a message of `RTM_NEWTFILTER`; `None` also if it tells of a preference as such, without a filter.
pub(super) fn filter(answer: &Message, device: &str, side: Side, names: &Names) -> Option<Filter> {
    let handle = u32_at(&answer.body, 8)?;
    if answer.kind != RTM_NEWTFILTER || handle == 0 {
        return None;
    }
    let mut filter = Filter {
        device: device.to_owned(),
        side,
        preference: u32_at(&answer.body, 16)? >> 16,
        handle,
        ..Filter::default()
    };
    let mut options: &[u8] = &[];
    for (number, value) in answer.attributes(HEADER) {
        match number {
            TCA_KIND => filter.kind = text(value),
            TCA_OPTIONS => options = value,
            _ => {}
        }
    }
    // Where a kind has its actions (linux/pkt_cls.h): TCA_U32_ACT, TCA_BPF_ACT, TCA_MATCHALL_ACT, TCA_FLOWER_ACT, TCA_BASIC_ACT.
    let acts = match filter.kind.as_str() {
        "u32" => 7,
        "bpf" => 1,
        "matchall" => 2,
        "flower" | "basic" => 3,
        _ => 0,
    };
    for (number, value) in attributes(options) {
        match number {
            BPF_NAME if filter.kind == "bpf" => filter.program = Some(text(value)),
            BPF_ID if filter.kind == "bpf" => filter.program_id = u32_at(value, 0),
            number if number == acts && acts != 0 => {
                filter.actions = attributes(value).map(|(_, value)| action(value, names)).collect();
            }
            _ => {}
        }
    }
    Some(filter)
}

fn action(value: &[u8], names: &Names) -> Action {
    let mut action = Action::default();
    for (number, value) in attributes(value) {
        match number {
            ACT_KIND => action.kind = text(value),
            ACT_OPTIONS => {
                let Some((_, parameters)) = attributes(value).find(|(number, _)| *number == PARAMETERS) else {
                    continue;
                };
                action.verdict = u32_at(parameters, VERDICT).map(u32::cast_signed);
                if action.kind == "mirred" {
                    // TCA_EGRESS_REDIR, TCA_EGRESS_MIRROR, TCA_INGRESS_REDIR, TCA_INGRESS_MIRROR.
                    action.is_redirect = matches!(u32_at(parameters, MIRRED_DEED), Some(1 | 3));
                    action.device = u32_at(parameters, MIRRED_DEVICE).and_then(|index| names.get(&index).cloned());
                }
            }
            _ => {}
        }
    }
    action
}
