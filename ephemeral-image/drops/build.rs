//! Compiles the eBPF program.

fn main() {
    netcheck_bpf_build::compile("src/drops.c", &[]);
}
