//! Guests written in Rust with the SDK; each is an example of this package, and this library is empty.

#![forbid(unsafe_code)]
