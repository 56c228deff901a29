//! The compiler process: what ends it, and what it may not do.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_sandbox::{Checks, CompilerCommand, Limits, LoadError, Refusal, Stage, load};

use crate::support::{RouteGuest, compile_bomb, compiler, sha256};

fn load_by(compiler: &CompilerCommand, module: &[u8]) -> LoadError {
    load(module, &sha256(module), &Arc::from("{}"), Limits::default(), compiler).unwrap_err()
}

/// The bounds as wide as a bomb needs them.
fn no_checks() -> Checks {
    Checks {
        stored_bytes: 16 << 20,
        module_bytes: 16 << 20,
        body_bytes: u64::MAX,
        locals: u64::MAX,
        body_locals: u64::MAX,
        functions: u64::MAX,
    }
}

#[test]
fn a_bomb_that_passes_the_checks_dies_by_the_process_limits() {
    let started = Instant::now();
    let error = load_by(&compiler().with_checks(no_checks()), &compile_bomb());
    assert_eq!((error.stage, error.refusal), (Stage::Compiled, Refusal::CompilerLimit), "{error}");
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[test]
fn a_compile_that_takes_too_long_is_ended_and_reaped() {
    let hasty = compiler().with_checks(no_checks()).with_timeout(Duration::from_millis(200));
    let error = load_by(&hasty, &compile_bomb());
    assert_eq!((error.stage, error.refusal), (Stage::Compiled, Refusal::CompilerStarved));
    assert!(error.message.starts_with("compiling took longer than 0.2 s"), "{error}");
    assert!(error.transient(), "a busy machine is no reason to refuse a module for good");
    let children = std::fs::read_to_string("/proc/self/task/self/children").unwrap_or_default();
    assert!(children.is_empty() || !children.contains("compiler"), "{children}");
}

#[test]
fn a_compiler_that_is_missing_is_the_machines_fault_and_named() {
    let error =
        load_by(&CompilerCommand::new("/nonexistent/bellhop-compiler"), &RouteGuest::default().module());
    assert_eq!(error.refusal, Refusal::CompilerUnavailable);
    assert!(error.transient());
    assert!(error.message.contains("/nonexistent/bellhop-compiler"), "{error}");
}

/// A compiler that is a shell script.
fn script(name: &str, text: &str) -> CompilerCommand {
    let path = std::env::temp_dir().join(format!("bellhop-{name}-{}", std::process::id()));
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    CompilerCommand::new(path)
}

#[test]
fn a_compiler_that_says_nothing_or_nonsense_is_refused() {
    for (name, text) in [("silent", "cat >/dev/null"), ("babbling", "cat >/dev/null; echo nonsense nonsense")]
    {
        let compiler = script(name, text);
        let error = load_by(&compiler, &RouteGuest::default().module());
        std::fs::remove_file(compiler.path()).unwrap();
        assert_eq!(
            (error.stage, error.refusal),
            (Stage::Compiled, Refusal::CompilerFailed),
            "{name}: {error}"
        );
    }
}

#[test]
fn the_compiler_inherits_no_environment_and_gets_its_memory_limit_as_an_argument() {
    let out = std::env::temp_dir().join(format!("bellhop-env-out-{}", std::process::id()));
    let compiler =
        script("env", &format!("echo \"$@ HOME=$HOME CARGO=$CARGO\" > {}; cat >/dev/null", out.display()));
    let _ = load_by(&compiler, &RouteGuest::default().module());
    let said = std::fs::read_to_string(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    std::fs::remove_file(compiler.path()).unwrap();
    assert!(said.starts_with("--memory-limit ") && said.ends_with("HOME= CARGO=\n"), "{said}");
}

#[test]
fn the_process_has_given_up_what_it_does_not_need_before_it_reads() {
    use std::process::{Command, Stdio};
    let limit: u64 = 256 << 20;
    let mut child = Command::new(compiler().path())
        .args(["--memory-limit", &limit.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !read("status").contains("NoNewPrivs:\t1") || !read("status").contains("CapEff:\t0000000000000000")
    {
        assert!(Instant::now() < deadline, "not confined in time: {}", read("status"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = read("status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    let limits = read("limits");
    for (name, value) in [
        ("Max address space", limit.to_string()),
        ("Max cpu time", "10".to_owned()),
        ("Max core file size", "0".to_owned()),
        ("Max file size", "0".to_owned()),
        ("Max open files", "3".to_owned()),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
        assert_eq!(&words[..2], [value.as_str(), value.as_str()], "{line}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
