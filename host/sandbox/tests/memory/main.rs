//! All attacks in one process of its own: it stays within 64 MB above idle. And nothing of wasmtime runs before the
//! first module is loaded.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get ends it")]

#[path = "../support/lib.rs"]
mod support;

use bellhop_policy_engine::guest::Guest;
use bellhop_sandbox::{Checks, runtime_started};
use support::{RouteGuest, at, compile_bomb, compiler, loaded, refused, route_question};

/// Resident memory of this process in bytes: the second field of `proc_pid_statm(5)`, in pages.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn hostile_modules_leave_the_process_within_64_mb_above_idle() {
    compiler();
    let bomb = zstd::encode_all(&compile_bomb()[..], 19).unwrap();
    let bomb_digest = support::sha256(&compile_bomb());
    let modules = [
        RouteGuest::doing("(loop (br 0))"),
        RouteGuest::doing("(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))"),
        RouteGuest::doing("(call $decide (i32.const 0)) drop"),
        RouteGuest::doing("unreachable"),
        RouteGuest { pages: 160, ..RouteGuest::withholding(8 << 20) },
        RouteGuest::doing(&format!(
            "(loop (call $log (i32.const 1) (i32.const {}) (i32.const 100)) (br 0))",
            at::TEXT
        )),
    ]
    .map(|guest| guest.module());

    // Nothing of wasmtime runs while nothing is loaded, refusals included.
    let threads_idle = threads();
    let load = |checks: Checks| {
        let command = compiler().with_checks(checks);
        let config = "{}".into();
        bellhop_sandbox::load(&bomb, &bomb_digest, &config, bellhop_sandbox::Limits::default(), &command)
    };
    assert!(load(Checks::default()).is_err());
    assert!(refused(b"nonsense").message.contains("does not begin"));
    assert!(!runtime_started());
    assert_eq!(threads(), threads_idle);

    let idle = resident();
    for module in &modules {
        let guest = loaded(module).unwrap();
        for _ in 0..5 {
            assert!(guest.route(&route_question()).result.is_err());
        }
    }
    assert!(runtime_started());
    let wide = Checks { body_bytes: u64::MAX, locals: u64::MAX, body_locals: u64::MAX, ..Checks::default() };
    assert!(load(wide).is_err());
    let grown = resident().saturating_sub(idle);
    println!("resident: {} KiB idle, {} KiB more after all attacks", idle >> 10, grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes above idle");
}
