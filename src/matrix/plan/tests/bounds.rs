//! How many probes, and when.

use super::*;

#[test]
fn the_limit_keeps_the_same_probes_every_time_and_counts_the_rest() {
    let inventory = cluster();
    let selection = everything(&inventory);
    let all = plan(&selection, &inventory, &known(), &wish(), None);
    let few = plan(
        &selection,
        &inventory,
        &known(),
        &Wish {
            max_probes: 5,
            ..wish()
        },
        None,
    );
    assert_eq!((few.probes(), few.over_limit), (5, all.probes() - 5));
    assert!(few.rows.iter().all(|row| all.rows.contains(row)));
    assert_eq!(
        plan(
            &selection,
            &inventory,
            &known(),
            &Wish {
                max_probes: 5,
                ..wish()
            },
            None
        )
        .rows,
        few.rows
    );
}

#[test]
fn the_limit_keeps_the_same_cases_after_a_rollout() {
    let few = Wish {
        max_probes: 5,
        ..wish()
    };
    let cases = |inventory: &Inventory, facts: &Facts| -> BTreeSet<String> {
        let plan = plan(&everything(inventory), inventory, facts, &few, None);
        let names = Names::new(inventory);
        plan.rows.iter().map(|row| names.case(row)).collect()
    };
    let before = cluster();
    let mut after = cluster();
    let mut facts = known();
    for (index, pod) in after.pods.iter_mut().enumerate() {
        let found = facts.remove(&Subject::Pod(pod.uid.clone())).unwrap();
        pod.uid = format!("{}{}", 9 - index, pod.uid);
        facts.insert(Subject::Pod(pod.uid.clone()), found);
        pod.ips[0] = format!("10.0.9.{index}").parse().unwrap();
    }
    assert_eq!(cases(&before, &known()), cases(&after, &facts));
}

#[test]
fn the_estimate_counts_declared_ports_without_any_agent() {
    let inventory = cluster();
    let estimated = estimate(&everything(&inventory), &inventory, &wish());
    let all = plan(&everything(&inventory), &inventory, &known(), &wish(), None).probes();
    assert!(estimated > 0 && estimated <= all, "{estimated} of {all}");
}

#[test]
fn no_source_dials_a_port_twice_in_a_second() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    let rounds = rounds(&plan.rows, Clone::clone);
    assert_eq!(
        rounds.iter().map(Vec::len).sum::<usize>(),
        plan.probes(),
        "every probe goes exactly once"
    );
    for round in &rounds {
        let mut seen = BTreeSet::new();
        for row in round
            .iter()
            .map(|index| &plan.rows[*index])
            .filter(|row| row.protocol == Protocol::Tcp)
        {
            for end in &row.ends {
                assert!(
                    seen.insert((row.pair.from.clone(), end.ip, end.port)),
                    "{row:?} repeats a target of its round"
                );
            }
        }
    }
    // The Service's handshake ends where the pod's own did.
    assert_eq!(rounds.len(), 2);
}
