//! `resolv.conf` as a process sees it (resolv.conf(5)).

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::Path,
};

/// Longest file that is read, in bytes; the rest is not looked at. glibc itself has no limit, real files have a few lines.
const MAX_FILE: u64 = 64 << 10;
/// glibc uses no more name servers than this (`MAXNS`).
const MAX_NAMESERVERS: usize = 3;
/// Kubernetes allows 32 search domains; more are not kept.
const MAX_SEARCH: usize = 32;
/// glibc's upper bound of `ndots` (`RES_MAXNDOTS`).
const MAX_NDOTS: u8 = 15;

/// `resolv.conf`, as far as it decides where a query goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers in their order.
    pub nameservers: Vec<IpAddr>,
    /// Search list.
    pub search: Vec<String>,
    /// `options ndots:n`, 1 if it is not set.
    pub ndots: u8,
}

/// The resolver's configuration below `root`, `/` for one's own or `/proc/PID/root` for a process's.
///
/// The file belongs to somebody else: links are followed inside `root` only, and a FIFO or device is not waited for.
pub fn read(root: &Path) -> io::Result<Resolver> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(root, "etc/resolv.conf", flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "resolv.conf is not a file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// Reads the file's text as glibc does: unknown lines are ignored, the last `search` or `domain` wins.
pub fn parse(text: &str) -> Resolver {
    let mut resolver = Resolver {
        nameservers: Vec::new(),
        search: Vec::new(),
        ndots: 1,
    };
    for line in text.lines() {
        // glibc takes keywords at the start of a line only, and comments likewise.
        let mut words = line.split_ascii_whitespace();
        if line.starts_with(|first: char| first.is_ascii_whitespace()) {
            continue;
        }
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(parse_nameserver);
                if resolver.nameservers.len() < MAX_NAMESERVERS {
                    resolver.nameservers.extend(address);
                }
            }
            Some("search" | "domain") => {
                resolver.search = words
                    .filter(|word| is_plain(word))
                    .take(MAX_SEARCH)
                    .map(str::to_owned)
                    .collect();
            }
            Some("options") => {
                let values = words.filter_map(|word| word.strip_prefix("ndots:"));
                if let Some(ndots) = values.filter_map(|value| value.parse::<u64>().ok()).next_back() {
                    resolver.ndots = u8::try_from(ndots).unwrap_or(MAX_NDOTS).min(MAX_NDOTS);
                }
            }
            _ => {}
        }
    }
    resolver
}

/// An address, its zone (`fe80::1%eth0`) left out.
fn parse_nameserver(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

/// Whether a search domain consists of what a domain name may hold, so that it can be printed.
fn is_plain(word: &str) -> bool {
    word.len() <= 255 && word.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pods_file() {
        let text = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n";
        let expected = Resolver {
            nameservers: vec!["10.96.0.10".parse().unwrap(), "fd00::a".parse().unwrap()],
            search: ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]
                .map(str::to_owned)
                .into(),
            ndots: 5,
        };
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn an_empty_file_has_the_defaults_of_the_manual() {
        let expected = Resolver {
            nameservers: vec![],
            search: vec![],
            ndots: 1,
        };
        assert_eq!(parse("# nothing\n; here\n"), expected);
    }

    #[test]
    fn the_last_search_line_wins_and_ndots_is_capped() {
        let resolver = parse("domain a\nsearch b c\noptions debug ndots:99 rotate\n");
        assert_eq!(
            (resolver.search, resolver.ndots),
            (vec!["b".to_owned(), "c".to_owned()], 15)
        );
    }

    #[test]
    fn a_fourth_name_server_is_not_used() {
        let resolver = parse(
            "nameserver 1.1.1.1\nnameserver bad\nnameserver 2.2.2.2\nnameserver fe80::1%eth0\nnameserver 4.4.4.4",
        );
        let expected: Vec<IpAddr> = ["1.1.1.1", "2.2.2.2", "fe80::1"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(resolver.nameservers, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(nameserver|search|options|ndots:|[ -~\n\t\u{1b}]){0,40}") {
            let resolver = parse(&text);
            prop_assert!(resolver.nameservers.len() <= MAX_NAMESERVERS && resolver.ndots <= MAX_NDOTS);
            prop_assert!(resolver.search.iter().all(|domain| domain.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }
}
