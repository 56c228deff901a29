//! Hook `address`: which address a Service gets.

pub use crate::bindings::exports::bellhop::policy_address::address::{
    Candidate, Pool, Request as AddressRequest, Response as AddressResponse,
};

use std::net::IpAddr;

use crate::bindings::exports::bellhop::policy_address::address as wire;
use crate::decision::{Decision, cut, note};
use crate::facts::{Family, Service};

/// The answer of hook `address`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// In order of preference; the first that the host can satisfy whole is taken.
    Choose(Vec<Alternative>),
    /// No address for this Service, and why, in at most 256 bytes.
    Reject(String),
}

/// One choice for each family wanted.
pub type Alternative = Vec<(Family, Choice)>;

/// A choice for one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Index into the candidates of the request.
    Candidate(u32),
    /// Exactly this address; the host checks that it is in a pool of the request and free.
    Exact(IpAddr),
    /// Any free address of the pool of this name.
    Pool(String),
}

impl Default for AddressRequest {
    fn default() -> Self {
        Self {
            service: Service::default(),
            families: vec![Family::Ipv4],
            pools: Vec::new(),
            candidates: Vec::new(),
            extra: Vec::new(),
        }
    }
}

#[allow(clippy::derivable_impls, reason = "the type is generated, and does not derive it")]
impl Default for Pool {
    fn default() -> Self {
        Self {
            name: String::new(),
            labels: Vec::new(),
            priority: 0,
            families: Vec::new(),
            used: Vec::new(),
            free: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl Pool {
    /// Value of a label that the metadata declares.
    pub fn label(&self, key: &str) -> Option<&str> {
        crate::facts::value_of(&self.labels, key)
    }
}

impl Candidate {
    /// The address; `None` never comes from a host.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

impl From<Decision<Address>> for AddressResponse {
    fn from(decision: Decision<Address>) -> Self {
        let answer = match decision.answer {
            None => wire::Answer::UseDefault,
            Some(Address::Reject(reason)) => wire::Answer::Reject(cut(reason)),
            Some(Address::Choose(alternatives)) => {
                wire::Answer::Choose(alternatives.into_iter().map(alternative).collect())
            }
        };
        Self { answer, note: note(decision.note), extra: Vec::new() }
    }
}

fn alternative(alternative: Alternative) -> wire::Alternative {
    let choice = |choice| match choice {
        Choice::Candidate(index) => wire::Choice::Candidate(index),
        Choice::Exact(address) => wire::Choice::Exact(address.to_string()),
        Choice::Pool(name) => wire::Choice::Pool(name),
    };
    let choices =
        alternative.into_iter().map(|(family, of)| wire::FamilyChoice { family, choice: choice(of) });
    wire::Alternative { choices: choices.collect() }
}
