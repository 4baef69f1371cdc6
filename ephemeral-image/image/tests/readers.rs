//! The image, built by the real program from the locked packages, and its readers at work in a network namespace of their own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use netcheck_image::{elf, recipe};
use netcheck_oci::Image;
use netcheck_trials::{Need, trial};

mod parts;

use parts::{Root, succeeded, tiny_program, unpack};

/// Rules of all kinds, made by the host's tools. Runs in fresh network and mount namespaces; `$1` is the image's root; then the
/// reader with its arguments follows.
const SCRIPT: &str = r"
    root=$1; shift
    mount -t proc proc $root/proc
    ipset create addresses hash:ip
    ipset add addresses 192.0.2.1
    iptables-legacy -A FORWARD -m set --match-set addresses src -m comment --comment legacy-rule -j DROP
    ip6tables-legacy -A FORWARD -p ipv6-icmp --icmpv6-type echo-request -j REJECT
    iptables-nft -A FORWARD -p tcp -m multiport --dports 80,443 -m comment --comment nft-rule -j ACCEPT
    ip6tables-nft -A INPUT -s 2001:db8::/32 -m conntrack --ctstate NEW -j DROP
    nft add table inet own
    nft add chain inet own drops '{ type filter hook input priority 0; }'
    nft add rule inet own drops tcp dport 8080 counter drop
    exec chroot $root $*
";

/// Programs that the image's content is fetched and unpacked with.
const UNPACKING: [&str; 2] = ["apt-get", "dpkg-deb"];

/// Programs that the script needs.
const HOST_PROGRAMS: [&str; 8] = [
    "chroot",
    "ip6tables-legacy",
    "ip6tables-nft",
    "ipset",
    "iptables-legacy",
    "iptables-nft",
    "nft",
    "unshare",
];

fn main() {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit();
}

fn trials() -> Vec<Trial> {
    let root = Arc::new(std::sync::LazyLock::new(|| {
        unpack(&recipe::AGENT).map_err(|error| format!("{error:?}"))
    }));
    let with_root = |name: &str, needs: &[&'static str], run: fn(&Root) -> Result<(), Failed>| {
        let root = Arc::clone(&root);
        let test = move || run(root.as_ref().as_ref()?);
        let needs: Vec<Need> = UNPACKING.iter().chain(needs).copied().map(Need::Program).collect();
        trial(name, &[&needs[..], &[Need::Root]].concat(), test)
    };
    let unpacking = |name: &str, run: fn() -> Result<(), Failed>| trial(name, &UNPACKING.map(Need::Program), run);
    vec![
        unpacking("two_builds_are_equal_and_small", two_builds_are_equal_and_small),
        unpacking("both_images_share_the_readers", both_images_share_the_readers),
        trial(
            "the_cnis_image_needs_both_its_programs",
            &[],
            the_cnis_image_needs_both_its_programs,
        ),
        unpacking(
            "an_agent_that_needs_libraries_is_refused",
            an_agent_that_needs_libraries_is_refused,
        ),
        unpacking(
            "an_agent_that_is_not_there_is_named",
            an_agent_that_is_not_there_is_named,
        ),
        unpacking(
            "an_agent_that_is_too_large_is_refused",
            an_agent_that_is_too_large_is_refused,
        ),
        with_root("no_shell_and_the_socket_folder", &[], no_shell_and_the_socket_folder),
        with_root(
            "the_loader_finds_every_library",
            &["chroot"],
            the_loader_finds_every_library,
        ),
        with_root("the_agent_starts", &["chroot"], the_agent_starts),
        with_root("nft_tells_its_version", &HOST_PROGRAMS, |root| {
            root.reads("nft --version", &["nftables v"])
        }),
        with_root("nft_lists_as_json", &HOST_PROGRAMS, nft_lists_as_json),
        with_root("iptables_nft_save", &HOST_PROGRAMS, |root| {
            root.reads(
                "iptables-nft-save",
                &["--dports 80,443 -m comment --comment nft-rule -j ACCEPT"],
            )
        }),
        with_root("ip6tables_nft_save", &HOST_PROGRAMS, |root| {
            root.reads(
                "ip6tables-nft-save",
                &["-A INPUT -s 2001:db8::/32 -m conntrack --ctstate NEW -j DROP"],
            )
        }),
        with_root("iptables_legacy_save", &HOST_PROGRAMS, |root| {
            root.reads(
                "iptables-legacy-save",
                &["--match-set addresses src -m comment --comment legacy-rule -j DROP"],
            )
        }),
        with_root("ip6tables_legacy_save", &HOST_PROGRAMS, |root| {
            root.reads(
                "ip6tables-legacy-save",
                &["--icmpv6-type 128 -j REJECT --reject-with icmp6-port-unreachable"],
            )
        }),
        with_root("ipset_list", &HOST_PROGRAMS, |root| {
            root.reads("ipset list", &["Name: addresses", "192.0.2.1"])
        }),
    ]
}

