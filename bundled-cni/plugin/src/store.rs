//! The plugin's part of the state directory: who has which address, and what is known of each attachment (SPEC.md 7.3).
//!
//! Reading needs no lock, since files are whole or not there. Whoever changes something holds [`Locked`].

use crate::{
    Code, Failure,
    attachment::Attachment,
    disk::{self, DiskError},
    node::{self, NodeError},
    range::Range,
    steps::Step,
};
use netcheck_cni_intent::{AttachmentKey, publish::NodeJson};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long between two looks at it: whoever holds it is mostly done in less.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// In debug builds, another patience, in milliseconds.
pub const PATIENCE_VARIABLE: &str = "NETCHECK_CNI_LOCK_MS";

/// A state directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    ipam: PathBuf,
    links: PathBuf,
    attachments: PathBuf,
}

/// The state directory, held against all other processes until dropped.
#[derive(Debug)]
pub struct Locked<'a> {
    store: &'a Store,
    _file: File,
}

/// Addresses given out, and to whom: `None` where the target is no key, or it is no link.
pub type Links = BTreeMap<IpAddr, Option<AttachmentKey>>;

/// What the file of an attachment says; if it is cut or foreign, what is wrong with it.
pub type Recorded = Result<Attachment, String>;

impl Store {
    /// The state directory at this path; it need not be there.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ipam: root.join("ipam"),
            links: root.join("ipam/ip"),
            attachments: root.join("att"),
        }
    }

    /// What the daemon says of the node.
    pub fn node(&self) -> Result<NodeJson, NodeError> {
        node::read(&self.root)
    }

    /// Waits for the lock, up to 10 s, and makes the folders where they are missing.
    ///
    /// # Errors
    /// [`Code::AGAIN`] if another process holds it all that time, [`Code::IO`].
    pub fn lock(&self) -> Result<Locked<'_>, Failure> {
        disk::make_folder(&self.links)?;
        disk::make_folder(&self.attachments)?;
        let path = self.ipam.join("lock");
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(DiskError::at("open", &path))?;
        let patience = patience();
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Locked {
                        store: self,
                        _file: file,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(DiskError::at("lock", &path)(source).into()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    let (path, patience) = (path.display(), patience.as_secs_f32());
                    return Err(Failure::new(
                        Code::AGAIN,
                        format!("{path} was held by another process for {patience} s; see who with `lsof {path}`"),
                    ));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Whether there is nothing that could be removed: no folder of addresses, none of attachments.
    pub fn is_gone(&self) -> bool {
        !self.links.exists() && !self.attachments.exists()
    }

    /// All addresses that are given out. Files of other names than addresses are left out.
    pub fn links(&self) -> Result<Links, DiskError> {
        let mut links = Links::new();
        for name in disk::names(&self.links)? {
            let Ok(ip) = name.parse() else { continue };
            links.insert(ip, self.owner(ip)?);
        }
        Ok(links)
    }

    /// To whom an address is given.
    pub fn owner(&self, ip: IpAddr) -> Result<Option<AttachmentKey>, DiskError> {
        let path = self.link(ip);
        match fs::read_link(&path) {
            Ok(target) => Ok(target.to_str().and_then(|target| target.parse().ok())),
            // Gone since, or not a link (EINVAL).
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
            Err(error) => Err(DiskError::at("read link", &path)(error)),
        }
    }

    /// What is known of an attachment; `None` if there is no file.
    pub fn attachment(&self, key: &AttachmentKey) -> Result<Option<Recorded>, DiskError> {
        let content = disk::read(&self.attachments.join(key.to_string()))?;
        Ok(content.map(|content| Attachment::parse(key, &content)))
    }

    /// All attachments that have a file. Files of other names than keys are left out.
    pub fn attachments(&self) -> Result<BTreeMap<AttachmentKey, Recorded>, DiskError> {
        let mut found = BTreeMap::new();
        for name in disk::names(&self.attachments)? {
            let Ok(key) = name.parse() else { continue };
            if let Some(recorded) = self.attachment(&key)? {
                found.insert(key, recorded);
            }
        }
        Ok(found)
    }

    /// Attachments that have a file, an address, or both.
    pub fn keys(&self) -> Result<BTreeSet<AttachmentKey>, DiskError> {
        let files = disk::names(&self.attachments)?;
        let mut keys: BTreeSet<AttachmentKey> = files.iter().filter_map(|name| name.parse().ok()).collect();
        keys.extend(self.links()?.into_values().flatten());
        Ok(keys)
    }

    /// Folders in which files are written.
    pub(crate) fn folders_with_files(&self) -> [&Path; 2] {
        [&self.ipam, &self.attachments]
    }

    /// The link that gives an address out.
    pub fn link(&self, ip: IpAddr) -> PathBuf {
        self.links.join(ip.to_string())
    }
}

impl Locked<'_> {
    pub(crate) fn store(&self) -> &Store {
        self.store
    }

    /// Gives an address of each range to an attachment: those that are asked for, else the next free ones. What it had before, left by an
    /// ADD that died, is released first. Addresses in `in_use` are passed over.
    ///
    /// # Errors
    /// [`Code::AGAIN`] if a range is exhausted or an address that is asked for is taken, [`Code::CONFIG`] if that is in no range,
    /// [`Code::UNSUPPORTED`] if its family has no range, [`Code::IO`]. Nothing is reserved then.
    pub fn reserve(
        &self,
        key: &AttachmentKey,
        ranges: &[Range],
        wanted: &[IpAddr],
        in_use: &BTreeSet<IpAddr>,
    ) -> Result<Vec<IpAddr>, Failure> {
        check_wanted(ranges, wanted)?;
        let mut links = self.store.links()?;
        let left: Vec<IpAddr> = links
            .iter()
            .filter_map(|(ip, owner)| (owner.as_ref() == Some(key)).then_some(*ip))
            .collect();
        for ip in left {
            disk::remove(&self.store.link(ip))?;
            links.remove(&ip);
        }
        let mut reserved = Vec::new();
        let mut give = || {
            for range in ranges {
                let asked = wanted.iter().find(|ip| range.is_of_family(**ip));
                let ip = match asked {
                    Some(ip) => self.take(key, *ip, &links, in_use)?,
                    None => self.take_next(key, *range, &links, in_use)?,
                };
                reserved.push(ip);
                Step::AddOneLink.done();
                disk::write_hint(&self.store.ipam, range.cursor_file(), ip.to_string().as_bytes())?;
            }
            Ok(())
        };
        match give() {
            Ok(()) => Ok(reserved),
            Err(failure) => {
                let failure: Failure = failure;
                match self.release(key, Some(&reserved)) {
                    Ok(()) => Err(failure),
                    Err(undo) => Err(failure.and(&undo.into())),
                }
            }
        }
    }

    fn take(
        &self,
        key: &AttachmentKey,
        ip: IpAddr,
        links: &Links,
        in_use: &BTreeSet<IpAddr>,
    ) -> Result<IpAddr, Failure> {
        if !in_use.contains(&ip) && !links.contains_key(&ip) && self.try_link(key, ip)? {
            return Ok(ip);
        }
        let owner = match links.get(&ip) {
            Some(Some(owner)) => owner.to_string(),
            _ => "someone unknown".to_owned(),
        };
        let what = format!("the address {ip} that is asked for is taken by {owner}; ask for another one");
        Err(Failure::new(Code::AGAIN, what))
    }

    fn take_next(
        &self,
        key: &AttachmentKey,
        range: Range,
        links: &Links,
        in_use: &BTreeSet<IpAddr>,
    ) -> Result<IpAddr, Failure> {
        let cursor = disk::read(&self.store.ipam.join(range.cursor_file()))?;
        let cursor = cursor.and_then(|text| str::from_utf8(&text).ok()?.trim().parse().ok());
        for ip in range.after(cursor) {
            if !links.contains_key(&ip) && !in_use.contains(&ip) && self.try_link(key, ip)? {
                return Ok(ip);
            }
        }
        let folder = self.store.links.display();
        let what = format!("no address is free in the node's podCIDR; {folder} shows who has which");
        Err(Failure::new(Code::AGAIN, what))
    }

    /// Reservation and owner in one step; false if the name is there already.
    fn try_link(&self, key: &AttachmentKey, ip: IpAddr) -> Result<bool, DiskError> {
        let path = self.store.link(ip);
        match symlink(key.to_string(), &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(DiskError::at("make link", &path)(error)),
        }
    }

    /// Releases addresses of an attachment: these, or all that are found to be its own. Those of others are left alone.
    pub fn release(&self, key: &AttachmentKey, ips: Option<&[IpAddr]>) -> Result<(), DiskError> {
        let found: Vec<IpAddr>;
        let ips = if let Some(ips) = ips {
            ips
        } else {
            found = self.store.links()?.into_keys().collect();
            &found
        };
        for ip in ips {
            if self.store.owner(*ip)?.as_ref() == Some(key) {
                disk::remove(&self.store.link(*ip))?;
                Step::DelOneLink.done();
            }
        }
        Ok(())
    }

    /// Writes down an attachment, in the place of what was known of it.
    pub fn record(&self, attachment: &Attachment) -> Result<(), Failure> {
        let content = serde_json::to_vec(attachment).map_err(|error| Failure::new(Code::BUG, error))?;
        let name = attachment.key().to_string();
        Ok(disk::write_whole(&self.store.attachments, &name, &content)?)
    }

    /// Removes the file of an attachment.
    pub fn forget(&self, key: &AttachmentKey) -> Result<(), DiskError> {
        disk::remove(&self.store.attachments.join(key.to_string()))
    }
}

fn check_wanted(ranges: &[Range], wanted: &[IpAddr]) -> Result<(), Failure> {
    for (place, ip) in wanted.iter().enumerate() {
        let Some(range) = ranges.iter().find(|range| range.is_of_family(*ip)) else {
            let what = format!("addresses that are asked for: this node has no podCIDR of the family of {ip}");
            return Err(Failure::new(Code::UNSUPPORTED, what));
        };
        if !range.contains(*ip) {
            let what = format!("addresses that are asked for: {ip} is none that pods of this node can have");
            return Err(Failure::new(Code::CONFIG, what));
        }
        if wanted[..place].iter().any(|other| range.is_of_family(*other)) {
            let what = format!("addresses that are asked for: {ip} is the second of its family; a pod has one of each");
            return Err(Failure::new(Code::UNSUPPORTED, what));
        }
    }
    Ok(())
}

fn patience() -> Duration {
    #[cfg(debug_assertions)]
    if let Some(shorter) = std::env::var(PATIENCE_VARIABLE).ok().and_then(|text| text.parse().ok()) {
        return Duration::from_millis(shorter);
    }
    PATIENCE
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
