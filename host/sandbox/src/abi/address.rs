//! `bellhop:policy-address/address`.

use std::net::IpAddr;

use bellhop_core::decision::{AddressChoice, AddressDecision, Alternative as CoreAlternative};
use bellhop_core::route::Family as CoreFamily;
use bellhop_policy_engine::guest::{AddressQuestion, GuestError, Noted, PoolView};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::{Family, OwnedPair, Pair, Service, at_most, invalid, no_extra, note, pairs, shown, text};
use crate::limits;

/// Parameters of `decide`.
pub(crate) type Params<'a> = (Request<'a>,);
/// Results of `decide`.
pub(crate) type Results = (Result<Response, String>,);

/// `pool`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Pool<'a> {
    name: &'a str,
    labels: Vec<Pair<'a>>,
    priority: i32,
    families: Vec<Family>,
    used: Vec<u64>,
    free: Vec<u64>,
    extra: Vec<Pair<'a>>,
}

/// `candidate`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Candidate {
    pool: u32,
    family: Family,
    address: String,
    #[component(name = "release-rank")]
    release_rank: u32,
}

/// `request`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Request<'a> {
    service: Service<'a>,
    families: Vec<Family>,
    pools: Vec<Pool<'a>>,
    candidates: Vec<Candidate>,
    extra: Vec<Pair<'a>>,
}

/// `choice`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Choice {
    #[component(name = "candidate")]
    Candidate(u32),
    #[component(name = "exact")]
    Exact(String),
    #[component(name = "pool")]
    Pool(String),
}

/// `family-choice`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct FamilyChoice {
    family: Family,
    choice: Choice,
}

/// `alternative`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Alternative {
    choices: Vec<FamilyChoice>,
}

/// `answer`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Answer {
    #[component(name = "use-default")]
    UseDefault,
    #[component(name = "choose")]
    Choose(Vec<Alternative>),
    #[component(name = "reject")]
    Reject(String),
}

/// `response`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Response {
    answer: Answer,
    note: Option<String>,
    extra: Vec<OwnedPair>,
}

impl<'a> From<&'a PoolView> for Pool<'a> {
    fn from(view: &'a PoolView) -> Self {
        Self {
            name: &view.name,
            labels: pairs(&view.labels),
            priority: view.priority,
            families: view.usage.iter().map(|(family, ..)| Family::from(*family)).collect(),
            used: view.usage.iter().map(|(_, used, _)| *used).collect(),
            free: view.usage.iter().map(|(.., free)| *free).collect(),
            extra: Vec::new(),
        }
    }
}

impl<'a> From<&'a AddressQuestion> for Request<'a> {
    fn from(question: &'a AddressQuestion) -> Self {
        Self {
            service: (&question.service).into(),
            families: question.families.iter().copied().map(Family::from).collect(),
            pools: question.pools.iter().map(Pool::from).collect(),
            candidates: question
                .candidates
                .iter()
                .map(|(pool, address, rank)| Candidate {
                    pool: u32::try_from(*pool).unwrap_or(u32::MAX),
                    family: CoreFamily::of(*address).into(),
                    address: address.to_string(),
                    release_rank: *rank,
                })
                .collect(),
            extra: Vec::new(),
        }
    }
}

impl Response {
    /// The answer, checked against the contract. Whether an address is in a pool and free is the ledger's to say.
    pub(crate) fn checked(self, question: &AddressQuestion) -> Result<Noted<AddressDecision>, GuestError> {
        no_extra("extra", &self.extra)?;
        let note = note("note", self.note.as_ref())?;
        let answer = match self.answer {
            Answer::UseDefault => None,
            Answer::Reject(reason) => Some(AddressDecision::Reject(text("answer.reject", &reason)?)),
            Answer::Choose(alternatives) => {
                let field = "answer.choose";
                if alternatives.is_empty() {
                    return Err(invalid(
                        field,
                        "no alternative; one or more, or use-default, or reject is right",
                    ));
                }
                at_most(field, "alternatives", alternatives.len(), limits::ALTERNATIVES)?;
                let checked = alternatives.into_iter().enumerate().map(|(index, alternative)| {
                    alternative.checked(&format!("{field}[{index}].choices"), question)
                });
                Some(AddressDecision::Choose(checked.collect::<Result<_, _>>()?))
            }
        };
        Ok(Noted { answer, note })
    }
}

impl Alternative {
    fn checked(self, field: &str, question: &AddressQuestion) -> Result<CoreAlternative, GuestError> {
        let wanted = &question.families;
        let given: Vec<CoreFamily> = self.choices.iter().map(|choice| choice.family.into()).collect();
        let complete = given.len() == wanted.len() && wanted.iter().all(|family| given.contains(family));
        if !complete {
            return Err(invalid(
                field,
                format!("choices for {}; one for each of {} is right", families(&given), families(wanted)),
            ));
        }
        self.choices
            .into_iter()
            .enumerate()
            .map(|(index, choice)| {
                let family = choice.family.into();
                Ok((family, choice.choice.checked(&format!("{field}[{index}].choice"), family, question)?))
            })
            .collect()
    }
}