/// Builds an image from copies of the tiny program, under the given time zone and umask.
fn build(programs: &str, zone: &str, umask: &str) -> Result<(Vec<u8>, Image, String), Failed> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("program");
    fs::write(&program, tiny_program())?;
    let command = format!(
        "umask {umask}; exec {} build {programs} --output out/image.tar",
        env!("CARGO_BIN_EXE_netcheck-image")
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .env("TZ", zone)
        .current_dir(folder.path())
        .output()?;
    let printed = succeeded("build", &output)?;
    let archive = folder.path().join("out/image.tar");
    let digest = fs::read_to_string(folder.path().join("out/image.digest"))?;
    let image = Image::read_archive(&archive)?;
    assert_eq!(digest.trim(), image.manifest_digest().to_string());
    assert!(printed.contains(digest.trim()), "{printed}");
    Ok((fs::read(&archive)?, image, printed))
}

fn two_builds_are_equal_and_small() -> Result<(), Failed> {
    for programs in ["--agent program", "--cni-daemon program --cni-plugin program"] {
        let (one, ..) = build(programs, "UTC", "022")?;
        let (other, ..) = build(programs, "Asia/Tokyo", "077")?;
        assert!(one == other, "{programs}: the archives differ");
        // The agent may have 3 MB of the image's 8; this is all the rest, with a margin.
        assert!(one.len() < 4_500_000, "{programs}: {} bytes", one.len());
    }
    Ok(())
}

/// What nodes and registries have of the one they need not fetch for the other.
fn both_images_share_the_readers() -> Result<(), Failed> {
    let blobs = |image: &Image| -> Result<BTreeSet<String>, Failed> {
        let manifest: serde_json::Value = serde_json::from_slice(image.manifest())?;
        let layers = manifest["layers"].as_array().ok_or("no layers")?;
        Ok(layers.iter().map(|layer| layer["digest"].to_string()).collect())
    };
    let (_, agent, printed) = build("--agent program", "UTC", "022")?;
    assert!(printed.contains("netcheck-agent:"), "{printed}");
    let (_, cni, printed) = build("--cni-daemon program --cni-plugin program", "UTC", "022")?;
    assert!(printed.contains("netcheck-cni:"), "{printed}");
    assert_eq!(blobs(&agent)?.intersection(&blobs(&cni)?).count(), 1);
    Ok(())
}

fn the_cnis_image_needs_both_its_programs() -> Result<(), Failed> {
    let error = refused(&["build", "--cni-daemon", "/nonexistent/daemon"])?;
    assert!(error.contains("--cni-plugin"), "{error}");
    Ok(())
}

fn an_agent_that_needs_libraries_is_refused() -> Result<(), Failed> {
    let own = env!("CARGO_BIN_EXE_netcheck-image");
    let error = refused(&["build", "--agent", own, "--output", "/nonexistent/image.tar"])?;
    assert!(error.contains("crt-static"), "{error}");
    Ok(())
}

