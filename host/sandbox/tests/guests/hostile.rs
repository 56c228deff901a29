//! Every limit has a guest that breaks it, and each break has its own type.

use bellhop_policy_engine::guest::{Called, Guest, GuestError, GuestRoute, Noted};
use bellhop_sandbox::{Limits, limits};

use crate::support::{RouteGuest, at, loaded, loaded_with, route_question};

fn asked(guest: &RouteGuest) -> Called<Noted<GuestRoute>> {
    loaded(&guest.module()).unwrap().route(&route_question())
}

fn failure(guest: &RouteGuest) -> GuestError {
    asked(guest).result.expect_err("a guest that must fail")
}

#[test]
fn an_endless_loop_ends_when_its_fuel_does() {
    let called = asked(&RouteGuest::doing("(loop (br 0))"));
    assert_eq!(called.result, Err(GuestError::OutOfFuel { limit: limits::FUEL_PER_CALL }));
    assert!(called.cost.fuel >= limits::FUEL_PER_CALL, "{:?}", called.cost);
}

#[test]
fn a_policy_with_less_fuel_ends_sooner() {
    let module = RouteGuest::doing("(loop (br 0))").module();
    let guest = loaded_with(&module, "{}", Limits { fuel: Some(200_000), memory: None }).unwrap();
    assert_eq!(guest.route(&route_question()).result, Err(GuestError::OutOfFuel { limit: 200_000 }));
}

#[test]
fn growing_beyond_the_memory_limit_is_known_as_such() {
    let guest = RouteGuest::doing("(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))");
    assert_eq!(failure(&guest), GuestError::MemoryLimit { limit: limits::MEMORY });
    let small = Limits { fuel: None, memory: Some(1 << 20) };
    let called = loaded_with(&guest.module(), "{}", small).unwrap().route(&route_question());
    assert_eq!(called.result, Err(GuestError::MemoryLimit { limit: 1 << 20 }));
    assert!(called.cost.memory <= 1 << 20, "{:?}", called.cost);
}

#[test]
fn an_endless_recursion_overflows_the_guest_and_not_the_host() {
    assert_eq!(failure(&RouteGuest::doing("(call $decide (i32.const 0)) drop")), GuestError::StackOverflow);
}

#[test]
fn a_trap_carries_the_last_line_that_was_logged_as_an_error() {
    let panic = "panicked at src/lib.rs:34:115: no such zone";
    let guest = RouteGuest::doing(&format!(
        "(call $log (i32.const 3) (i32.const {}) (i32.const {})) unreachable",
        at::TEXT,
        panic.len()
    ))
    .with(&format!("(data (i32.const {}) \"{panic}\")", at::TEXT));
    let called = asked(&guest);
    assert_eq!(called.result, Err(GuestError::Trap(panic.to_owned())));
    assert_eq!(called.log, [("error", panic.to_owned())]);
}

#[test]
fn a_trap_without_a_line_says_what_it_was() {
    let GuestError::Trap(text) = failure(&RouteGuest::doing("unreachable")) else { panic!("no trap") };
    assert!(text.contains("unreachable"), "{text}");
    let GuestError::Trap(text) = failure(&RouteGuest::doing("(drop (i32.load (i32.const -4)))")) else {
        panic!("no trap")
    };
    assert!(text.contains("out of bounds"), "{text}");
}

#[test]
fn an_answer_of_more_than_a_mebibyte_is_not_copied() {
    let text = RouteGuest { pages: 160, ..RouteGuest::withholding(8 << 20) };
    assert_eq!(failure(&text), GuestError::OutputTooLarge);
    let communities = RouteGuest {
        pages: 160,
        ..RouteGuest::answering(&[(at::ANSWER, 1), (at::PAYLOAD, at::TEXT), (at::PAYLOAD + 4, 2 << 20)])
    };
    assert_eq!(failure(&communities), GuestError::OutputTooLarge);
}

#[test]
fn many_texts_that_share_one_megabyte_of_memory_are_not_copied_either() {
    // 1,000 pairs of `extra`, every key the same 512 KiB of zeros.
    let fill = format!(
        "(local $i i32)
         (loop $next
            (i32.store (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))) (i32.const {text}))
            (i32.store offset=4 (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4)))
                (i32.const 524288))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 1000))))
         (i32.store (i32.const {extra}) (i32.const 131072))
         (i32.store (i32.const {length}) (i32.const 1000))",
        text = 1 << 20,
        extra = at::EXTRA,
        length = at::EXTRA + 4,
    );
    let guest = RouteGuest { pages: 32, ..RouteGuest::doing(&fill) };
    assert_eq!(failure(&guest), GuestError::OutputTooLarge);
}

#[test]
fn a_log_line_of_more_than_a_mebibyte_is_not_copied() {
    let guest = RouteGuest {
        pages: 160,
        ..RouteGuest::doing("(call $log (i32.const 1) (i32.const 0) (i32.const 8388608))")
    };
    assert_eq!(failure(&guest), GuestError::OutputTooLarge);
}

#[test]
fn ten_thousand_communities_are_an_invalid_answer_that_names_the_bound() {
    let guest = RouteGuest::answering(&[(at::ANSWER, 1), (at::PAYLOAD, at::TEXT), (at::PAYLOAD + 4, 10_000)]);
    let GuestError::InvalidAnswer { field, message } = failure(&guest) else { panic!("not invalid") };
    assert_eq!(field, "answer.advertise.communities");
    assert!(message.contains("10000") && message.contains("64"), "{message}");
}

