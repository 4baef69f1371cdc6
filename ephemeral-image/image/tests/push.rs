//! `netcheck-image push`, as a release does it: HTTPS, an authority that the machine trusts, a password from stdin.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed};
use netcheck_oci::{ImageSpec, Layer};
use netcheck_trials::{Need, trial};

/// The hash of the password `U*U`, a published test vector of crypt_blowfish.
const HTPASSWD: &str = "user:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

const LOOPBACK: &str = "127.0.0.1";

/// How long the registry may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

fn main() {
    let trial = trial("push_over_https", &[Need::Program("docker-registry")], push_over_https);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn push_over_https() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("image.tar");
    let mut spec = ImageSpec::new("registry.example/team/app:1.0", "amd64");
    spec.layers = vec![Layer::new().file("/app", b"app".as_slice(), 0o755)];
    let digest = spec.write_archive(&archive)?.manifest_digest;

    let registry = Registry::start(folder.path())?;
    let target = format!("{}/team/app:1.0", registry.address);
    let push = |authority: &Path, password: &str| -> Result<Output, Failed> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_netcheck-image"))
            .args(["push", "--scheme", "https", "--username", "user", &target, "--archive"])
            .arg(&archive)
            .env("SSL_CERT_FILE", authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .ok_or("no stdin")?
            .write_all(format!("{password}\n").as_bytes())?;
        Ok(child.wait_with_output()?)
    };

    let stranger = rcgen::generate_simple_self_signed([LOOPBACK.to_owned()])?;
    let strange_authority = folder.path().join("strange.pem");
    fs::write(&strange_authority, stranger.cert.pem())?;
    let error = refused(&push(&strange_authority, "U*U")?)?;
    assert!(error.contains("certificate"), "{error}");

    let error = refused(&push(&registry.authority, "wrong")?)?;
    assert!(error.contains("refuses these credentials"), "{error}");
    let error = refused(&push(&registry.authority, "")?)?;
    assert!(error.contains("no password for user on stdin"), "{error}");

    let output = push(&registry.authority, "U*U")?;
    let printed = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(&format!("/team/app@{digest}")), "{printed}");
    let stored = digest.to_string().replace(':', "/");
    let link = folder
        .path()
        .join("data/docker/registry/v2/repositories/team/app/_manifests/revisions")
        .join(stored);
    assert_eq!(fs::read_to_string(link.join("link"))?, digest.to_string());
    Ok(())
}

fn refused(output: &Output) -> Result<String, Failed> {
    assert!(!output.status.success(), "the push succeeded");
    Ok(String::from_utf8(output.stderr.clone())?)
}

/// A registry of our own with TLS and a password file, on a loopback port that the kernel chose.
struct Registry {
    process: Child,
    address: SocketAddr,
    authority: PathBuf,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self, Failed> {
        let at = |name: &str| folder.join(name);
        let identity = rcgen::generate_simple_self_signed([LOOPBACK.to_owned()])?;
        fs::write(at("cert.pem"), identity.cert.pem())?;
        fs::write(at("key.pem"), identity.signing_key.serialize_pem())?;
        fs::write(at("htpasswd"), HTPASSWD)?;
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\n\
             http: {{addr: '127.0.0.1:0', secret: s, tls: {{certificate: {0}/cert.pem, key: {0}/key.pem}}}}\n\
             auth: {{htpasswd: {{realm: r, path: {0}/htpasswd}}}}\n",
            folder.display()
        );
        fs::write(at("config.yml"), config)?;
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().ok_or("no stderr")?;
        let mut registry = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            authority: at("cert.pem"),
        };
        let (send, lines) = mpsc::channel();
        // Reads until the registry ends, so that it never blocks on a full pipe; nobody listens after the first lines.
        thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(send.send(line)));
        });
        loop {
            let line: String = lines.recv_timeout(START_LIMIT)?;
            if let Some((_, address)) = line.split_once("listening on ") {
                let end = address
                    .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                    .unwrap_or(address.len());
                registry.address = address[..end].parse()?;
                return Ok(registry);
            }
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already; then both calls fail, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
