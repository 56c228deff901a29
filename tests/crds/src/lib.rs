//! Tests of the CRDs against a real API server, in `tests/crds.rs`. There is nothing here: what they test is `crds/`.

#![forbid(unsafe_code)]
