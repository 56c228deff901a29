//! Guests that keep to the contract and guests that break each limit, through the real compiler process.

#[path = "../support/lib.rs"]
mod support;

mod calls;
mod compiler;
mod contract;
mod hostile;
mod loading;
