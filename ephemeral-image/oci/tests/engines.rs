//! What real engines make of our images: containerd, Debian's docker-registry, skopeo.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use libtest_mimic::{Arguments, Failed, Trial};
use netcheck_oci::registry::{Credentials, Options, Pulled, RegistryError, pull, push};
use netcheck_oci::{ArchiveWriter, Image, ImageSpec, Layer, Reference};
use netcheck_trials::Need;
use rustix::net::{AddressFamily, SocketType};

/// How long an engine may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

fn main() {
    let trials = vec![
        trial(
            "containerd_loads_it_under_tag_and_digest",
            &["containerd", "ctr"],
            true,
            containerd_loads_it,
        ),
        trial(
            "registry_serves_what_was_pushed",
            &["docker-registry"],
            false,
            registry_serves_what_was_pushed,
        ),
        trial(
            "registry_with_passwords",
            &["docker-registry"],
            false,
            registry_with_passwords,
        ),
        trial(
            "registry_with_token_service",
            &["docker-registry"],
            false,
            registry_with_token_service,
        ),
        trial(
            "what_is_pulled_is_what_was_pushed",
            &["docker-registry"],
            false,
            what_is_pulled_is_what_was_pushed,
        ),
        trial(
            "a_download_that_is_cut_or_falsified_is_no_image",
            &["docker-registry"],
            false,
            a_download_that_is_cut_or_falsified_is_no_image,
        ),
        trial(
            "containerd_and_skopeo_read_several_that_were_pulled",
            &["containerd", "ctr", "docker-registry", "skopeo"],
            true,
            several_that_were_pulled_are_read,
        ),
        trial("registry_that_is_not_there", &[], false, registry_that_is_not_there),
        trial("skopeo_agrees", &["skopeo", "docker-registry"], false, skopeo_agrees),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A test that needs these programs, and root if it says so.
fn trial(name: &str, programs: &[&'static str], root: bool, run: fn() -> Result<(), Failed>) -> Trial {
    let programs = programs.iter().copied().map(Need::Program);
    let needs: Vec<Need> = programs.chain(root.then_some(Need::Root)).collect();
    netcheck_trials::trial(name, &needs, run)
}

fn spec(name: &str) -> ImageSpec {
    let mut spec = ImageSpec::new(name, "amd64");
    spec.entrypoint = vec!["/app".into()];
    spec.user = "65532".into();
    spec.layers = vec![
        Layer::new().dir("/run/app", 0o1777).symlink("/lib", "usr/lib"),
        Layer::new()
            .file("/app", b"#!program\n".repeat(10_000), 0o755)
            .file("/usr/lib/x.so", b"x".as_slice(), 0o644),
    ];
    spec
}

fn containerd_loads_it() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("app.tar");
    let written = spec("registry.example/team/app:1.0").write_archive(&archive)?;

    let containerd = Containerd::start(folder.path())?;
    containerd.ctr(&[
        "images",
        "import",
        "--snapshotter",
        "native",
        &archive.display().to_string(),
    ])?;

    let names = containerd.ctr(&["images", "list", "--quiet"])?;
    let names: Vec<_> = names.lines().collect();
    assert!(names.contains(&"registry.example/team/app:1.0"), "{names:?}");
    assert!(names.contains(&written.pinned_name()?.as_str()), "{names:?}");
    let list = containerd.ctr(&["images", "list"])?;
    assert_eq!(
        list.matches(&written.manifest_digest.to_string()).count(),
        3,
        "twice as target, once in a name:\n{list}"
    );

    // The native snapshotter keeps each layer's tree as a plain folder: the upper one is the container's root.
    let snapshots = folder.path().join("root/io.containerd.snapshotter.v1.native/snapshots");
    let root = fs::read_dir(snapshots)?
        .map(|entry| entry.map(|entry| entry.path()))
        .find(|path| path.as_ref().is_ok_and(|path| path.join("app").exists()))
        .ok_or("no snapshot has the file /app")??;
    assert_eq!(fs::read(root.join("app"))?.len(), 100_000);
    assert_eq!(fs::metadata(root.join("app"))?.permissions().mode() & 0o7777, 0o755);
    assert_eq!(
        fs::metadata(root.join("run/app"))?.permissions().mode() & 0o7777,
        0o1777
    );
    assert_eq!(fs::read_link(root.join("lib"))?, Path::new("usr/lib"));
    Ok(())
}

fn registry_serves_what_was_pushed() -> Result<(), Failed> {
    let registry = Registry::start("")?;
    let image = spec("registry.example/team/app:1.0").assemble()?;
    let target = registry.reference("team/app:1.0")?;

    let pushed = push(&image, &target, &Options::default())?;
    assert_eq!((pushed.uploaded, pushed.reused), (3, 0));
    assert_eq!(pushed.pinned_name, target.pinned(&image.manifest_digest()));
    for version in ["1.0".to_owned(), image.manifest_digest().to_string()] {
        assert!(
            registry.manifest("team/app", &version)? == image.manifest(),
            "{version}"
        );
    }

    let again = push(&image, &target, &Options::default())?;
    assert_eq!((again.uploaded, again.reused), (0, 3));

    let by_digest = registry.reference(&format!("team/other@{}", image.manifest_digest()))?;
    push(&image, &by_digest, &Options::default())?;
    assert!(registry.manifest("team/other", &image.manifest_digest().to_string())? == image.manifest());

    let other_digest = registry.reference(&format!("team/other@sha256:{}", "0".repeat(64)))?;
    assert!(matches!(
        push(&image, &other_digest, &Options::default()),
        Err(RegistryError::OtherDigest { .. })
    ));
    Ok(())
}

fn registry_with_passwords() -> Result<(), Failed> {
    // The password's bcrypt hash is a published test vector of crypt_blowfish.
    let folder = tempfile::tempdir()?;
    let passwords = folder.path().join("htpasswd");
    fs::write(
        &passwords,
        "user:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n",
    )?;
    let registry = Registry::start(&format!(
        "auth: {{htpasswd: {{realm: r, path: {}}}}}",
        passwords.display()
    ))?;
    let image = spec("registry.example/team/app:1.0").assemble()?;
    let target = registry.reference("team/app:1.0")?;

    let login = |password: &str| Options {
        credentials: Some(Credentials {
            username: "user".into(),
            password: password.into(),
        }),
        ..Options::default()
    };
    let anonymous = push(&image, &target, &Options::default());
    assert!(
        matches!(anonymous, Err(RegistryError::Unauthorized { anonymous: true, .. })),
        "{anonymous:?}"
    );
    let wrong = push(&image, &target, &login("wrong"));
    assert!(
        matches!(wrong, Err(RegistryError::Unauthorized { anonymous: false, .. })),
        "{wrong:?}"
    );
    assert_eq!(push(&image, &target, &login("U*U"))?.uploaded, 3);
    Ok(())
}

/// The registry's "silly" access controller sends the real challenge and takes any token; the token service is the test's own.
fn registry_with_token_service() -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let realm = format!("http://{}/token", listener.local_addr()?);
    let registry = Registry::start(&format!("auth: {{silly: {{realm: '{realm}', service: the-service}}}}"))?;
    let (send, requests) = mpsc::channel();
    // Serves the one request that it expects; a second one would find nobody and fail the push.
    thread::spawn(move || send.send(serve_one_token(&listener)));

    let image = spec("registry.example/team/app:1.0").assemble()?;
    let credentials = Some(Credentials {
        username: "user".into(),
        password: "pass".into(),
    });
    let pushed = push(
        &image,
        &registry.reference("team/app:1.0")?,
        &Options {
            credentials,
            ..Options::default()
        },
    )?;
    assert_eq!(pushed.uploaded, 3);

    let request = requests.recv_timeout(START_LIMIT)??;
    assert!(request.contains("service=the-service"), "{request}");
    assert!(
        request.contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush"),
        "{request}"
    );
    let basic = base64::engine::general_purpose::STANDARD.encode("user:pass");
    assert!(
        request
            .to_lowercase()
            .contains(&format!("authorization: basic {basic}").to_lowercase()),
        "{request}"
    );
    Ok(())
}

fn serve_one_token(listener: &TcpListener) -> std::io::Result<String> {
    let (mut stream, _) = listener.accept()?;
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request)? == 0 {
            break;
        }
    }
    let body = r#"{"token":"a-token"}"#;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(request)
}

