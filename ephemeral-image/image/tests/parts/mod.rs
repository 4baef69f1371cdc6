//! What tests of images share.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use libtest_mimic::Failed;
use netcheck_image::content::{self, Packages, Program};
use netcheck_image::debian::{self, Cache};
use netcheck_image::lock;
use netcheck_image::recipe::Recipe;
use tempfile::TempDir;

/// An image's files, unpacked as a runtime does it.
pub struct Root {
    _temporary: TempDir,
    /// Where they are, as long as this value lives.
    pub folder: PathBuf,
}

/// Unpacks an image, with the tiny program for each of its own.
pub fn unpack(recipe: &Recipe) -> Result<Root, Failed> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let locked = lock::parse(&fs::read_to_string(sources.join(recipe.base.lock_file))?)?;
    let cache = Cache::new(debian::default_cache_folder().ok_or("neither HOME nor XDG_CACHE_HOME is set")?);
    let below = Packages::fetch(recipe.base, &cache, &locked, "amd64")?.layer()?;
    let programs = recipe.programs.iter().map(|_| Program {
        bytes: tiny_program(),
        architecture: "amd64",
    });
    let temporary = tempfile::tempdir()?;
    // Anybody may run in a container, and enter its root.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755))?;
    let folder = temporary.path().join("root");
    for layer in [below, content::program_layer(recipe, programs.collect())] {
        let tar = layer.to_tar()?;
        let mut archive = tar::Archive::new(tar.as_slice());
        archive.set_preserve_permissions(true);
        archive.unpack(&folder)?;
    }
    Ok(Root {
        _temporary: temporary,
        folder,
    })
}

/// What a program printed, if it succeeded.
pub fn succeeded(what: &str, output: &Output) -> Result<String, Failed> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(format!(
            "{what}: {}: {}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        )
        .into());
    }
    Ok(text(&output.stdout))
}

/// A static program for x86-64 Linux that does nothing but `exit(0)`: an ELF header, one loadable segment, nine bytes of code.
pub fn tiny_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // mov eax, 60 (exit); xor edi, edi; syscall
    const CODE: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| program.extend_from_slice(bytes);
    put(&2u16.to_le_bytes()); // e_type: executable
    put(&62u16.to_le_bytes()); // e_machine: x86-64
    put(&1u32.to_le_bytes()); // e_version
    put(&(BASE + HEADERS).to_le_bytes()); // e_entry
    put(&64u64.to_le_bytes()); // e_phoff
    put(&0u64.to_le_bytes()); // e_shoff: no sections
    put(&0u32.to_le_bytes()); // e_flags
    for half in [64u16, 56, 1, 64, 0, 0] {
        put(&half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    }
    put(&1u32.to_le_bytes()); // p_type: load
    put(&5u32.to_le_bytes()); // p_flags: read, execute
    let size = HEADERS + CODE.len() as u64;
    for word in [0, BASE, BASE, size, size, 0x1000] {
        put(&word.to_le_bytes()); // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    }
    put(&CODE);
    program
}
