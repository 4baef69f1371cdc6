//! What is no probe, and says why.

use super::*;

#[test]
fn a_source_without_an_agent_keeps_its_rows_with_the_reason() {
    let inventory = cluster();
    let mut facts = known();
    facts.insert(Subject::Pod("web".into()), Err("ImagePullBackOff".into()));
    let plan = plan(&everything(&inventory), &inventory, &facts, &wish(), None);
    let rows = shown(&plan, "web", &api());
    assert_eq!(rows.len(), 3);
    assert!(
        rows.iter()
            .all(|row| row == "tcp !pod shop/web cannot be entered: ImagePullBackOff"),
        "{rows:?}"
    );
}

#[test]
fn a_pod_that_offers_nothing_is_a_note_unless_it_was_named() {
    let inventory = cluster();
    let selection = everything(&inventory);
    let web = Goal::Pod("web".into());
    let quiet = plan(&selection, &inventory, &known(), &wish(), None);
    assert!(shown(&quiet, "api", &web).is_empty());
    assert_eq!(quiet.notes, ["no TCP port listens or is declared in pod shop/web"]);
    let named = Named {
        pods: ["web".to_owned()].into(),
        ..Named::default()
    };
    let asked = plan(&selection, &inventory, &known(), &wish(), Some(&named));
    assert_eq!(
        shown(&asked, "api", &web),
        ["tcp !no TCP port listens or is declared in pod shop/web"; 2]
    );
}

#[test]
fn destinations_that_cannot_be_probed_are_notes_and_rows_if_they_were_named() {
    let mut inventory = cluster();
    inventory.nodes[1].ips.clear();
    inventory.services[1].ports.remove(0);
    let named = Named {
        pods: ["coredns".to_owned()].into(),
        nodes: ["n2".to_owned()].into(),
        services: [("shop".to_owned(), "api".to_owned())].into(),
    };
    // web has IPv6 only, coredns has IPv4 only.
    inventory.pods[2].ips.remove(0);
    let selection = everything(&inventory);
    let quiet = plan(&selection, &inventory, &known(), &wish(), None);
    let asked = plan(&selection, &inventory, &known(), &wish(), Some(&named));
    for (goal, why, whom) in [
        (
            Goal::Service("shop".into(), "api".into()),
            "no TCP port is offered by",
            "Service shop/api",
        ),
        (Goal::Node("n2".into()), "no InternalIP address is known of", "node n2"),
        (
            Goal::Pod("coredns".into()),
            "no IP family, of those asked for, that both ends have:",
            "pod shop/coredns from pod shop/web",
        ),
    ] {
        assert!(shown(&quiet, "web", &goal).is_empty());
        assert!(
            quiet
                .notes
                .iter()
                .any(|note| note.starts_with(why) && note.contains(whom)),
            "{why} {whom} is missing in {:?}",
            quiet.notes
        );
        assert_eq!(shown(&asked, "web", &goal), [format!("tcp !{why} {whom}")]);
    }
    inventory.services[1].cluster_ips.clear();
    let headless = plan(&selection, &inventory, &known(), &wish(), Some(&named));
    assert_eq!(
        shown(&headless, "web", &Goal::Service("shop".into(), "api".into())),
        ["tcp !no cluster IP (headless or ExternalName): Service shop/api"]
    );
}

#[test]
fn families_and_protocols_are_as_wished() {
    let inventory = cluster();
    let wish = Wish {
        protocols: [Protocol::Icmp].into(),
        families: [Family::Ipv6].into(),
        max_probes: 10,
    };
    let mut facts = known();
    let made = plan(&everything(&inventory), &inventory, &facts, &wish, None);
    assert_eq!(shown(&made, "web", &api()), ["icmp [fd00:2::2]:0"]);
    assert!(
        shown(&made, "coredns", &api()).is_empty(),
        "a source without IPv6 has no IPv6 rows"
    );
    if let Some(Ok(web)) = facts.get_mut(&Subject::Pod("web".into())) {
        web.cannot_ping = Some("ping_group_range".into());
    }
    let made = plan(&everything(&inventory), &inventory, &facts, &wish, None);
    assert_eq!(
        shown(&made, "web", &api()),
        ["icmp !pod shop/web cannot send an echo: ping_group_range"]
    );
    let unsent = made.rows.iter().find_map(|row| row.probe.as_ref().err());
    assert_eq!(unsent.map(|why| why.obstacle), Some(Obstacle::CapabilityMissing));
}

#[test]
fn what_kept_an_agent_away_is_kept_with_the_row() {
    let inventory = cluster();
    let mut facts = known();
    let pulled = Obstacle::ImagePull.because("ImagePullBackOff");
    facts.insert(Subject::Pod("web".into()), Err(pulled));
    facts.remove(&Subject::Node("n2".into()));
    let made = plan(&everything(&inventory), &inventory, &facts, &wish(), None);
    let obstacle = |from: Subject| {
        let found: BTreeSet<_> = made
            .rows
            .iter()
            .filter(|row| row.pair.from == from)
            .map(|row| row.probe.as_ref().err().map(|why| why.obstacle))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().flatten()
    };
    assert_eq!(obstacle(Subject::Pod("web".into())), Some(Obstacle::ImagePull));
    assert_eq!(obstacle(Subject::Node("n2".into())), Some(Obstacle::NotStarted));
    // What listens in web is not known for the same reason.
    let to_web = made.rows.iter().filter(|row| row.pair.to == Goal::Pod("web".into()));
    let from_coredns = to_web.filter(|row| row.pair.from == Subject::Pod("coredns".into()));
    let obstacles: Vec<_> = from_coredns
        .map(|row| row.probe.as_ref().err().map(|why| why.obstacle))
        .collect();
    assert_eq!(obstacles, [Some(Obstacle::ImagePull)]);
}