/// Pulls into a file, which is left as it is when that fails.
fn pull_into(file: &Path, reference: &Reference) -> Result<Pulled, RegistryError> {
    let output = fs::File::create(file).map_err(RegistryError::Archive)?;
    let mut archive = ArchiveWriter::new(output).map_err(RegistryError::Archive)?;
    let pulled = pull(reference, &Options::default(), &mut archive, |_| Ok(()))?;
    archive.finish().map_err(RegistryError::Archive)?;
    Ok(pulled)
}

fn what_is_pulled_is_what_was_pushed() -> Result<(), Failed> {
    let registry = Registry::start("")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pulled.tar");
    let image = spec("registry.example/team/app:1.0").assemble()?;
    let target = registry.reference("team/app:1.0")?;
    push(&image, &target, &Options::default())?;

    let digest = image.manifest_digest();
    for pinned in [None, Some(digest.clone())] {
        let reference = Reference {
            digest: pinned,
            ..target.clone()
        };
        let pulled = pull_into(&file, &reference)?;
        assert_eq!((&pulled.digest, pulled.size), (&digest, image.layers_size()));
        let read = Image::read_archive(&file)?;
        assert!(read.manifest() == image.manifest());
        assert_eq!(read.reference.to_string(), target.to_string());
    }

    let absent = registry.reference(&format!("team/app@sha256:{}", "0".repeat(64)))?;
    let error = pull_into(&file, &absent);
    assert!(
        matches!(error, Err(RegistryError::Status { status: 404, .. })),
        "{error:?}"
    );
    Ok(())
}

