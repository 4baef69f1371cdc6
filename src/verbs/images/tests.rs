//! What is saved is whole, and what cannot be saved changes nothing.

use std::{fs, net::TcpListener, path::Path};

use netcheck_oci::{Image as Built, ImageSpec, Layer};
use tempfile::TempDir;

use super::*;
use crate::{flags::KubectlFlags, output::Interrupt};

fn shared(interrupt: Interrupt) -> Shared {
    Shared {
        flags: KubectlFlags::default(),
        printer: Printer::silent(),
        interrupt,
    }
}

/// An image as the list has it, before its digest is known.
fn image(name: &str, reference: &str) -> Image {
    Image {
        name: name.into(),
        reference: reference.into(),
        digest: None,
        size: None,
        purpose: String::new(),
    }
}

/// Puts into a folder what a build leaves of an image there; its digest.
fn build(folder: &Path, name: &str) -> String {
    let mut spec = ImageSpec::new("registry.example/built/here:1", "amd64");
    spec.layers = vec![Layer::new().file("/name", name, 0o644)];
    let folder = folder.join(format!("{name}-image"));
    fs::create_dir_all(&folder).unwrap();
    let archive = folder.join(format!("netcheck-{name}.tar"));
    spec.write_archive(&archive).unwrap().manifest_digest.to_string()
}

/// Names of all that is in a folder.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn what_a_build_left_is_saved_under_the_names_that_pods_use() {
    let (built, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let digests = ["agent", "cni"].map(|name| build(built.path(), name));
    let file = folder.path().join("all.tar");
    let images = vec![
        image("agent", "mirror.example/x/netcheck-agent:1"),
        image("cni", "mirror.example/x/netcheck-cni:1"),
    ];
    let source = source::Source::choose(Some(built.path().to_owned()), None).unwrap();
    let saved = save::save(images, source, file.clone(), &shared(Interrupt::never()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        saved.iter().map(|image| image.digest.clone()).collect::<Vec<_>>(),
        digests.map(Some)
    );
    let first = Built::read_archive(&file).unwrap();
    assert_eq!(first.reference.to_string(), "mirror.example/x/netcheck-agent:1");
    let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
    assert!(text.contains("mirror.example/x/netcheck-cni@sha256:"));
    assert_eq!(names(&folder), ["all.tar"]);
}

#[tokio::test]
async fn another_builds_image_is_refused_and_the_file_that_was_there_stays() {
    let (built, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    build(built.path(), "agent");
    let file = folder.path().join("all.tar");
    fs::write(&file, "old").unwrap();
    let other = format!("r.example/netcheck-agent:1@sha256:{}", "0".repeat(64));
    for (name, reference, words) in [
        ("agent", other.as_str(), "is not the image that belongs to this plugin"),
        ("cni", "r.example/netcheck-cni:1", "there is no netcheck-cni.tar"),
        ("agent", "r.example/UPPER", "cannot save agent"),
    ] {
        let source = source::Source::choose(Some(built.path().to_owned()), None).unwrap();
        let images = vec![image(name, reference)];
        let failure = save::save(images, source, file.clone(), &shared(Interrupt::never()))
            .await
            .unwrap_err();
        assert!(failure.message.contains(words), "{failure}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(names(&folder), ["all.tar"]);
    }
}

#[tokio::test]
async fn a_registry_that_refuses_or_says_nothing_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("all.tar");
    // Connections wait in its queue, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("{}/netcheck-agent:1", listener.local_addr().unwrap());
    let (interrupts, interrupt) = Interrupt::by_hand();
    let source = source::Source::choose(None, None).unwrap();
    let (shared, images) = (shared(interrupt), vec![image("agent", &reference)]);
    let saving = tokio::spawn(async move { save::save(images, source, file, &shared).await });
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while names(&folder).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    interrupts.send(true).unwrap();
    assert_eq!(saving.await.unwrap(), Ok(None));
    assert_eq!(names(&folder), [""; 0]);
    // Its thread waits for an answer; none will come.
    drop(listener);

    let gone = image("agent", &reference);
    let file = folder.path().join("all.tar");
    let source = source::Source::choose(None, None).unwrap();
    let failure = save::save(vec![gone], source, file, &self::shared(Interrupt::never()))
        .await
        .unwrap_err();
    assert!(failure.message.contains(&reference[..14]), "{failure}");
    assert_eq!(failure.exit, Exit::Unknown);
    assert_eq!(names(&folder), [""; 0]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_a_fault_of_the_request() {
    let Err(failure) = source::Source::choose(Some("/nonexistent".into()), None) else {
        panic!("it was taken");
    };
    assert_eq!(failure.exit, Exit::Usage);
    let source = source::Source::choose(None, None).unwrap();
    let file = "/nonexistent/all.tar".into();
    let failure = save::save(vec![], source, file, &shared(Interrupt::never()))
        .await
        .unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
}

#[test]
fn a_prefix_and_a_choice_hold_for_the_list() {
    let all = list(&[], None).unwrap();
    let names: Vec<_> = all.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["agent", "toolbox", "cni"]);
    let one = list(&[Name::Toolbox], Some("registry.local/mirror")).unwrap();
    let [image] = &one[..] else { panic!("{one:?}") };
    assert!(
        image.reference.starts_with("registry.local/mirror/netcheck-toolbox:"),
        "{image:?}"
    );
}

#[test]
fn a_wide_table_has_digests_beside_references() {
    let image = Image {
        name: "agent".into(),
        reference: "r/agent:1@sha256:00".into(),
        digest: Some("sha256:00".into()),
        size: Some(3_140_000),
        purpose: "to look".into(),
    };
    let images = [image];
    let shown = table(&images, true).render();
    assert_eq!(
        shown,
        "NAME    SIZE     FOR       REFERENCE   DIGEST\nagent   3.1 MB   to look   r/agent:1   sha256:00\n"
    );
    assert!(table(&images, false).render().contains("r/agent:1@sha256:00"));
}
