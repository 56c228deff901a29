//! See the module that it calls.

#![no_main]

#[path = "../../../host/bfd/tests/fuzzed/table.rs"]
mod table;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| table::judge(octets));
