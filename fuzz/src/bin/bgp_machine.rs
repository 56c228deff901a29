//! See the module that it calls.

#![no_main]

#[path = "../../../host/bgp/tests/fuzzed/machine.rs"]
mod machine;
#[allow(dead_code, reason = "the other fuzzer uses the rest")]
#[path = "../../../host/bgp/tests/fuzzed/neighbour.rs"]
mod neighbour;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| machine::judge(octets));