fn a_download_that_is_cut_or_falsified_is_no_image() -> Result<(), Failed> {
    let registry = Registry::start("")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pulled.tar");
    let mut spec = spec("registry.example/team/app:1.0");
    // Nothing that compresses: the layer is longer than what passes before the cut.
    let mut noise = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    })
    .take(1 << 20)
    .collect();
    spec.layers = vec![Layer::new().file("/noise", bytes, 0o644)];
    let image = spec.assemble()?;
    let target = registry.reference("team/app:1.0")?;
    push(&image, &target, &Options::default())?;

    let cutting = cut_after(registry.address, 500_000)?;
    let error = pull_into(&file, &format!("{cutting}/team/app:1.0").parse()?);
    assert!(matches!(error, Err(RegistryError::Cut { .. })), "{error:?}");
    assert!(
        Image::read_archive(&file).is_err(),
        "half an archive passes for a whole one"
    );

    let layer: serde_json::Value = serde_json::from_slice(image.manifest())?;
    let digest = layer["layers"][0]["digest"].as_str().ok_or("no layer")?;
    let blob = registry.blob(digest);
    let mut bytes = fs::read(&blob)?;
    let right = bytes.clone();
    bytes[100_000] ^= 1;
    for (falsified, words) in [(&bytes[..], "digest"), (&right[..right.len() - 1], "bytes instead of")] {
        fs::write(&blob, falsified)?;
        let error = pull_into(&file, &target);
        let Err(error @ RegistryError::Content { .. }) = error else {
            return Err(format!("{words}: {error:?}").into());
        };
        assert!(error.to_string().contains(words), "{error}");
    }
    fs::write(&blob, right)?;
    pull_into(&file, &target)?;

    // A manifest that is another image's, under the digest that is asked for.
    let digest = image.manifest_digest().to_string();
    fs::write(registry.blob(&digest), "{}")?;
    let pinned = registry.reference(&format!("team/app@{digest}"))?;
    assert!(pull_into(&file, &pinned).is_err());
    Ok(())
}

/// A relay that ends each connection after so many bytes from the other end.
fn cut_after(address: SocketAddr, bytes: u64) -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?;
    // Lives as long as the test's process, like every thread that waits for connections.
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(address) else {
                return;
            };
            let (Ok(mut asks), Ok(mut asked)) = (client.try_clone(), server.try_clone()) else {
                return;
            };
            thread::spawn(move || std::io::copy(&mut asks, &mut asked));
            thread::spawn(move || {
                let copied = std::io::copy(&mut (&server).take(bytes), &mut &client);
                // Both ends see that it is over; they may have gone before.
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                copied
            });
        }
    });
    Ok(own)
}

