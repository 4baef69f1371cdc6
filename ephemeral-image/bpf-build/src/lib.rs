//! Compiles eBPF programs from a build script: clang for the instructions, and `bpftool gen object` to leave debugging information behind.

#![allow(clippy::print_stdout, reason = "so does a build script talk to cargo")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles `source` to `programs.o` in cargo's folder for what is built; `headers` are what it includes of ours. A failure ends the build and says why.
pub fn compile(source: &str, headers: &[&str]) {
    for file in headers.iter().chain([&source]) {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return fail("OUT_DIR is not set: run by cargo only");
    };
    let compiled = out.join("compiled.o");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").unwrap_or_default();
    let target = if endian == "big" { "bpfeb" } else { "bpfel" };
    let mut command = Command::new(clang);
    // v2 of the instruction set is of Linux 4.14; BTF needs -g.
    command.args([
        "-target", target, "-mcpu=v2", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
    ]);
    // BTF tells where the source was, and what is built must not differ by that.
    command.arg("-fdebug-compilation-dir=.");
    // <asm/types.h> is in a folder of the architecture, of which clang knows nothing for this target.
    if let Some(folder) = architecture_headers() {
        command.arg("-idirafter").arg(folder);
    }
    command.args(["-c", source, "-o"]).arg(&compiled);
    run(command, "install clang and libbpf-dev");

    let linked = out.join("programs.o");
    let administrators = Path::new("/usr/sbin/bpftool");
    let bpftool = if administrators.exists() {
        administrators
    } else {
        Path::new("bpftool")
    };
    let mut command = Command::new(bpftool);
    command.args(["gen", "object"]).args([&linked, &compiled]);
    run(command, "install bpftool");
}

/// Such as `/usr/include/x86_64-linux-gnu`.
fn architecture_headers() -> Option<PathBuf> {
    let folder = format!("/usr/include/{}-linux-gnu", env::consts::ARCH);
    Some(PathBuf::from(folder)).filter(|folder| folder.join("asm/types.h").exists())
}

fn run(mut command: Command, remedy: &str) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{command:?}: {status}")),
        Err(error) => fail(&format!("{command:?}: {error}; {remedy}")),
    }
}

fn fail(message: &str) {
    println!(
        "cargo::error=the eBPF programs cannot be built: {}",
        message.replace('\n', " ")
    );
}
