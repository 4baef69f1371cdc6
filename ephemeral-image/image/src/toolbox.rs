//! The toolbox: whole packages rather than single programs, and what their maintainer scripts would have done.

use std::fs;
use std::process::Command;

use crate::base::{LICENCE_PACKAGE, TOOLBOX, accounts};
use crate::tree::{Node, Tree};
use crate::{Error, Result};

/// Where what is wanted lies. Manuals, translations, services, cron jobs and the like lie elsewhere.
const WANTED: [&str; 25] = [
    "/etc/bash.bashrc",
    "/etc/debian_version",
    "/etc/ethertypes",
    "/etc/group",
    "/etc/iproute2/",
    "/etc/networks",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/profile",
    "/etc/protocols",
    "/etc/rpc",
    "/etc/services",
    "/etc/ssl/",
    "/etc/vim/",
    "/etc/wgetrc",
    "/etc/wireshark/",
    "/usr/bin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/usr/sbin/",
    "/usr/share/ca-certificates/",
    "/usr/share/common-licenses/",
    "/usr/share/nmap/",
    "/usr/share/wireshark/",
];

/// What is not, though it lies there: what belongs to an init system.
const UNWANTED: [&str; 9] = [
    "/usr/lib/init/",
    "/usr/lib/lsb/",
    "/usr/lib/modules-load.d/",
    "/usr/lib/python3/",
    "/usr/lib/sysctl.d/",
    "/usr/lib/systemd/",
    "/usr/lib/sysusers.d/",
    "/usr/lib/tmpfiles.d/",
    "/usr/lib/udev/",
];

/// What is not by any of these parts of its path: Wireshark's ways to capture from telephones and by SSH, its sound, its manuals, and a discipline of tc's
/// for ATM, whose library would be the only use of it.
const UNWANTED_PARTS: [&str; 4] = ["/wireshark/extcap/", "/codecs/", ".html", "/tc/q_atm.so"];

/// What a script may be written in; others would need an interpreter that is not here.
const INTERPRETERS: [&str; 5] = [
    "/bin/sh",
    "/bin/bash",
    "/usr/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/env bash",
];

/// What update-alternatives would link, the choice that Debian would make.
const ALTERNATIVES: [(&str, &str); 19] = [
    ("/usr/bin/awk", "/usr/bin/mawk"),
    ("/usr/bin/editor", "/usr/bin/vim.tiny"),
    ("/usr/bin/nc", "/usr/bin/nc.openbsd"),
    ("/usr/bin/netcat", "/usr/bin/nc.openbsd"),
    ("/usr/bin/pager", "/usr/bin/less"),
    ("/usr/bin/sh", "/usr/bin/bash"),
    ("/usr/bin/traceroute", "/usr/bin/traceroute.db"),
    ("/usr/bin/traceroute6", "/usr/bin/traceroute6.db"),
    ("/usr/bin/vi", "/usr/bin/vim.tiny"),
    ("/usr/bin/vim", "/usr/bin/vim.tiny"),
    ("/usr/bin/which", "/usr/bin/which.debianutils"),
    ("/usr/sbin/arptables", "/usr/sbin/arptables-nft"),
    ("/usr/sbin/ebtables", "/usr/sbin/ebtables-nft"),
    ("/usr/sbin/ip6tables", "/usr/sbin/ip6tables-nft"),
    ("/usr/sbin/ip6tables-restore", "/usr/sbin/ip6tables-nft-restore"),
    ("/usr/sbin/ip6tables-save", "/usr/sbin/ip6tables-nft-save"),
    ("/usr/sbin/iptables", "/usr/sbin/iptables-nft"),
    ("/usr/sbin/iptables-restore", "/usr/sbin/iptables-nft-restore"),
    ("/usr/sbin/iptables-save", "/usr/sbin/iptables-nft-save"),
];

/// All that `curl`, `wget` and `openssl` trust. Debian's `openssl` looks for a folder of hashed names and for `cert.pem`; the latter is enough.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const CA_BUNDLE_OF_OPENSSL: &str = "/usr/lib/ssl/cert.pem";
const CA_FOLDER: &str = "/usr/share/ca-certificates/mozilla/";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nnonroot:x:65532:65532:nonroot:/tmp:/bin/bash\n\
                      nobody:x:65534:65534:nobody:/:/nonexistent\n";
/// What glibc asks, and in which order; without it some programs ask DNS alone, and never see /etc/hosts.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";

/// The prompt, and what reads it.
const BASHRC: &str = include_str!("../../toolbox/bash.bashrc");
const PROFILE: &str = include_str!("../../toolbox/profile");

/// Programs that would become another user before they listen, and the packages that they are from.
const LISTENERS: [(&str, &str); 2] = [("ngrep", "ngrep"), ("tcpdump", "tcpdump")];
/// What keeps them from it, and where it and they are.
const NOT_ROOT: &str = include_str!("../../toolbox/not-root.c");
const OWN_FOLDER: &str = "/usr/lib/netcheck";

