//! The cases that a module brings with it, run before it serves.
//!
//! A case's `request` is the JSON form of the question; its `expect` that of the answer, notes left out:
//!
//! | hook | form of `expect` |
//! |---|---|
//! | Address | `"useDefault"`, `{"choose": [[{"family": "IPv4", "candidate": 0}]]}` (or `exact`, or `pool`), `{"reject": "why"}` |
//! | Nodes | a list with one of `"useDefault"`, `{"eligible": 100}`, `{"draining": "why"}`, `{"ineligible": "why"}` per node |
//! | Route | `"useDefault"`, `{"advertise": {"communities": ["65000:1"], …}}`, `{"withhold": "why"}` |

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::{AddressChoice, AddressDecision};
use bellhop_core::objects::Hook;
use bellhop_core::route::Family;
use bellhop_policy_engine::guest::{
    Called, Guest, GuestError, GuestRoute, GuestVerdict, NodesQuestion, Noted, SelfTest,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::guest::SandboxGuest;
use crate::limits::{self, Limits};
use crate::load::{LoadError, failed};
use crate::protocol::{Refusal, Stage};

/// An answer in the form of `expect`.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum AddressForm {
    UseDefault,
    Choose(Vec<Vec<ChoiceForm>>),
    Reject(Arc<str>),
}

#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChoiceForm {
    family: Family,
    #[serde(flatten)]
    choice: ChoiceKind,
}

#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ChoiceKind {
    Candidate(usize),
    Exact(IpAddr),
    Pool(Arc<str>),
}

#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum VerdictForm {
    UseDefault,
    #[serde(untagged)]
    Verdict(GuestVerdict),
}

#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RouteForm {
    UseDefault,
    #[serde(untagged)]
    Route(GuestRoute),
}

impl From<Noted<AddressDecision>> for AddressForm {
    fn from(noted: Noted<AddressDecision>) -> Self {
        match noted.answer {
            None | Some(AddressDecision::Default) => Self::UseDefault,
            Some(AddressDecision::Reject(reason)) => Self::Reject(reason),
            Some(AddressDecision::Choose(alternatives)) => Self::Choose(
                alternatives
                    .into_iter()
                    .map(|alternative| {
                        alternative
                            .into_iter()
                            .map(|(family, choice)| ChoiceForm { family, choice: choice.into() })
                            .collect()
                    })
                    .collect(),
            ),
        }
    }
}

impl From<AddressChoice> for ChoiceKind {
    fn from(choice: AddressChoice) -> Self {
        match choice {
            AddressChoice::Candidate(index) => Self::Candidate(index),
            AddressChoice::Exact(address) => Self::Exact(address),
            AddressChoice::Pool(name) => Self::Pool(name),
        }
    }
}

impl From<Noted<GuestVerdict>> for VerdictForm {
    fn from(noted: Noted<GuestVerdict>) -> Self {
        noted.answer.map_or(Self::UseDefault, Self::Verdict)
    }
}

impl From<Noted<GuestRoute>> for RouteForm {
    fn from(noted: Noted<GuestRoute>) -> Self {
        noted.answer.map_or(Self::UseDefault, Self::Route)
    }
}

impl RouteForm {
    /// Attributes in the form in which answers are compared.
    fn normalised(self) -> Self {
        match self {
            Self::Route(GuestRoute::Advertise(attributes)) => {
                Self::Route(GuestRoute::Advertise(attributes.normalised()))
            }
            other => other,
        }
    }
}

/// Runs every case of the module's metadata.
pub(crate) fn run(guest: &SandboxGuest) -> Result<(), LoadError> {
    let cases = &guest.metadata().self_tests;
    if cases.len() > limits::SELF_TESTS {
        return Err(LoadError::new(
            Stage::SelfTested,
            Refusal::SelfTest,
            format!("the module brings {} self-tests; at most {} are taken", cases.len(), limits::SELF_TESTS),
        ));
    }
    cases.iter().try_for_each(|case| run_one(guest, case))
}

