//! Runs the plugin with an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kubectl-netcheck"))
}

/// What a run left behind.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A home of its own, so that nothing of the machine's configuration gets in.
pub struct Plugin {
    pub home: TempDir,
    environment: Vec<(String, String)>,
}

impl Plugin {
    pub fn new() -> Self {
        Self {
            home: TempDir::new().unwrap(),
            environment: Vec::new(),
        }
    }

    /// With a kubeconfig whose current context is `lab`, at this server, as a user with this YAML.
    pub fn with_server(server: &str, user: &str) -> Self {
        let plugin = Self::new();
        plugin.write_kubeconfig(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: jane, namespace: shop}}}}]\n\
             clusters: [{{name: lab, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: jane, user: {user}}}]\n"
        ));
        plugin
    }

    pub fn write_kubeconfig(&self, text: &str) -> PathBuf {
        let folder = self.home.path().join(".kube");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("config");
        fs::write(&path, text).unwrap();
        path
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("COLUMNS", "100")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().unwrap();
        Outcome {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs the main verb as far as its first look at the cluster.
    pub fn look(&self, more: &[&str]) -> Outcome {
        self.run(&[&["matrix", "--dry-run"], more].concat())
    }
}

impl Outcome {
    /// One line of error, and at most one of hint; nothing on stdout.
    pub fn assert_fails(&self, code: i32, error: &str, hint: &str) {
        assert_eq!(self.code, code, "stderr: {}", self.stderr);
        assert_eq!(self.stdout, "");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.contains(" s)")).collect();
        let (first, rest) = lines.split_first().expect("a message");
        assert!(
            first.starts_with("error: ") && first.contains(error),
            "{error:?} is not in: {first}"
        );
        match rest {
            [] => assert_eq!(hint, "", "no hint in: {}", self.stderr),
            [line] => assert!(
                line.starts_with("hint: ") && !hint.is_empty() && line.contains(hint),
                "{hint:?} is not in: {line}"
            ),
            more => panic!("more than an error and a hint: {more:?}"),
        }
    }
}