pub(crate) fn arrange(tree: &mut Tree) -> Result<()> {
    accounts(tree, PASSWD);
    for (path, text) in [
        ("/etc/bash.bashrc", BASHRC),
        ("/etc/nsswitch.conf", NSSWITCH),
        ("/etc/profile", PROFILE),
    ] {
        tree.insert(path, Node::text(text), LICENCE_PACKAGE);
    }
    for (link, target) in ALTERNATIVES {
        let package = tree.package_of(target).ok_or_else(|| missing(target))?.to_owned();
        tree.insert(link, Node::Symlink(target.to_owned()), &package);
    }
    // The one library that is chosen by update-alternatives: nmap's liblinear loads it. Its folder is named after the architecture.
    let blas = tree
        .paths_below("/usr/lib/")
        .find(|path| path.ends_with("/blas/libblas.so.3"));
    let blas = blas.ok_or_else(|| missing("libblas.so.3"))?.to_owned();
    tree.insert(&blas.replace("/blas/", "/"), Node::Symlink(blas.clone()), "libblas3");
    let bundle = ca_bundle(tree)?;
    tree.insert(CA_BUNDLE, Node::text(bundle), "ca-certificates");
    tree.insert(CA_BUNDLE_OF_OPENSSL, Node::Symlink(CA_BUNDLE.to_owned()), "openssl");
    tree.insert(&format!("{OWN_FOLDER}/not-root.so"), Node::text(not_root()?), "tcpdump");
    for (program, package) in LISTENERS {
        let (place, kept) = (format!("/usr/bin/{program}"), format!("{OWN_FOLDER}/{program}"));
        tree.rename(&place, &kept).ok_or_else(|| missing(&place))?;
        let wrapper = format!("#!/bin/sh\nLD_PRELOAD={OWN_FOLDER}/not-root.so exec {kept} \"$@\"\n");
        tree.insert(&place, Node::program(wrapper), package);
    }
    Ok(())
}

pub(crate) fn roots(tree: &Tree, _libraries: &str) -> Vec<String> {
    let packages = TOOLBOX.packages();
    let is_named = |path: &str| tree.package_of(path).is_some_and(|package| packages.contains(&package));
    let paths = tree.paths_below("/").filter(|path| is_named(path) && is_wanted(path));
    paths.filter(|path| serves(tree, path)).map(str::to_owned).collect()
}

fn is_wanted(path: &str) -> bool {
    let is_below = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let has_part = UNWANTED_PARTS.iter().any(|part| path.contains(part));
    is_below(&WANTED) && !is_below(&UNWANTED) && !has_part
}

/// Whether it is of use: no link to what is not here, and no script whose interpreter is not.
fn serves(tree: &Tree, path: &str) -> bool {
    match tree.get(path) {
        Some(Node::Symlink(_)) => tree
            .link_target(path)
            .is_some_and(|target| tree.get(&target).is_some() || tree.is_folder(&target)),
        Some(Node::File { bytes, .. }) => bytes.strip_prefix(b"#!").is_none_or(|script| {
            let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            INTERPRETERS
                .iter()
                .any(|interpreter| line.trim().starts_with(interpreter))
        }),
        None => false,
    }
}

/// Compiles what keeps a program from changing its user; with the compiler of our eBPF programs.
fn not_root() -> Result<Vec<u8>> {
    let failed = |detail: String| Error::Tool {
        program: "clang".to_owned(),
        detail,
    };
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let (source, object) = (folder.path().join("not-root.c"), folder.path().join("not-root.so"));
    fs::write(&source, NOT_ROOT).map_err(|error| failed(error.to_string()))?;
    let mut clang = Command::new("clang");
    clang.args(["-shared", "-fPIC", "-O2", "-nostdlib", "-s", "-Wl,--build-id=none"]);
    // Named without its folder, so that this one's name is not in what comes of it.
    clang
        .current_dir(folder.path())
        .args(["-o", "not-root.so", "not-root.c"]);
    let output = clang.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    fs::read(object).map_err(|error| failed(error.to_string()))
}

/// What update-ca-certificates would write: one certificate after the other.
fn ca_bundle(tree: &Tree) -> Result<Vec<u8>> {
    let mut bundle = Vec::new();
    for path in tree.paths_below(CA_FOLDER) {
        if let Some(Node::File { bytes, .. }) = tree.get(path) {
            bundle.extend_from_slice(bytes);
            if !bytes.ends_with(b"\n") {
                bundle.push(b'\n');
            }
        }
    }
    if bundle.is_empty() {
        return Err(missing(CA_FOLDER));
    }
    Ok(bundle)
}

fn missing(path: &str) -> Error {
    Error::Missing {
        path: path.to_owned(),
        needed_by: "the toolbox".to_owned(),
    }
}
