//! The store against a model of it, and against what others may leave in its folders.

use super::*;
use crate::attachment::Progress;
use netcheck_cni_intent::PodName;
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

fn key(number: u8) -> AttachmentKey {
    format!("netcheck@c{number}@eth0").parse().unwrap()
}

fn attachment(key: &AttachmentKey, ips: &[IpAddr]) -> Attachment {
    Attachment {
        schema: 1,
        state: Progress::Intent,
        network: key.network.clone(),
        container_id: key.container_id.clone(),
        if_name: key.if_name.clone(),
        netns: "/run/netns/x".to_owned(),
        netns_dev: 4,
        netns_ino: 1,
        ips: ips.to_vec(),
        mac: netcheck_cni_intent::derive::pod_mac(ips).unwrap(),
        host_veth: key.host_veth(),
        link_mtu: 1500,
        route_mtu: 1450,
        ipam: "netcheck-cni".to_owned(),
        pod: PodName::default(),
        created: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn ranges() -> Vec<Range> {
    // Five addresses, and six.
    ["10.0.0.0/29", "fd00::/125"]
        .map(|net| Range::of(net.parse().unwrap()).unwrap())
        .to_vec()
}

/// In memory, where the real one is too: on a disk each `fsync` takes milliseconds.
fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let store = Store::at(&folder.path().join("state"));
    (folder, store)
}

fn reserve(store: &Store, number: u8, wanted: &[&str]) -> Result<Vec<IpAddr>, Failure> {
    let wanted: Vec<IpAddr> = wanted.iter().map(|ip| ip.parse().unwrap()).collect();
    store
        .lock()?
        .reserve(&key(number), &ranges(), &wanted, &BTreeSet::new())
}

/// What happens to attachments, and where a process dies on the way.
#[derive(Debug, Clone)]
enum Event {
    Add(u8),
    /// Died with only the first family's link.
    AddDiesAfterOneLink(u8),
    /// Died with its links, without a file.
    AddDiesReserved(u8),
    Del(u8),
    /// Died with the file, without links.
    DelDiesAfterLinks(u8),
    CutFile(u8),
    LoseCursors,
    SpoilCursors,
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..8_u8;
    prop_oneof![
        6 => who.clone().prop_map(Event::Add),
        1 => who.clone().prop_map(Event::AddDiesAfterOneLink),
        1 => who.clone().prop_map(Event::AddDiesReserved),
        5 => who.clone().prop_map(Event::Del),
        1 => who.clone().prop_map(Event::DelDiesAfterLinks),
        1 => who.prop_map(Event::CutFile),
        1 => Just(Event::LoseCursors),
        1 => Just(Event::SpoilCursors),
    ]
}

/// What DEL does on disk.
fn remove(store: &Store, key: &AttachmentKey, dies_after_links: bool) {
    let locked = store.lock().unwrap();
    let known = store.attachment(key).unwrap().and_then(Result::ok);
    locked.release(key, known.as_ref().map(|known| &*known.ips)).unwrap();
    if !dies_after_links {
        locked.forget(key).unwrap();
    }
}

fn happen(store: &Store, event: &Event) {
    match event {
        Event::Add(who) => {
            if matches!(store.attachment(&key(*who)).unwrap(), Some(Ok(_))) {
                return;
            }
            match reserve(store, *who, &[]) {
                Ok(ips) => store.lock().unwrap().record(&attachment(&key(*who), &ips)).unwrap(),
                Err(failure) => assert_eq!(failure.code, Code::AGAIN, "{failure}"),
            }
        }
        Event::AddDiesAfterOneLink(who) => {
            let only_first = &ranges()[..1];
            let locked = store.lock().unwrap();
            if store.attachment(&key(*who)).unwrap().is_none() {
                let _ = locked.reserve(&key(*who), only_first, &[], &BTreeSet::new());
            }
        }
        Event::AddDiesReserved(who) => {
            if store.attachment(&key(*who)).unwrap().is_none() {
                let _ = reserve(store, *who, &[]);
            }
        }
        Event::Del(who) => remove(store, &key(*who), false),
        Event::DelDiesAfterLinks(who) => remove(store, &key(*who), true),
        Event::CutFile(who) => {
            let path = store.attachments.join(key(*who).to_string());
            if let Ok(content) = fs::read(&path) {
                fs::write(path, &content[..content.len() / 2]).unwrap();
            }
        }
        Event::LoseCursors => {
            for file in ["cursor4", "cursor6"] {
                disk::remove(&store.ipam.join(file)).unwrap();
            }
        }
        Event::SpoilCursors => {
            if store.ipam.is_dir() {
                fs::write(store.ipam.join("cursor4"), b"\xff\xfe").unwrap();
                fs::write(store.ipam.join("cursor6"), "10.0.0.3").unwrap();
            }
        }
    }
}

proptest! {
    /// A link has one owner by its nature. What must hold besides: no attachment loses an address to another one or to nobody, unless its DEL
    /// has begun; and when all are removed, nothing is left.
    #[test]
    fn addresses_are_never_shared_and_never_lost(events in prop::collection::vec(event(), 1..60)) {
        let (_folder, store) = store();
        let mut half_removed = BTreeSet::new();
        for event in &events {
            match event {
                Event::DelDiesAfterLinks(who) => { half_removed.insert(key(*who)); }
                Event::Del(who) => { half_removed.remove(&key(*who)); }
                _ => {}
            }
            happen(&store, event);
            let links = store.links().unwrap();
            for (key, recorded) in store.attachments().unwrap() {
                let Ok(recorded) = recorded else { continue };
                for ip in recorded.ips {
                    let owner = links.get(&ip).cloned().flatten();
                    let is_its_own = owner.as_ref() == Some(&key);
                    prop_assert!(is_its_own || half_removed.contains(&key), "{} of {} is {:?}'s after {:?}", ip, key, owner, event);
                }
            }
        }
        for number in 0..8 {
            remove(&store, &key(number), false);
        }
        prop_assert_eq!(store.links().unwrap(), Links::new());
        prop_assert!(store.keys().unwrap().is_empty());
        prop_assert!(disk::names(&store.attachments).unwrap().is_empty());
    }

    /// With the range never full, each address comes again only when all others had their turn.
    #[test]
    fn a_released_address_comes_again_last(lives in prop::collection::vec(1..4_usize, 1..40)) {
        let (_folder, store) = store();
        let mut order: VecDeque<IpAddr> = ranges()[0].after(None).collect();
        let mut living = VecDeque::new();
        for (number, life) in lives.into_iter().enumerate() {
            while living.len() >= life {
                let gone = living.pop_front().unwrap();
                remove(&store, &gone, false);
            }
            let number = u8::try_from(number).unwrap();
            let given = reserve(&store, number, &[]).unwrap()[0];
            let next = order.iter().position(|ip| *ip == given).unwrap();
            // Whoever was passed over is in use.
            let links = store.links().unwrap();
            for passed in order.iter().take(next) {
                prop_assert!(links.contains_key(passed), "{} before {}", given, passed);
            }
            order.rotate_left(next + 1);
            living.push_back(key(number));
        }
    }

    #[test]
    fn foreign_files_are_survived(
        names in prop::collection::vec("[a-z0-9:.@]{1,20}", 0..8), content in prop::collection::vec(any::<u8>(), 0..40)
    ) {
        let (_folder, store) = store();
        drop(store.lock().unwrap());
        for folder in [&store.links, &store.attachments] {
            for name in names.iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
                fs::write(folder.join(name), &content).unwrap();
            }
        }
        symlink("no key", store.links.join("10.0.0.2")).unwrap();
        fs::write(store.attachments.join(key(1).to_string()), &content).unwrap();
        let given = reserve(&store, 1, &[]).unwrap();
        prop_assert_ne!(given[0], IpAddr::from([10, 0, 0, 2]));
        store.attachments().unwrap();
        store.keys().unwrap();
        remove(&store, &key(1), false);
        prop_assert!(!store.keys().unwrap().contains(&key(1)));
    }
}

