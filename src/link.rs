//! How the release program is linked, where the linker is the one that comes with Rust (LLD; on x86-64 Linux with glibc it is
//! the default). Elsewhere the program is linked as usual: it does the same, and is larger.
//!
//! - Functions that a running agent executes stand side by side. The kernel maps 64 KiB around each page that is touched, and
//!   strewn over 6 MB they are nearly all of it. `resident.txt` names them; `tests/benches/layout.py` writes it.
//! - Functions of equal code are one. Rust promises no function an address of its own.
//! - Relocations are packed, where the C library of this machine can read them (glibc 2.36).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=src/link.rs");
    println!("cargo::rerun-if-changed=src/resident.txt");
    if variable("TARGET") != "x86_64-unknown-linux-gnu" || variable("PROFILE") != "release" || !linked_by_lld() {
        return;
    }
    let script = PathBuf::from(variable("OUT_DIR")).join("resident.ld");
    fs::write(&script, linker_script(include_str!("resident.txt"))).expect("cargo gives a folder to write into");
    pass(&format!("-T,{}", script.display()));
    pass("--icf=all");
    if variable("HOST") == variable("TARGET") && reads_packed_relocations() {
        pass("-z,pack-relative-relocs");
    }
}

fn pass(argument: &str) {
    println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The toolchain has its own linker, and nobody asked for another one.
fn linked_by_lld() -> bool {
    let rustflags = variable("CARGO_ENCODED_RUSTFLAGS");
    let other = ["linker", "link-self-contained", "fuse-ld"].iter().any(|word| rustflags.contains(word))
        || !variable("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER").is_empty()
        || !variable("RUSTC_LINKER").is_empty();
    !other && sysroot().join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld").exists()
}

fn sysroot() -> PathBuf {
    let asked = Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output();
    let path = asked.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()).unwrap_or_default();
    Path::new(&path).to_path_buf()
}

fn reads_packed_relocations() -> bool {
    let asked = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let told = asked.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()).unwrap_or_default();
    let version = told.strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    version.is_some_and(|(major, minor)| (major.parse().ok(), minor.parse().ok()) >= (Some(2_u32), Some(36_u32)))
}

/// A script that only adds to the linker's own: the named functions first, all others behind them.
fn linker_script(names: &str) -> String {
    let names = names.lines().filter(|line| !line.starts_with('#'));
    // Functions that the compiler takes for cold are in `.text.unlikely.NAME`.
    let lines: String = names.map(|name| format!("    *(.text*.{name})\n")).collect();
    format!("SECTIONS\n{{\n  .text :\n  {{\n{lines}  }}\n}}\nINSERT BEFORE .init;\n")
}