fn run_one(guest: &SandboxGuest, case: &SelfTest) -> Result<(), LoadError> {
    let config = if case.config.is_null() { "{}".to_owned() } else { case.config.to_string() };
    let guest = guest.with_config(Arc::from(config), Limits { fuel: None, ..guest.limits() });
    let fuel = limits::FUEL_SELF_TEST;
    match case.hook {
        Hook::Address => compare(case, AddressForm::from, |question| guest.address_within(question, fuel)),
        Hook::Route => compare_with(case, RouteForm::from, RouteForm::normalised, |question| {
            guest.route_within(question, fuel)
        }),
        Hook::Nodes => compare(
            case,
            |answers: Vec<Noted<GuestVerdict>>| {
                answers.into_iter().map(VerdictForm::from).collect::<Vec<_>>()
            },
            |question: &NodesQuestion| guest.nodes_within(question, fuel),
        ),
    }
}

fn compare<Q, A, F>(
    case: &SelfTest,
    form: impl Fn(A) -> F,
    ask: impl Fn(&Q) -> Called<A>,
) -> Result<(), LoadError>
where
    Q: DeserializeOwned,
    F: DeserializeOwned + Serialize + PartialEq,
{
    compare_with(case, form, |form| form, ask)
}

fn compare_with<Q, A, F>(
    case: &SelfTest,
    form: impl Fn(A) -> F,
    normalised: impl Fn(F) -> F,
    ask: impl Fn(&Q) -> Called<A>,
) -> Result<(), LoadError>
where
    Q: DeserializeOwned,
    F: DeserializeOwned + Serialize + PartialEq,
{
    let question: Q = parsed(case, "request", &case.request)?;
    let expected = normalised(parsed(case, "expect", &case.expect)?);
    let answered = match ask(&question).result {
        Ok(answer) => normalised(form(answer)),
        Err(error @ GuestError::Infrastructure(_)) => {
            return Err(failed(Stage::SelfTested, Refusal::Infrastructure, &error));
        }
        Err(error) => return Err(refused(case, &format!("fails: {error}"))),
    };
    if answered == expected {
        return Ok(());
    }
    let json = |form: &F| serde_json::to_string(form).unwrap_or_else(|error| error.to_string());
    Err(refused(case, &format!("answered {}; expected {}", json(&answered), json(&expected))))
}

fn parsed<T: DeserializeOwned>(case: &SelfTest, field: &str, value: &Value) -> Result<T, LoadError> {
    T::deserialize(value).map_err(|error| refused(case, &format!("has a malformed {field}: {error}")))
}

fn refused(case: &SelfTest, what: &str) -> LoadError {
    let name = crate::abi::shown(&case.name);
    let what = crate::store::shortened(what, limits::ERROR_BYTES);
    LoadError::new(Stage::SelfTested, Refusal::SelfTest, format!("the self-test \"{name}\" {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back<F: DeserializeOwned + Serialize>(json: Value) {
        let form: F = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&form).unwrap(), json);
    }

    #[test]
    fn the_documented_forms_read_back_as_they_are_written() {
        reads_back::<AddressForm>(serde_json::json!("useDefault"));
        reads_back::<AddressForm>(serde_json::json!({"reject": "full"}));
        reads_back::<AddressForm>(serde_json::json!({"choose": [
            [{"family": "IPv4", "candidate": 0}, {"family": "IPv6", "exact": "2001:db8::1"}],
            [{"family": "IPv4", "pool": "public"}],
        ]}));
        reads_back::<Vec<VerdictForm>>(serde_json::json!([
            "useDefault", {"eligible": 100}, {"draining": "cordoned"}, {"ineligible": "tainted"}
        ]));
        reads_back::<RouteForm>(serde_json::json!("useDefault"));
        reads_back::<RouteForm>(serde_json::json!({"withhold": "private"}));
        reads_back::<RouteForm>(serde_json::json!({"advertise": {"communities": ["65000:1"], "med": 5}}));
    }
}
