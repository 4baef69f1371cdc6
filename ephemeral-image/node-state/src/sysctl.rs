//! Kernel parameters of a network namespace: what is below `/proc/sys/net`.
//!
//! The files there show the namespace of the thread that opens them (`net_ctl_root_lookup()`, net/sysctl_net.c), so these functions are for
//! use inside [`within`](crate::within).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
};

/// The file of a parameter, written as for sysctl(8): `net.ipv4.conf.eth0/1.forwarding` is that of the device `eth0.1`.
fn path(key: &str) -> io::Result<PathBuf> {
    let swapped = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let file: String = key.chars().map(swapped).collect();
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    if !file.starts_with("net/") || !file.split('/').all(is_plain) {
        let wrong = "not a kernel parameter of a network namespace, such as net.ipv4.ip_forward";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
    }
    Ok(PathBuf::from("/proc/sys").join(file))
}

/// A parameter of the calling thread's network namespace, without the line's end.
pub fn read(key: &str) -> io::Result<String> {
    let text = fs::read_to_string(path(key)?)?;
    Ok(text.trim_end().to_owned())
}

/// Several parameters; one that is not there (its device is gone, the kernel has no IPv6) is left out.
pub fn read_all<'a>(keys: impl IntoIterator<Item = &'a str>) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for key in keys {
        match read(key) {
            Ok(value) => drop(found.insert(key.to_owned(), value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{key}: {error}"))),
        }
    }
    Ok(found)
}

/// Writes a parameter of the calling thread's network namespace.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    let mut file = File::options().write(true).open(path(key)?)?;
    // In one call: the kernel takes each for a value of its own.
    file.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_dot_in_a_devices_name_is_a_slash() {
        let file = path("net.ipv4.conf.eth0/1.forwarding").unwrap();
        assert_eq!(file.to_str(), Some("/proc/sys/net/ipv4/conf/eth0.1/forwarding"));
    }

    #[test]
    fn nothing_but_the_networks_parameters_is_reached() {
        for key in [
            "kernel.panic",
            "net",
            "net.",
            "net.//.kernel.panic",
            "net..x",
            "/net.x",
            "net.ipv4.",
        ] {
            assert!(path(key).is_err(), "{key}");
        }
    }
}
