//! Archives: always the same bytes, readable again, and refused when damaged.

use std::path::Path;

use netcheck_oci::{Error, Image, ImageSpec, Layer};

fn spec() -> ImageSpec {
    let mut spec = ImageSpec::new("registry.example/team/app:1.0", "amd64");
    spec.entrypoint = vec!["/app".into()];
    spec.env.insert("LANG".into(), "C".into());
    spec.labels.extend([
        ("b".into(), "2".into()),
        ("a".into(), "1".into()),
        ("c".into(), "3".into()),
    ]);
    let shared = Layer::new().file("/etc/shared", b"shared".as_slice(), 0o644);
    spec.layers = vec![
        shared.clone(),
        Layer::new()
            .dir("/run/app", 0o1777)
            .file("/app", vec![7; 100_000], 0o755),
        shared,
    ];
    spec
}

#[test]
fn the_same_spec_gives_the_same_bytes_anywhere() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (one.path().join("a.tar"), other.path().join("b.tar"));
    let written = spec().write_archive(&one).unwrap();
    assert_eq!(spec().write_archive(&other).unwrap(), written);
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap());
    assert_eq!(written.archive_size, one.metadata().unwrap().len());
}

/// A changed digest means that every build of every user changes: only on purpose, with a new value here.
#[test]
fn the_digest_does_not_drift_with_dependencies() {
    let image = spec().assemble().unwrap();
    assert_eq!(
        image.manifest_digest().to_string(),
        "sha256:0a77500354e3c9867709de24080ff8b69a39a7b8d749f9182018b2572f2d82f9"
    );
}

#[test]
fn what_is_read_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
    let written = spec().write_archive(&first).unwrap();
    let image = Image::read_archive(&first).unwrap();
    assert_eq!(image.manifest_digest(), written.manifest_digest);
    assert_eq!(image.reference.to_string(), "registry.example/team/app:1.0");
    image.write_archive(&second).unwrap();
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
}

#[test]
fn one_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    spec().write_archive(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let config = bytes
        .windows(14)
        .position(|window| window == b"\"architecture\"")
        .unwrap();
    bytes[config + 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(Image::read_archive(&path), Err(Error::DigestMismatch { .. })));
}

#[test]
fn what_is_no_archive_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    assert!(matches!(Image::read_archive(&path), Err(Error::ReadArchive { .. })));
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(Image::read_archive(&path), Err(Error::BadArchive { .. })));
    let error = spec().write_archive(Path::new("/nonexistent/a.tar")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/a.tar"), "{error}");
}
