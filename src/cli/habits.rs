//! Letters that mean something else in ksniff, whose users come here by habit: one line says what ours is.

use std::ffi::OsString;

/// ksniff's letter, what it means there, and how it is written here.
const KSNIFF: [(&str, &str, &str); 5] = [
    ("-f", "the filter", "-- FILTER, at the end"),
    ("-o", "the output file", "-w FILE, or -w - for stdout"),
    ("-p", "a privileged pod", "nothing: --via node is tried first"),
    (
        "-l",
        "a local tcpdump",
        "nothing: no tcpdump is needed; -l is a label selector",
    ),
    ("-r", "the tcpdump's path in the pod", "nothing: no tcpdump is needed"),
];

/// What to say to a command line of `capture` that could not be understood.
pub fn hint(arguments: &[OsString]) -> Option<String> {
    let words: Vec<_> = arguments.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    if words.first().is_none_or(|verb| verb != "capture") {
        return None;
    }
    let mut before_filter = words.iter().take_while(|word| *word != "--");
    let (letter, meaning, ours) = before_filter.find_map(|word| KSNIFF.iter().find(|(letter, ..)| letter == word))?;
    Some(format!("ksniff's {letter} is {meaning}; here that is {ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_for(line: &str) -> Option<String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        hint(&words)
    }

    #[test]
    fn a_habit_of_ksniffs_is_answered_in_one_line() {
        let hint = hint_for("kubectl-netcheck capture web -f port_80 -o web.pcap").unwrap();
        assert_eq!(hint, "ksniff's -f is the filter; here that is -- FILTER, at the end");
        assert!(
            hint_for("kubectl-netcheck capture web -o web.pcap")
                .unwrap()
                .contains("-w FILE")
        );
        assert_eq!(hint_for("kubectl-netcheck capture web -- -f"), None);
        assert_eq!(hint_for("kubectl-netcheck matrix -f x"), None);
    }
}