fn families(families: &[CoreFamily]) -> String {
    if families.is_empty() {
        return "no family".to_owned();
    }
    families.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Choice {
    fn checked(
        self,
        field: &str,
        family: CoreFamily,
        question: &AddressQuestion,
    ) -> Result<AddressChoice, GuestError> {
        match self {
            Self::Candidate(index) => {
                let offered = question.candidates.len();
                let candidate = usize::try_from(index).ok().and_then(|index| question.candidates.get(index));
                match candidate {
                    Some((_, address, _)) if CoreFamily::of(*address) == family => {
                        Ok(AddressChoice::Candidate(index as usize))
                    }
                    Some((_, address, _)) => Err(invalid(
                        field,
                        format!("candidate {index} is {address}; an {family} one is right"),
                    )),
                    None if offered == 0 => Err(invalid(
                        field,
                        format!("candidate {index}; none is offered, so exact or pool is right"),
                    )),
                    None => Err(invalid(
                        field,
                        format!("candidate {index}; 0 to {} is right, as {offered} are offered", offered - 1),
                    )),
                }
            }
            Self::Exact(text) => text
                .parse::<IpAddr>()
                .ok()
                .filter(|address| CoreFamily::of(*address) == family)
                .map(AddressChoice::Exact)
                .ok_or_else(|| invalid(field, format!("exact \"{}\" is no {family} address", shown(&text)))),
            Self::Pool(name) => question
                .pools
                .iter()
                .find(|pool| *pool.name == name)
                .map(|pool| AddressChoice::Pool(pool.name.clone()))
                .ok_or_else(|| {
                    let offered: Vec<&str> = question.pools.iter().map(|pool| &*pool.name).collect();
                    invalid(
                        field,
                        format!(
                            "pool \"{}\" is none that this Service may use: {}",
                            shown(&name),
                            offered.join(", ")
                        ),
                    )
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> AddressQuestion {
        serde_json::from_value(serde_json::json!({
            "service": {},
            "families": ["IPv4", "IPv6"],
            "pools": [{"name": "public"}],
            "candidates": [[0, "192.0.2.7", 0], [0, "2001:db8::7", 0]],
        }))
        .unwrap()
    }

    fn choose(choices: Vec<(Family, Choice)>) -> Result<Noted<AddressDecision>, GuestError> {
        let choices = choices.into_iter().map(|(family, choice)| FamilyChoice { family, choice }).collect();
        let answer = Answer::Choose(vec![Alternative { choices }]);
        Response { answer, note: None, extra: Vec::new() }.checked(&question())
    }

    fn message(choices: Vec<(Family, Choice)>) -> String {
        choose(choices).unwrap_err().to_string()
    }

    #[test]
    fn an_alternative_has_one_choice_for_each_family_wanted() {
        let v4 = || (Family::Ipv4, Choice::Candidate(0));
        let v6 = || (Family::Ipv6, Choice::Candidate(1));
        assert!(choose(vec![v4(), v6()]).is_ok());
        assert!(choose(vec![v6(), v4()]).is_ok());
        for wrong in [vec![], vec![v4()], vec![v4(), v4()], vec![v4(), v6(), v6()]] {
            assert!(message(wrong).contains("one for each of IPv4, IPv6 is right"));
        }
    }

    #[test]
    fn a_candidate_is_one_that_was_offered_and_of_the_family_of_its_choice() {
        let wrong = message(vec![(Family::Ipv4, Choice::Candidate(2)), (Family::Ipv6, Choice::Candidate(1))]);
        assert!(
            wrong.contains("answer.choose[0].choices[0].choice: candidate 2; 0 to 1 is right"),
            "{wrong}"
        );
        let wrong = message(vec![(Family::Ipv4, Choice::Candidate(1)), (Family::Ipv6, Choice::Candidate(1))]);
        assert!(wrong.contains("candidate 1 is 2001:db8::7"), "{wrong}");
    }

    #[test]
    fn an_exact_choice_is_an_address_of_its_family_and_a_pool_is_one_that_was_offered() {
        let wrong =
            message(vec![(Family::Ipv4, Choice::Exact("::1".into())), (Family::Ipv6, Choice::Candidate(1))]);
        assert!(wrong.contains("exact \"::1\" is no IPv4 address"), "{wrong}");
        let wrong = message(vec![
            (Family::Ipv4, Choice::Pool("secret".into())),
            (Family::Ipv6, Choice::Candidate(1)),
        ]);
        assert!(wrong.contains("pool \"secret\" is none that this Service may use: public"), "{wrong}");
    }

    #[test]
    fn a_key_in_extra_that_the_host_does_not_know_makes_the_answer_invalid() {
        let extra = vec![OwnedPair { key: "zone".into(), value: "a".into() }];
        let answer = Response { answer: Answer::UseDefault, note: None, extra }.checked(&question());
        assert!(answer.unwrap_err().to_string().contains("extra[0].key: \"zone\" is no key"));
    }

    #[test]
    fn a_note_of_more_than_256_bytes_makes_the_answer_invalid() {
        let with = |length: usize| {
            Response { answer: Answer::UseDefault, note: Some("x".repeat(length)), extra: Vec::new() }
                .checked(&question())
        };
        assert!(with(256).is_ok());
        assert!(with(257).unwrap_err().to_string().contains("note: 257 bytes; at most 256"));
    }
}
