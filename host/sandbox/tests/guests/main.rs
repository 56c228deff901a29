//! Guests that keep to the contract and guests that break each limit, through the real compiler process.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get ends it")]

#[path = "../support/lib.rs"]
mod support;

mod calls;
mod compiler;
mod contract;
mod fixtures;
mod hostile;
mod loading;
