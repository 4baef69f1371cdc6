//! The command line as a capture file may show it: files are handed on, and what opens a cluster must not be in them. Pure.

/// Flags whose value is a secret.
const SECRET: [&str; 2] = ["--token", "--password"];
/// What stands for it.
const HIDDEN: &str = "***";

/// The words after the program's name, as one line.
pub fn shown(words: impl IntoIterator<Item = String>) -> String {
    let mut shown = vec!["kubectl netcheck".to_owned()];
    let mut hide_next = false;
    for word in words {
        let flag = word.split_once('=').map(|(flag, _)| flag.to_owned());
        shown.push(match flag {
            _ if hide_next => HIDDEN.to_owned(),
            Some(flag) if SECRET.contains(&flag.as_str()) => format!("{flag}={HIDDEN}"),
            _ => word.clone(),
        });
        hide_next = !hide_next && SECRET.contains(&word.as_str());
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_files() {
        let line = "capture web --token s3cret --password=hunter2 -n shop --token=x -- host 10.0.0.1";
        assert_eq!(
            shown(line.split(' ').map(str::to_owned)),
            "kubectl netcheck capture web --token *** --password=*** -n shop --token=*** -- host 10.0.0.1"
        );
    }
}
