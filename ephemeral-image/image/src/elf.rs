//! What an ELF file asks the dynamic loader for (System V ABI, "Dynamic Section").

use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Architecture, Endianness, Object as _};

/// What a program or library needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The program interpreter; libraries and static programs have none.
    pub interpreter: Option<String>,
    /// Names of shared libraries.
    pub libraries: Vec<String>,
}

/// Does the content start as an ELF file does?
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Reads what a 64-bit ELF file needs; the error says what is wrong with the file.
pub fn needs(bytes: &[u8]) -> Result<Needs, String> {
    read(bytes).map_err(|error| error.to_string())
}

fn read(bytes: &[u8]) -> object::Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let mut needs = Needs::default();
    for segment in segments {
        if segment.p_type(endian) == PT_INTERP {
            let path = segment.data(endian, bytes).unwrap_or_default();
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            needs.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, bytes)?;
    if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries {
            if entry.tag(endian) == DT_NEEDED {
                let name = entry.string(endian, strings)?;
                needs.libraries.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Ok(needs)
}

/// The architecture of a program, by Debian's and Go's name, where both have the same.
pub fn architecture(bytes: &[u8]) -> Option<&'static str> {
    match object::File::parse(bytes).ok()?.architecture() {
        Architecture::X86_64 => Some("amd64"),
        Architecture::Aarch64 => Some("arm64"),
        _ => None,
    }
}
