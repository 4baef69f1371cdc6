//! Completion as kubectl asks plugins for it: kubectl runs `kubectl_complete-netcheck` with the words after the plugin's name, the last
//! one being the (possibly empty) word under the cursor, and reads one candidate per line, `value<TAB>description`, then `:` and a
//! directive of Cobra's. (`k8s.io/kubectl/pkg/cmd/plugin_completion.go`, kubectl 1.26 or newer)

mod live;

use std::{ffi::OsString, path::Path};

use clap::{Command, CommandFactory as _};
use clap_complete::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};

use super::Cli;
use crate::{cluster, output::safe};

/// Cobra's `ShellCompDirectiveNoFileComp`: do not offer file names beside the candidates.
const NO_FILES: &str = ":4\n";
/// Cobra's `ShellCompDirectiveDefault`: let the shell offer file names.
const FILES: &str = ":0\n";

/// Whether the program was started as kubectl's completer, by a link of that name.
pub fn is_completer(program: &Path) -> bool {
    program
        .file_stem()
        .is_some_and(|name| name == "kubectl_complete-netcheck")
}

/// The lines that kubectl wants for these words.
pub fn answer(words: &[OsString]) -> String {
    let mut command = with_candidates(Cli::command());
    let mut line = vec![OsString::from("kubectl-netcheck")];
    line.extend_from_slice(words);
    if words.is_empty() {
        line.push(OsString::new());
    }
    let cursor = line.len() - 1;
    // A word that cannot be completed gets no candidates; TAB has no place for messages.
    let candidates = clap_complete::engine::complete(&mut command, line, cursor, None).unwrap_or_default();
    let mut lines: String = candidates
        .iter()
        .filter(|candidate| !candidate.is_hide_set())
        .map(|candidate| {
            let value = safe(&candidate.get_value().to_string_lossy());
            match candidate.get_help() {
                Some(help) => format!("{value}\t{}\n", safe(&help.to_string())),
                None => format!("{value}\n"),
            }
        })
        .collect();
    lines.push_str(if lines.is_empty() { FILES } else { NO_FILES });
    lines
}

/// Adds what only the cluster or the kubeconfig knows to the arguments that name it, in every verb.
fn with_candidates(command: Command) -> Command {
    command.mut_subcommands(|verb| {
        with_candidates(verb).mut_args(|argument| match argument.get_id().as_str() {
            "namespace" => argument.add(ArgValueCompleter::new(live::namespaces)),
            "context" => argument.add(ArgValueCandidates::new(contexts)),
            "nodes" => argument.add(ArgValueCompleter::new(live::nodes)),
            "targets" | "to" => argument.add(ArgValueCompleter::new(live::targets)),
            _ => argument,
        })
    })
}

/// Contexts of the kubeconfig, for `--context`. No file or a broken one: no candidates.
fn contexts() -> Vec<CompletionCandidate> {
    cluster::contexts().into_iter().map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(words: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        answer(&words)
            .lines()
            .filter(|line| !line.starts_with(':'))
            .map(|line| line.split('\t').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn verbs_flags_and_values_are_offered() {
        assert!(values(&[""]).contains(&"explain".to_owned()));
        assert_eq!(values(&["expl"]), ["explain"]);
        assert!(values(&["version", "--kubec"]).contains(&"--kubeconfig".to_owned()));
        assert!(values(&["version", "-o", "j"]).contains(&"json".to_owned()));
        assert!(!values(&[""]).iter().any(|verb| verb.starts_with("__")));
    }

    #[test]
    fn findings_are_offered_to_explain() {
        assert!(values(&["explain", "matrix-ref"]).contains(&"matrix-refused".to_owned()));
    }

    #[test]
    fn the_link_is_recognised_by_its_name() {
        assert!(is_completer(Path::new("/usr/bin/kubectl_complete-netcheck")));
        assert!(!is_completer(Path::new("/usr/bin/kubectl-netcheck")));
    }
}
