//! The toolbox: its size, and its tools at work in namespaces of their own, on a root that is read-only, with no capabilities but those that
//! `kubectl netcheck debug` asks for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use libtest_mimic::{Arguments, Failed, Trial};
use netcheck_image::{elf, recipe};
use netcheck_oci::Image;
use netcheck_trials::{Need, trial};

mod parts;

use parts::{Root, succeeded, tiny_program, unpack};

/// What runs in fresh network, mount and process namespaces: makes the root `$1` read-only with what a runtime mounts into it, then, inside, user
/// `$2` with capabilities `$3` at most starts `bash -c $4`.
const SCRIPT: &str = r#"
    mount --bind "$1" "$1"
    mount -o remount,bind,ro "$1"
    mount -t proc proc "$1/proc"
    mount -t tmpfs -o mode=755 tmpfs "$1/dev"
    mkdir -m 1777 "$1/dev/shm"
    mknod -m 666 "$1/dev/null" c 1 3
    mknod -m 666 "$1/dev/urandom" c 1 9
    ip link set lo up
    exec env -i PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 XTABLES_LOCKFILE=/dev/shm/xtables.lock chroot "$1" \
        setpriv --reuid "$2" --regid "$2" --clear-groups --no-new-privs --inh-caps=-all --bounding-set="-all$3" bash -c "$4"
"#;

/// Programs that the script and the building need.
const HOST_PROGRAMS: [&str; 7] = ["apt-get", "chroot", "clang", "dpkg-deb", "ip", "mount", "unshare"];

/// What `debug` gives to root.
const NETWORK: &str = ",+net_raw,+net_admin";
/// What a namespace held to the restricted standard leaves.
const NOTHING: &str = "";

/// A question to each tool whose answer needs all its libraries and files, but neither rights nor a network.
const QUESTIONS: &str = "awk 'BEGIN { print 1 }'
arping -V
bash --version
bpftool version
bridge -V
capinfos --version
clear -V
conntrack --version
curl --version
date
delv -v
dig -v
dumpcap --version
editcap --version
ethtool --version
find --version
fping --version
gzip --version
grep --version
host -V
hostname
iftop -h
ip -V
ip6tables --version
ip6tables-legacy --version
iperf3 --version
iptables --version
iptables-legacy --version
iptables-save --version
jq --version
less --version
lsof -v
mergecap --version
mtr --version
nc -h
netcat -h
netcheck-agent
nft --version
ngrep -V
nmap --version
nping --version
nslookup -version
nsenter --version
nsupdate -V
openssl version
pager --version
ping -V
ps --version
sed --version
sh -c true
socat -V
ss --version
strace -V
sysctl --version
tar --version
tc -V
tcpdump --version
top -v
tracepath -V
traceroute --version
traceroute6 --version
tshark --version
vi --version
vim --version
watch --version
wget --version
which ip";

/// A test on the unpacked image.
type Test = fn(&Root) -> Result<(), Failed>;

fn main() {
    libtest_mimic::run(&Arguments::from_args(), trials()).exit();
}

fn trials() -> Vec<Trial> {
    let root = Arc::new(LazyLock::new(|| {
        unpack(&recipe::TOOLBOX).map_err(|error| format!("{error:?}"))
    }));
    let needs: Vec<Need> = HOST_PROGRAMS
        .into_iter()
        .map(Need::Program)
        .chain([Need::Root])
        .collect();
    let tests: [(&str, Test); 8] = [
        ("every_tool_answers_root_and_others", every_tool_answers_root_and_others),
        ("nobody_gains_rights_by_a_program", nobody_gains_rights_by_a_program),
        ("the_loader_finds_every_library", the_loader_finds_every_library),
        (
            "packets_are_captured_without_setuid",
            packets_are_captured_without_setuid,
        ),
        ("probes_leave_without_setuid", probes_leave_without_setuid),
        (
            "rulesets_are_read_and_written_on_a_read_only_root",
            rulesets_are_read_and_written,
        ),
        ("the_machines_authorities_are_known", the_authorities_are_known),
        ("the_prompt_says_where_one_is", the_prompt_says_where_one_is),
    ];
    let on_the_root = tests.into_iter().map(|(name, test)| {
        let root = Arc::clone(&root);
        trial(name, &needs, move || test(root.as_ref().as_ref()?))
    });
    let building = ["apt-get", "clang", "dpkg-deb"].map(Need::Program);
    let builds = trial(
        "two_builds_are_equal_and_their_size_is_told",
        &building,
        two_builds_are_equal,
    );
    on_the_root.chain([builds]).collect()
}

