//! The rig tried on itself: does it come up whole, mend itself, change while it runs, and leave nothing.
//!
//! Needs root and the packages of `install-packages.sh`. Without them the tests show as ignored, with the reason in front of
//! each name; where `CI` is `true` they fail instead, since there a test that did not run has not passed.

mod changes;
mod ends;
mod identity;
mod images;
mod machine;
mod traffic;

use libtest_mimic::{Arguments, Failed, Trial};
use netcheck_rig::{Rig, RigSpec, Stderr};
use std::{
    env,
    io::{Write, stderr},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

/// What a test gives back.
type Outcome = Result<(), Failed>;

/// A test.
type Test = fn() -> Outcome;

/// The rig that most tests share. Dual stack, two nodes.
fn shared() -> Result<MutexGuard<'static, Rig>, Failed> {
    static RIG: OnceLock<Result<Mutex<Rig>, String>> = OnceLock::new();
    let rig = RIG.get_or_init(|| {
        let spec = RigSpec {
            name: "selftest".into(),
            nodes: 2,
            ..RigSpec::default()
        };
        // Whatever an earlier run was killed in the middle of is not what this run is about.
        Rig::down_in(&directory("selftest"), &Stderr::start())
            .and_then(|()| Rig::up_in(&directory("selftest"), &spec, &Stderr::start()))
            .map(Mutex::new)
            .map_err(|error| error.to_string())
    });
    let rig = rig.as_ref().map_err(Failed::from)?;
    // A failed test must not fail all that follow it.
    Ok(rig.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Where a test's own rig keeps its files.
fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rig-{name}"))
}

/// Fails with the given sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+).into());
        }
    };
}
pub(crate) use ensure;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other: they share a rig, and some change it.
    arguments.test_threads = Some(1);

    let cases: &[(&str, Test)] = &[
        ("comes_up_whole", traffic::comes_up_whole),
        ("pods_reach_each_other_in_both_families", traffic::pods_reach_each_other),
        ("services_answer_by_name_and_by_address", traffic::services_answer),
        ("a_plain_user_may_do_what_rbac_gives", identity::plain_user),
        ("a_static_token_is_a_user", identity::static_token),
        ("a_service_account_gets_a_token", identity::service_account_token),
        ("a_kubelet_turns_strangers_away", identity::kubelet_turns_strangers_away),
        ("the_audit_log_counts_execs", identity::audit_log_counts_execs),
        ("an_image_is_loaded_into_every_node", images::loaded_by_file),
        ("a_node_pulls_from_a_registry", images::pulled_from_a_registry),
        ("up_again_changes_nothing", changes::up_again_changes_nothing),
        ("a_stopped_kubelet_makes_its_node_not_ready", changes::stopped_kubelet),
        ("up_starts_what_was_killed", changes::up_starts_what_was_killed),
        ("nodes_come_and_go", changes::nodes_come_and_go),
        ("a_node_boots_and_moves", changes::a_node_boots_and_moves),
        ("up_refuses_other_settings", changes::up_refuses_other_settings),
        ("a_lost_route_is_felt_by_plain_plugins", ends::lost_route_is_felt),
        ("ipv6_alone_with_nftables_beside_another_rig", ends::ipv6_alone),
        (
            "a_rig_killed_half_way_is_cleared_by_up",
            ends::killed_rig_is_cleared_by_up,
        ),
        ("down_leaves_nothing", ends::down_leaves_nothing),
        ("down_clears_an_up_that_was_killed_half_way", ends::up_killed_half_way),
    ];
    let missing = netcheck_rig::check_machine(&RigSpec::default())
        .err()
        .map(|error| error.to_string());
    let strict = env::var("CI").is_ok_and(|value| value == "true");
    let trials = cases
        .iter()
        .map(|(name, test)| match &missing {
            None => {
                let test = *test;
                Trial::test(*name, move || netcheck_trials::limited(netcheck_trials::LIMIT, test))
            }
            Some(why) if strict => {
                let why = why.clone();
                Trial::test(*name, move || Err(format!("cannot run here: {why}").into()))
            }
            Some(why) => Trial::test(*name, *test).with_kind(why.clone()).with_ignored_flag(true),
        })
        .collect();
    let listing = arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if missing.is_none() && !listing {
        for name in ["selftest", "plain", "six", "ends"] {
            if let Err(error) = Rig::down_in(&directory(name), &netcheck_rig::Silent) {
                // The tests are over; if nobody reads this, the exit code still says it.
                let _ = writeln!(stderr(), "rig {name} is not wholly gone: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    conclusion.exit_code()
}