fn several_that_were_pulled_are_read() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let registry = Registry::start("")?;
    let archive = folder.path().join("both.tar");
    let (mut names, mut manifests) = (Vec::new(), Vec::new());
    let mut writer = ArchiveWriter::new(fs::File::create(&archive)?)?;
    for (name, user) in [("team/one:1.0", "1"), ("team/other:1.0", "2")] {
        let mut spec = spec("x");
        spec.user = user.into();
        let image = spec.assemble()?;
        let target = registry.reference(name)?;
        push(&image, &target, &Options::default())?;
        pull(&target, &Options::default(), &mut writer, |_| Ok(()))?;
        manifests.push((target.to_string(), image.manifest().to_vec()));
        names.extend([target.to_string(), target.pinned(&image.manifest_digest())]);
    }
    writer.finish()?;

    let containerd = Containerd::start(folder.path())?;
    let file = archive.display().to_string();
    containerd.ctr(&["images", "import", "--snapshotter", "native", &file])?;
    let loaded = containerd.ctr(&["images", "list", "--quiet"])?;
    for name in names {
        assert!(loaded.lines().any(|line| line == name), "no {name} in:\n{loaded}");
    }
    for (name, manifest) in manifests {
        for kind in ["oci-archive", "docker-archive"] {
            let source = format!("{kind}:{file}:{name}");
            let config = run(Command::new("skopeo").args(["inspect", "--config", &source]))?;
            let user = if name.contains("one") { "1" } else { "2" };
            assert!(config.contains(&format!(r#""User": "{user}""#)), "{source}: {config}");
        }
        let raw = run(Command::new("skopeo").args(["inspect", "--raw", &format!("oci-archive:{file}:{name}")]))?;
        assert!(raw.as_bytes() == manifest, "{name}");
    }
    let checked = containerd.ctr(&["images", "check", "--snapshotter", "native"])?;
    assert_eq!(checked.matches("complete").count(), 4, "{checked}");
    Ok(())
}

fn registry_that_is_not_there() -> Result<(), Failed> {
    // Bound but not listened to: connections are refused, and nobody else can take the port meanwhile.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    let target: Reference = format!("{address}/team/app:1.0").parse()?;
    let Err(error) = push(&spec("x").assemble()?, &target, &Options::default()) else {
        return Err("nobody listens, and yet the push succeeded".into());
    };
    assert!(matches!(error, RegistryError::Transport { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    Ok(())
}

fn skopeo_agrees() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("app.tar");
    let written = spec("registry.example/team/app:1.0").write_archive(&archive)?;
    let image = Image::read_archive(&archive)?;

    let source = format!("oci-archive:{}:1.0", archive.display());
    let raw = run(Command::new("skopeo").args(["inspect", "--raw", &source]))?;
    assert!(raw.as_bytes() == image.manifest());
    let config = run(Command::new("skopeo").args(["inspect", "--config", &source]))?;
    assert!(
        config.contains(r#""User": "65532""#) && config.contains("/app"),
        "{config}"
    );

    // `docker load` reads the same file by its manifest.json.
    let docker =
        run(Command::new("skopeo").args(["inspect", "--config", &format!("docker-archive:{}", archive.display())]))?;
    assert!(docker.contains(r#""User": "65532""#), "{docker}");

    let registry = Registry::start("")?;
    let target = format!("docker://{}", registry.reference("team/app:1.0")?);
    run(Command::new("skopeo").args(["copy", "--dest-tls-verify=false", "--insecure-policy", &source, &target]))?;
    assert!(registry.manifest("team/app", &written.manifest_digest.to_string())? == image.manifest());
    Ok(())
}

/// A containerd of our own; its root, state and socket are in the test's folder.
struct Containerd {
    _process: Process,
    socket: PathBuf,
}

impl Containerd {
    fn start(folder: &Path) -> Result<Self, Failed> {
        let socket = folder.join("c.sock");
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt']\n\
             [grpc]\naddress = '{}'\n",
            at("root"),
            at("state"),
            socket.display()
        );
        fs::write(folder.join("config.toml"), config)?;
        let (process, log) = Process::start(
            Command::new("containerd")
                .arg("--config")
                .arg(folder.join("config.toml")),
        )?;
        log.wait_for("containerd successfully booted")?;
        Ok(Self {
            _process: process,
            socket,
        })
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String, Failed> {
        run(Command::new("ctr")
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "k8s.io"])
            .args(arguments))
    }
}

/// A registry of our own on a loopback port that the kernel chose.
struct Registry {
    _process: Process,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Registry {
    /// Starts one; `auth` is a part of its configuration (YAML).
    fn start(auth: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0', secret: s}}\n{auth}\n",
            folder.path().join("data").display()
        );
        fs::write(folder.path().join("config.yml"), config)?;
        let (process, log) = Process::start(
            Command::new("docker-registry")
                .arg("serve")
                .arg(folder.path().join("config.yml")),
        )?;
        let line = log.wait_for("listening on ")?;
        let address = line.split("listening on ").nth(1).unwrap_or_default();
        let end = address
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
            .unwrap_or(address.len());
        Ok(Self {
            _process: process,
            folder,
            address: address[..end].parse()?,
        })
    }

    fn reference(&self, repository: &str) -> Result<Reference, Failed> {
        Ok(format!("{}/{repository}", self.address).parse()?)
    }

    /// Where the registry keeps a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn manifest(&self, repository: &str, version: &str) -> Result<Vec<u8>, Failed> {
        let url = format!("http://{}/v2/{repository}/manifests/{version}", self.address);
        let mut response = ureq::get(url)
            .header("Accept", "application/vnd.oci.image.manifest.v1+json")
            .call()?;
        Ok(response.body_mut().read_to_vec()?)
    }
}

/// A program that ends with the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Result<(Self, Log), Failed> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        Ok((Self(child), Log::follow(stderr)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then both calls fail, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a program's stderr.
struct Log(mpsc::Receiver<String>);

impl Log {
    /// Reads until the program ends, so that it never blocks on a full pipe.
    fn follow(stderr: ChildStderr) -> Self {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody waits for lines any more once the program is up.
                let _ = send.send(line);
            }
        });
        Self(receive)
    }

    fn wait_for(&self, text: &str) -> Result<String, Failed> {
        let deadline = Instant::now() + START_LIMIT;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => seen = seen + &line + "\n",
                Err(_) => return Err(format!("no line with '{text}' came:\n{seen}").into()),
            }
        }
    }
}

fn run(command: &mut Command) -> Result<String, Failed> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!(
            "{command:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