fn two_builds_are_equal() -> Result<(), Failed> {
    let build = |zone: &str, umask: &str| -> Result<(Vec<u8>, String), Failed> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("agent"), tiny_program())?;
        let program = env!("CARGO_BIN_EXE_netcheck-image");
        let command = format!("umask {umask}; exec {program} build --toolbox --agent agent --output out/toolbox.tar");
        let mut sh = Command::new("sh");
        sh.args(["-c", &command]).env("TZ", zone).current_dir(folder.path());
        let printed = succeeded("build", &sh.output()?)?;
        let archive = folder.path().join("out/toolbox.tar");
        let image = Image::read_archive(&archive)?;
        let told = |ending: &str| fs::read_to_string(folder.path().join("out/toolbox").with_extension(ending));
        assert_eq!(told("digest")?.trim(), image.manifest_digest().to_string());
        assert_eq!(told("size")?.trim(), image.layers_size().to_string());
        Ok((fs::read(&archive)?, printed))
    };
    let (one, printed) = build("UTC", "022")?;
    let (other, _) = build("Asia/Tokyo", "077")?;
    assert!(one == other, "the archives differ");
    let line = printed.lines().find(|line| line.starts_with("toolbox"));
    let line = line.ok_or_else(|| format!("its size is not told:\n{printed}"))?;
    assert!(
        line.contains(" MB of files, ") && line.contains(" MB compressed"),
        "{line}"
    );
    // What the build holds against its limits is what the archive weighs, all but what frames it.
    assert!((one.len() as u64) < recipe::TOOLBOX.image_at_most, "{}", one.len());
    Ok(())
}

