//! Tests of the CRDs and of `kubectl bellhop` against a real API server, in `tests/`. There is nothing here: what they test is
//! `crds/` and the program.

#![forbid(unsafe_code)]
