//! Programs, maps and links in a real kernel, against what bpftool, tc, tcpdump and nft say and against real traffic between network
//! namespaces made here. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod counting;
mod hooks;
mod lab;
mod pinned;
mod reasons;
mod recorded;
mod shell;
mod slots;
mod traffic;

use libtest_mimic::Arguments;
use netcheck_trials::{Need, trial};

fn main() {
    let arguments = Arguments::from_args();
    if rustix::process::geteuid().is_root() && !arguments.list {
        shell::leave_mounts();
    }
    let tests: [(&str, fn()); 25] = [
        ("maps_are_as_specified", pinned::maps_are_as_specified),
        ("maps_hold_what_is_wanted", pinned::maps_hold_what_is_wanted),
        (
            "each_peer_has_a_place_and_keeps_it",
            slots::each_peer_has_a_place_and_keeps_it,
        ),
        ("falsified_places_are_put_right", slots::falsified_places_are_put_right),
        ("another_layout_is_refused", pinned::another_layout_is_refused),
        ("counts_survive_a_new_process", pinned::counts_survive_a_new_process),
        (
            "a_program_of_another_build_is_replaced",
            pinned::a_program_of_another_build_is_replaced,
        ),
        (
            "without_a_bpf_filesystem_it_says_so",
            pinned::without_a_bpf_filesystem_it_says_so,
        ),
        (
            "without_the_capability_it_says_so",
            pinned::without_the_capability_it_says_so,
        ),
        ("nothing_is_left", pinned::nothing_is_left),
        (
            "programs_count_what_tcpdump_sees",
            counting::programs_count_what_tcpdump_sees,
        ),
        (
            "packed_segments_are_counted_one_by_one",
            counting::packed_segments_are_counted_one_by_one,
        ),
        (
            "what_is_lost_is_the_difference",
            counting::what_is_lost_is_the_difference,
        ),
        (
            "the_direct_way_is_counted_at_the_uplink",
            counting::the_direct_way_is_counted_at_the_uplink,
        ),
        (
            "segments_from_a_machine_are_reckoned",
            counting::segments_from_a_machine_are_reckoned,
        ),
        ("each_reason_is_counted", reasons::each_reason_is_counted),
        ("both_ways_say_the_same", reasons::both_ways_say_the_same),
        ("events_tell_of_flows", reasons::events_tell_of_flows),
        ("lost_events_are_counted", reasons::lost_events_are_counted),
        (
            "a_device_made_anew_gets_its_programs",
            hooks::a_device_made_anew_gets_its_programs,
        ),
        ("each_hook_has_one_program", hooks::each_hook_has_one_program),
        ("clsact_serves_as_well", hooks::clsact_serves_as_well),
        ("pins_are_those_of_bpftool", recorded::pins_are_those_of_bpftool),
        (
            "maps_of_all_kinds_are_those_of_bpftool",
            recorded::maps_of_all_kinds_are_those_of_bpftool,
        ),
        (
            "what_cannot_be_read_of_pins_is_told",
            recorded::what_cannot_be_read_of_pins_is_told,
        ),
    ];
    let trials = tests.map(|(name, test)| trial(name, &[Need::Root], test)).into();
    libtest_mimic::run(&arguments, trials).exit();
}