fn every_tool_answers_root_and_others(root: &Root) -> Result<(), Failed> {
    let script = format!(
        "while read -r question; do
             said=$(eval \"$question\" </dev/null 2>&1) || echo \"$question: $?: ${{said:0:200}}\"
         done <<'END'\n{QUESTIONS}\nEND\n"
    );
    for (user, capabilities) in [(0, NETWORK), (0, NOTHING), (65532, NOTHING), (1_000_710_000, NOTHING)] {
        let failed = root.run(user, capabilities, &script)?;
        assert_eq!(failed, "", "as {user} with '{capabilities}'");
    }
    Ok(())
}

fn nobody_gains_rights_by_a_program(root: &Root) -> Result<(), Failed> {
    let (mut folders, mut files) = (vec![root.folder.clone()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
            let kind = kind?;
            if kind.is_symlink() {
                continue;
            }
            let mode = fs::metadata(&path)?.permissions().mode();
            if kind.is_dir() {
                assert_eq!(mode & 0o555, 0o555, "{}", path.display());
                folders.push(path);
                continue;
            }
            assert_eq!(mode & 0o6444, 0o444, "{}", path.display());
            let mut names = [0; 256];
            let count = rustix::fs::listxattr(&path, &mut names)?;
            let names = String::from_utf8_lossy(&names[..count]).into_owned();
            assert!(!names.contains("security.capability"), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 1000, "{files}");
    Ok(())
}

/// glibc's own loader is asked, for programs and libraries alike.
fn the_loader_finds_every_library(root: &Root) -> Result<(), Failed> {
    let mut asked = Vec::new();
    for folder in ["usr/bin", "usr/sbin", "usr/lib/netcheck", "usr/lib/x86_64-linux-gnu"] {
        for entry in fs::read_dir(root.folder.join(folder))? {
            let entry = entry?;
            let is_elf = entry.file_type()?.is_file() && elf::is_elf(&fs::read(entry.path())?);
            // The loader itself and static programs need nothing.
            let needs = if is_elf {
                elf::needs(&fs::read(entry.path())?)?
            } else {
                elf::Needs::default()
            };
            if !needs.libraries.is_empty() {
                asked.push(format!("/{folder}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    assert!(asked.len() > 300, "{asked:?}");
    let asked = asked.join("\n");
    let script = format!(
        "while read -r file; do
             said=$(/lib64/ld-linux-x86-64.so.2 --list \"$file\" 2>&1) && [[ $said != *'not found'* ]] || echo \"$file: $said\"
         done <<'END'\n{asked}\nEND\n"
    );
    assert_eq!(root.run(65532, NOTHING, &script)?, "");
    Ok(())
}

/// Debian's tcpdump and ngrep would change their user first; what they print is what was sent.
fn packets_are_captured_without_setuid(root: &Root) -> Result<(), Failed> {
    for command in [
        "tcpdump -l -n -i lo -c 1 icmp",
        "ngrep -n 1 -q -d lo '' icmp",
        "env TMPDIR=/dev/shm tshark -n -i lo -c 1 -f icmp",
        // Files are root's, as all else that root writes.
        "tcpdump -i lo -c 1 -w /dev/shm/file icmp && tshark -n -r /dev/shm/file && [ \"$(stat -c %u /dev/shm/file)\" = 0 ]",
    ] {
        let script = format!(
            "while ping -c 1 -W 1 127.0.0.9; do sleep 0.2; done >/dev/null & pings=$!
             timeout 60 {command} 2>/dev/shm/said || cat /dev/shm/said; grep Warning /dev/shm/said; kill $pings"
        );
        let printed = root.run(0, NETWORK, &script)?;
        assert!(
            printed.contains("127.0.0.9") && !printed.contains("rror"),
            "{command}: {printed}"
        );
    }
    Ok(())
}

fn probes_leave_without_setuid(root: &Root) -> Result<(), Failed> {
    for (command, expected) in [
        ("ping -c 1 -W 2 127.0.0.1", "1 received"),
        ("fping -c 1 127.0.0.1 2>&1", "0% loss"),
        ("mtr -n -r -c 1 127.0.0.1", "127.0.0.1"),
        ("traceroute -n -q 1 127.0.0.1", " ms"),
        ("traceroute -n -I -q 1 127.0.0.1", " ms"),
        ("nmap -n -sS -p 1 127.0.0.1", "1/tcp closed"),
        ("nmap -n -sT -p 1 127.0.0.1", "1/tcp closed"),
    ] {
        let printed = root.run(0, NETWORK, command)?;
        assert!(printed.contains(expected), "{command}: {printed}");
    }
    let printed = root.run(65532, NOTHING, "nmap -n -sT -p 1 127.0.0.1")?;
    assert!(printed.contains("1/tcp closed"), "{printed}");
    Ok(())
}

fn rulesets_are_read_and_written(root: &Root) -> Result<(), Failed> {
    let script = "iptables -A INPUT -p tcp --dport 1 -j DROP; iptables-legacy -A INPUT -p tcp --dport 2 -j DROP
        nft add table inet own; ipset create own hash:ip; ipset list -n; conntrack -L 2>&1
        nft -j list ruleset | jq -r '.nftables[].table.name | values'; iptables-save; iptables-legacy-save";
    let printed = root.run(0, NETWORK, script)?;
    for expected in [
        "own\n",
        "--dport 1 -j DROP",
        "--dport 2 -j DROP",
        "flow entries",
        "filter\n",
    ] {
        assert!(printed.contains(expected), "no '{expected}' in:\n{printed}");
    }
    Ok(())
}

fn the_authorities_are_known(root: &Root) -> Result<(), Failed> {
    let listed = "openssl storeutl -noout -certs /etc/ssl/certs/ca-certificates.crt | tail -n 1";
    let printed = root.run(65532, NOTHING, listed)?;
    let count = printed
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|count| count.parse::<usize>().ok());
    assert!(count.is_some_and(|count| count > 100), "{printed}");
    // Each vouches for itself where openssl looks by itself.
    let verified = "for file in /usr/share/ca-certificates/mozilla/*; do openssl verify \"$file\" >/dev/null 2>&1 && echo fine; done | wc -l";
    let fine = root.run(65532, NOTHING, verified)?.trim().parse::<usize>()?;
    assert!(fine > 100, "{fine}");
    Ok(())
}

fn the_prompt_says_where_one_is(root: &Root) -> Result<(), Failed> {
    let hostile = r"x\e[2J$(touch /dev/shm/owned)`touch /dev/shm/owned`\w";
    for (environment, expected) in [
        ("NETCHECK_TARGET='pod shop/web-x'", "[pod shop/web-x] / "),
        ("NETCHECK_TARGET='node n1' HOME=/nonexistent", "[node n1] / "),
        ("HOSTNAME=web-y", "[web-y] / "),
        ("HOSTNAME= NETCHECK_TARGET=", "[toolbox] / "),
        (
            &format!("TERM=xterm NO_COLOR=1 NETCHECK_TARGET=$'{hostile}'"),
            r"[x?[2J$(touch /dev/shm/owned)`touch /dev/shm/owned`\w] / ",
        ),
    ] {
        for (user, sign) in [(0, "#"), (65532, "$"), (1_000_710_000, "$")] {
            for shell in ["bash -i", "bash -l -i"] {
                // Without a terminal bash says on stderr that there is none, and nothing else.
                let script = format!(
                    "env {environment} {shell} -c 'echo \"${{PS1@P}}\"; ls /dev/shm' 2>&1 | grep -v -e 'job control' -e 'terminal process group'"
                );
                let printed = root.run(user, NOTHING, &script)?;
                assert_eq!(printed, format!("{expected}{sign} \n"), "{environment} {user} {shell}");
            }
        }
    }
    let painted = root.run(
        0,
        NOTHING,
        "TERM=xterm NETCHECK_TARGET='node n1' bash -i -c 'echo \"${PS1@P}\"' 2>/dev/null",
    )?;
    assert!(painted.contains("\x1b[1;36m"), "{painted:?}");
    Ok(())
}

impl Root {
    /// What a script of bash's prints; it need not succeed.
    fn run(&self, user: u32, capabilities: &str, script: &str) -> Result<String, Failed> {
        let mut command = Command::new("timeout");
        command.args([
            "--kill-after=10",
            "120",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["sh", "-euc", SCRIPT, "sh"]).arg(&self.folder);
        command.args([&user.to_string(), capabilities, script]);
        let output = command.output()?;
        if output.status.code().is_none_or(|code| code >= 124) {
            return Err(format!(
                "{script}: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
