//! The rig's certificate authority, and every certificate a cluster needs. Made anew per rig; P-256 throughout.

use crate::{Error, Result, error::Context};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const AUTHORITY_NAME: &str = "netcheck-rig-ca";

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The certificate authority of one rig.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new one in `directory`, and the key that signs service account tokens.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).context(format!("create {}", directory.display()))?;
        let key = new_key(AUTHORITY_NAME)?;
        let certificate = authority_parameters()
            .self_signed(&key)
            .map_err(|cause| failed(AUTHORITY_NAME, cause))?;
        write(&directory.join("ca.crt"), &certificate.pem(), 0o644)?;
        write(&directory.join("ca.key"), &key.serialize_pem(), 0o600)?;
        let tokens = new_key("service accounts")?;
        write(&directory.join("service-accounts.key"), &tokens.serialize_pem(), 0o600)?;
        write(&directory.join("service-accounts.pub"), &tokens.public_key_pem(), 0o644)?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(authority_parameters(), key),
        })
    }

    /// Opens the one in `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("ca.key");
        let pem = fs::read_to_string(&path).context(format!("read {}", path.display()))?;
        let key = KeyPair::from_pem(&pem).map_err(|cause| failed(AUTHORITY_NAME, cause))?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(authority_parameters(), key),
        })
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    pub fn service_account_key(&self) -> PathBuf {
        self.directory.join("service-accounts.key")
    }

    pub fn service_account_public_key(&self) -> PathBuf {
        self.directory.join("service-accounts.pub")
    }

    /// A client certificate: the API server takes the user from the common name and the group from the organisation (of
    /// which rcgen writes one at most).
    pub fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<Pair> {
        let mut parameters = parameters(user, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, user, &parameters)
    }

    /// A serving certificate for these names and addresses.
    pub fn server(&self, file: &str, user: &str, names: &[&str], addresses: &[IpAddr]) -> Result<Pair> {
        let mut parameters = parameters(user, None);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = (*name).try_into().map_err(|cause| failed(name, cause))?;
            parameters.subject_alt_names.push(SanType::DnsName(name));
        }
        parameters
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        self.issue(file, user, &parameters)
    }

    fn issue(&self, file: &str, subject: &str, parameters: &CertificateParams) -> Result<Pair> {
        let key = new_key(subject)?;
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .map_err(|cause| failed(subject, cause))?;
        let pair = Pair {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        write(&pair.certificate, &certificate.pem(), 0o644)?;
        write(&pair.key, &key.serialize_pem(), 0o600)?;
        Ok(pair)
    }
}

fn authority_parameters() -> CertificateParams {
    let mut parameters = parameters(AUTHORITY_NAME, None);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn parameters(name: &str, organisation: Option<&str>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    // Fixed and long: no test of ours depends on a cluster's age.
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2120, 1, 1);
    parameters.distinguished_name = DistinguishedName::new();
    if let Some(organisation) = organisation {
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
    }
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters
}

fn new_key(subject: &str) -> Result<KeyPair> {
    KeyPair::generate().map_err(|cause| failed(subject, cause))
}

fn failed(subject: &str, cause: rcgen::Error) -> Error {
    Error::Certificate {
        subject: subject.into(),
        cause,
    }
}

fn write(path: &Path, content: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(path).context(format!("open {}", path.display()))?;
    file.write_all(content.as_bytes())
        .context(format!("write {}", path.display()))
}
