//! Compiles the eBPF programs.

fn main() {
    netcheck_bpf_build::compile("src/programs.c", &["src/packet.h", "src/layout.h"]);
}