fn an_agent_that_is_not_there_is_named() -> Result<(), Failed> {
    let error = refused(&["build", "--agent", "/nonexistent/agent"])?;
    assert!(error.contains("/nonexistent/agent"), "{error}");
    Ok(())
}

/// Zeroes weigh nothing in the compressed image, but on the node they do.
fn an_agent_that_is_too_large_is_refused() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let agent = folder.path().join("agent");
    let mut program = tiny_program();
    program.resize(3_000_001, 0);
    fs::write(&agent, program)?;
    let agent = agent.display().to_string();
    let error = refused(&["build", "--agent", &agent, "--output", "/nonexistent/image.tar"])?;
    assert!(error.contains("agent has 3000001 bytes"), "{error}");
    Ok(())
}

fn no_shell_and_the_socket_folder(root: &Root) -> Result<(), Failed> {
    let mode = fs::metadata(root.path(recipe::AGENT.folders[0].0))?
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o1777);
    let programs: BTreeSet<_> = ["usr/bin", "usr/sbin"]
        .into_iter()
        .map(|folder| fs::read_dir(root.path(folder)))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    let expected = [
        "ip6tables-legacy-save",
        "ip6tables-nft-save",
        "ipset",
        "iptables-legacy-save",
        "iptables-nft-save",
        "nft",
        "xtables-legacy-multi",
        "xtables-nft-multi",
    ];
    assert_eq!(programs, expected.map(str::to_owned).into());
    Ok(())
}

/// glibc's own loader is asked, for programs and plugins alike.
fn the_loader_finds_every_library(root: &Root) -> Result<(), Failed> {
    let mut asked = 0;
    for folder in ["usr/sbin", "usr/lib/x86_64-linux-gnu/xtables"] {
        for entry in fs::read_dir(root.path(folder))? {
            let entry = entry?;
            if !elf::is_elf(&fs::read(entry.path())?) {
                continue;
            }
            let file = Path::new("/").join(folder).join(entry.file_name());
            let output = Command::new("chroot")
                .arg(&root.folder)
                .args(["/lib64/ld-linux-x86-64.so.2", "--list"])
                .arg(&file)
                .output()?;
            let printed = succeeded(&file.display().to_string(), &output)?;
            assert!(!printed.contains("not found"), "{}: {printed}", file.display());
            asked += 1;
        }
    }
    assert!(asked > 100, "only {asked} files were there to ask for");
    Ok(())
}

fn the_agent_starts(root: &Root) -> Result<(), Failed> {
    succeeded(
        "agent",
        &Command::new("chroot")
            .arg(&root.folder)
            .arg(recipe::AGENT.programs[0])
            .output()?,
    )?;
    Ok(())
}

fn nft_lists_as_json(root: &Root) -> Result<(), Failed> {
    let listing: serde_json::Value = serde_json::from_str(&root.run("nft -j list ruleset")?)?;
    let objects = listing["nftables"].as_array().ok_or("no array 'nftables'")?;
    let own = objects
        .iter()
        .find(|object| object["rule"]["table"] == "own")
        .ok_or("the table's rule is not listed")?;
    assert_eq!(own["rule"]["expr"][0]["match"]["right"], 8080, "{own}");
    Ok(())
}

impl Root {
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// Runs a reader over the script's rules.
    fn run(&self, reader: &str) -> Result<String, Failed> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "sh", "-euc", SCRIPT, "sh"])
            .arg(&self.folder)
            .args(reader.split(' '));
        succeeded(reader, &command.output()?)
    }

    fn reads(&self, reader: &str, expected: &[&str]) -> Result<(), Failed> {
        let printed = self.run(reader)?;
        for text in expected {
            assert!(printed.contains(text), "no '{text}' in:\n{printed}");
        }
        Ok(())
    }
}

fn refused(arguments: &[&str]) -> Result<String, Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_netcheck-image"))
        .args(arguments)
        .output()?;
    assert!(!output.status.success(), "{arguments:?} was accepted");
    Ok(String::from_utf8(output.stderr)?)
}