#[test]
fn addresses_and_owners_are_readable_by_hand() {
    let (folder, store) = store();
    let given = reserve(&store, 1, &[]).unwrap();
    assert_eq!(
        given,
        ["10.0.0.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]
    );
    let state = folder.path().join("state");
    for ip in ["10.0.0.2", "fd00::2"] {
        let listed = Command::new("readlink")
            .arg(state.join("ipam/ip").join(ip))
            .output()
            .unwrap();
        assert_eq!(listed.stdout, b"netcheck@c1@eth0\n");
    }
    assert_eq!(fs::read(state.join("ipam/cursor4")).unwrap(), b"10.0.0.2");
    assert_eq!(fs::read(state.join("ipam/cursor6")).unwrap(), b"fd00::2");
    assert_eq!(
        fs::metadata(state.join("ipam")).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn what_is_asked_for_is_given_or_refused() {
    let (_folder, store) = store();
    let code = |number, wanted: &[&str]| reserve(&store, number, wanted).unwrap_err().code;
    let given = reserve(&store, 1, &["fd00::5"]).unwrap();
    assert_eq!(
        given,
        ["10.0.0.2".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]
    );
    assert_eq!(code(2, &["fd00::5"]), Code::AGAIN);
    assert_eq!(code(2, &["10.0.0.7"]), Code::CONFIG);
    assert_eq!(code(2, &["10.0.0.3", "10.0.0.4"]), Code::UNSUPPORTED);
    let only_v4 =
        store
            .lock()
            .unwrap()
            .reserve(&key(2), &ranges()[..1], &["fd00::3".parse().unwrap()], &BTreeSet::new());
    assert_eq!(only_v4.unwrap_err().code, Code::UNSUPPORTED);
    // The first family's address is given back when the second's cannot be had.
    assert_eq!(store.links().unwrap().len(), 2);
    let failure = reserve(&store, 2, &["fd00::5"]).unwrap_err();
    assert!(failure.message.contains("netcheck@c1@eth0"), "{failure}");
    // One's own, from an ADD that died, is no obstacle.
    assert!(reserve(&store, 1, &["fd00::5"]).is_ok());
}

#[test]
fn addresses_in_use_are_passed_over() {
    let (_folder, store) = store();
    let in_use = ["10.0.0.2", "10.0.0.3", "fd00::2"].map(|ip| ip.parse().unwrap());
    let given = store
        .lock()
        .unwrap()
        .reserve(&key(1), &ranges(), &[], &in_use.into())
        .unwrap();
    assert_eq!(
        given,
        ["10.0.0.4".parse::<IpAddr>().unwrap(), "fd00::3".parse().unwrap()]
    );
}

/// flock(1) of util-linux holds it.
#[test]
fn a_lock_that_another_process_holds_is_waited_for() {
    let (_folder, store) = store();
    drop(store.lock().unwrap());
    let mut holder = Command::new("flock")
        .arg(store.ipam.join("lock"))
        .args(["-c", "echo held; sleep 0.3"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let path = store.ipam.join("lock");
    assert!(File::open(&path).unwrap().try_lock().is_err());
    drop(store.lock().unwrap());
    holder.wait().unwrap();
}

#[test]
fn collection_finds_what_nobody_comes_for() {
    let (_folder, store) = store();
    let given = reserve(&store, 1, &[]).unwrap();
    let recorded = reserve(&store, 2, &[]).unwrap();
    let locked = store.lock().unwrap();
    locked.record(&attachment(&key(2), &recorded)).unwrap();
    symlink("no key", store.links.join("10.0.0.6")).unwrap();
    let long = Duration::from_mins(1);
    assert_eq!(locked.release_orphans(long, |_| false).unwrap(), []);
    // As old as it may be: those with a file, or an interface, stay all the same.
    let foreign = ("10.0.0.6".parse().unwrap(), None);
    assert_eq!(locked.release_orphans(Duration::ZERO, |_| true).unwrap(), [foreign]);
    let released = locked.release_orphans(Duration::ZERO, |_| false).unwrap();
    assert_eq!(released, given.iter().map(|ip| (*ip, Some(key(1)))).collect::<Vec<_>>());
    assert_eq!(store.links().unwrap().into_keys().collect::<Vec<_>>(), recorded);
    for folder in [&store.ipam, &store.attachments] {
        fs::write(folder.join(".netcheck-cni.123.123"), "half").unwrap();
        fs::write(folder.join(".foreign"), "").unwrap();
    }
    assert_eq!(locked.remove_leftovers().unwrap(), 2);
    assert_eq!(locked.remove_leftovers().unwrap(), 0);
    assert!(store.ipam.join("lock").exists());
    assert_eq!(store.attachments().unwrap().len(), 1);
}