#[test]
fn an_answer_that_has_not_the_contracts_form_is_invalid() {
    // Not UTF-8; a text outside the memory; an answer that is none; an unknown key of `extra`.
    let bad_text =
        RouteGuest::withholding(4).with(&format!("(data (i32.const {}) \"\\ff\\fe\\ff\\fe\")", at::TEXT));
    let outside =
        RouteGuest::answering(&[(at::ANSWER, 2), (at::PAYLOAD, 0xFFFF_FF00), (at::PAYLOAD + 4, 16)]);
    let unknown = RouteGuest::answering(&[(at::ANSWER, 9)]);
    let extra = RouteGuest::answering(&[
        (at::EXTRA, at::TEXT),
        (at::EXTRA + 4, 1),
        (at::TEXT, at::TEXT + 64),
        (at::TEXT + 4, 4),
    ])
    .with(&format!("(data (i32.const {}) \"zone\")", at::TEXT + 64));
    for (name, guest) in [("text", bad_text), ("outside", outside), ("unknown", unknown), ("extra", extra)] {
        let error = failure(&guest);
        assert!(matches!(error, GuestError::InvalidAnswer { .. }), "{name}: {error:?}");
    }
}

#[test]
fn a_note_of_more_than_256_bytes_is_an_invalid_answer() {
    let error =
        failure(&RouteGuest::answering(&[(at::NOTE, 1), (at::NOTE + 4, at::TEXT), (at::NOTE + 8, 300)]));
    assert_eq!(error.to_string(), "invalid answer: note: 300 bytes; at most 256 are taken");
}

#[test]
fn an_allocator_that_hands_out_nonsense_costs_its_own_call_alone() {
    let guest = RouteGuest {
        configure: "(global.set $heap (i32.const -65536)) i32.const 1024".to_owned(),
        ..RouteGuest::default()
    };
    let error = failure(&guest);
    assert!(matches!(error, GuestError::InvalidAnswer { .. } | GuestError::Trap(_)), "{error:?}");
}

#[test]
fn a_hundred_thousand_log_lines_cost_fuel_and_keep_sixty_four() {
    let called = asked(&RouteGuest::doing(&format!(
        "(loop (call $log (i32.const 1) (i32.const {}) (i32.const 100)) (br 0))",
        at::TEXT
    )));
    assert_eq!(called.result, Err(GuestError::OutOfFuel { limit: limits::FUEL_PER_CALL }));
    assert_eq!(called.log.len(), limits::LOG_LINES);
    assert!(called.log[63].1.ends_with("more lines were dropped"), "{:?}", called.log[63]);
}

/// How often something is tried that may be ended by CPU time before its fuel is used up: 50 million units take a fifth of
/// that time on a processor that is one's own.
const TRIES: usize = 10;

#[test]
fn an_instance_that_starts_by_looping_is_out_of_fuel_when_it_is_configured() {
    let module = RouteGuest::default().with("(func $run (loop (br 0))) (start $run)").module();
    // Where neighbours on the same processor make this one too slow for its fuel, that is nobody's fault, and tried again.
    let mut tries = std::iter::repeat_with(|| loaded(&module).unwrap_err()).take(TRIES);
    let error = tries.find(|error| error.category() != "Infrastructure").unwrap();
    assert_eq!(error.category(), "Failed");
    assert!(error.message.contains("used up its 50000000 units of fuel"), "{error}");
}

#[test]
fn growing_by_nothing_again_and_again_costs_fuel_for_the_call_into_the_host() {
    let guest = RouteGuest::doing("(loop (drop (memory.grow (i32.const 0))) (br 0))");
    assert_eq!(failure(&guest), GuestError::OutOfFuel { limit: limits::FUEL_PER_CALL });
}

#[test]
fn filling_memory_costs_fuel_by_the_byte() {
    let guest = RouteGuest {
        pages: 160,
        ..RouteGuest::doing("(loop (memory.fill (i32.const 65536) (i32.const 1) (i32.const 8388608)) (br 0))")
    };
    assert_eq!(failure(&guest), GuestError::OutOfFuel { limit: limits::FUEL_PER_CALL });
}

#[test]
fn work_too_slow_for_its_fuel_ends_by_cpu_time_and_is_nobodys_fault() {
    // Square roots that wait for each other: one unit of fuel each, some twenty cycles.
    let chain = "(local.set $x (f64.sqrt (local.get $x)))".repeat(100);
    let body = format!("(local $x f64) (local.set $x (f64.const 1e300)) (loop {chain} (br 0))");
    let budget = Limits { fuel: Some(1_000_000_000), memory: None };
    let guest = loaded_with(&RouteGuest::doing(&body).module(), "{}", budget).unwrap();
    let called = guest.route(&route_question());
    let error = called.result.unwrap_err();
    assert!(matches!(error, GuestError::Infrastructure(_)), "{error:?}");
    assert!(!error.deterministic());
    let backstop = limits::CPU_BACKSTOP.as_millis() as u64 * 1_050_000_000 / limits::CPU_BACKSTOP_FUEL;
    let millis = called.cost.cpu_nanos / 1_000_000;
    assert!((backstop..backstop + 100).contains(&millis), "{millis} ms of {backstop} ms");
}
