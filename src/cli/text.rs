//! The prose of the help pages.

pub(super) const ABOUT: &str = "Diagnoses Kubernetes pod networking";

pub(super) const LONG_ABOUT: &str = "\
Diagnoses Kubernetes pod networking, on any cluster, with proof.

Results can be trusted: both ends of a connection are watched, a cut stream is never a success, an unreachable node is a row and not an abort, and nothing is left behind.";

pub(super) const AFTER_HELP: &str = "\
Flags come after the verb: kubectl netcheck VERB -n NAMESPACE …
'kubectl netcheck VERB --help' has examples, 'kubectl netcheck options' lists kubectl's own flags.";

pub(super) const AFTER_LONG_HELP: &str = "\
Exit codes, the same for every verb:
    0  all held
    1  checks ran and at least one failed
    2  usage, or a target that does not exist
    3  could not tell: no permission, agent not started, stream cut, timeout
  130  interrupted

Results go to stdout, everything else to stderr. Colour only repeats what words say; NO_COLOR, CLICOLOR_FORCE and --color are respected.

Flags come after the verb: kubectl netcheck VERB -n NAMESPACE …
'kubectl netcheck VERB --help' has examples, 'kubectl netcheck options' lists kubectl's own flags.";
