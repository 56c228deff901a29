//! What the host checks of every answer, whatever made it.
//!
//! An answer that breaks the contract is [`GuestError::InvalidAnswer`]: a deterministic failure, so the policy's
//! `failurePolicy` decides. One thing is corrected instead of refused: a local preference towards an external peer.
//! It is a fair default in a policy that serves both kinds of peers, BGP forbids sending it (RFC 4271 §5.1.5), and
//! taking the whole route back for it would hurt more than it helps; it is dropped and the trail says so.

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::{AddressChoice, AddressDecision, AddressRequest, Alternative};
use bellhop_core::route::{Family, RouteAttributes};

use crate::guest::{AddressQuestion, GuestError};

/// Longest note or reason shown, in bytes: it stands in conditions, logs and tables.
pub const NOTE_MAX: usize = 256;

/// Most alternatives of one `address` answer. The ledger tries them in order, each against its indexes.
pub const ALTERNATIVES_MAX: usize = 64;

fn invalid(field: impl Into<String>, message: impl Into<String>) -> GuestError {
    GuestError::InvalidAnswer { field: field.into(), message: message.into() }
}

/// A guest's text as people may see it: control characters as spaces, at most [`NOTE_MAX`] bytes, cut between
/// characters.
pub fn note(text: &str) -> Arc<str> {
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    if text.len() <= NOTE_MAX && !text.contains(char::is_control) {
        return text.into();
    }
    let mut out = String::with_capacity(NOTE_MAX);
    for character in text.chars().map(clean) {
        if out.len() + character.len_utf8() > NOTE_MAX - '…'.len_utf8() && text.len() > NOTE_MAX {
            out.push('…');
            break;
        }
        out.push(character);
    }
    out.into()
}

/// Route attributes in normal form, or which field breaks a bound.
///
/// # Errors
/// [`GuestError::InvalidAnswer`] for a list longer than its bound in [`RouteAttributes`], a prepend above
/// [`RouteAttributes::PREPEND_MAX`], or a next hop that is not a unicast address of the family announced.
pub fn attributes(family: Family, attributes: RouteAttributes) -> Result<RouteAttributes, GuestError> {
    let attributes = attributes.normalised();
    for (field, length, most) in [
        ("communities", attributes.communities.len(), RouteAttributes::COMMUNITIES_MAX),
        ("largeCommunities", attributes.large_communities.len(), RouteAttributes::LARGE_COMMUNITIES_MAX),
        (
            "extendedCommunities",
            attributes.extended_communities.len(),
            RouteAttributes::EXTENDED_COMMUNITIES_MAX,
        ),
    ] {
        if length > most {
            return Err(invalid(field, format!("{length} different values, at most {most} are sent")));
        }
    }
    if attributes.prepend > RouteAttributes::PREPEND_MAX {
        let most = RouteAttributes::PREPEND_MAX;
        return Err(invalid("prepend", format!("{}, must be 0 to {most}", attributes.prepend)));
    }
    if let Some(next_hop) = attributes.next_hop {
        if Family::of(next_hop) != family {
            return Err(invalid(
                "nextHop",
                format!("{next_hop} is not an {family} address, as the one announced is"),
            ));
        }
        if next_hop.is_unspecified()
            || next_hop.is_loopback()
            || next_hop.is_multicast()
            || broadcast(next_hop)
        {
            return Err(invalid("nextHop", format!("{next_hop} is no address that packets can be sent to")));
        }
    }
    Ok(attributes)
}

fn broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// An `address` answer that the ledger can try, or which part of it cannot be meant.
///
/// Whether an exact address is free is the ledger's to say; here it must be in a family and a pool of the question.
///
/// # Errors
/// [`GuestError::InvalidAnswer`].
pub fn address(question: &AddressQuestion, decision: AddressDecision) -> Result<AddressDecision, GuestError> {
    let alternatives = match decision {
        AddressDecision::Default => return Ok(AddressDecision::Default),
        AddressDecision::Reject(reason) => return Ok(AddressDecision::Reject(note(&reason))),
        AddressDecision::Choose(alternatives) => alternatives,
    };
    if alternatives.is_empty() {
        return Err(invalid("choose", "an empty list chooses nothing; use use-default or reject"));
    }
    if alternatives.len() > ALTERNATIVES_MAX {
        let count = alternatives.len();
        return Err(invalid("choose", format!("{count} alternatives, at most {ALTERNATIVES_MAX} are tried")));
    }
    for (index, alternative) in alternatives.iter().enumerate() {
        check_alternative(question, &format!("choose[{index}]"), alternative)?;
    }
    Ok(AddressDecision::Choose(alternatives))
}

fn check_alternative(
    question: &AddressQuestion,
    at: &str,
    alternative: &Alternative,
) -> Result<(), GuestError> {
    if alternative.is_empty() {
        return Err(invalid(at, "has no choice; one for each family wanted is needed"));
    }
    for (index, (family, choice)) in alternative.iter().enumerate() {
        let field = || format!("{at}.choices[{index}]");
        if !question.families.contains(family) {
            return Err(invalid(field(), format!("{family} was not asked for")));
        }
        if alternative[..index].iter().any(|(other, _)| other == family) {
            return Err(invalid(field(), format!("a second choice for {family}")));
        }
        match choice {
            AddressChoice::Candidate(candidate) => match question.candidates.get(*candidate) {
                None => {
                    let count = question.candidates.len();
                    return Err(invalid(
                        field(),
                        format!("candidate {candidate} of {count} (counted from 0)"),
                    ));
                }
                Some((_, address, _)) if Family::of(*address) != *family => {
                    return Err(invalid(field(), format!("candidate {address} is not an {family} address")));
                }
                Some(_) => {}
            },
            AddressChoice::Exact(address) if Family::of(*address) != *family => {
                return Err(invalid(field(), format!("{address} is not an {family} address")));
            }
            AddressChoice::Exact(_) => {}
            AddressChoice::Pool(name) => {
                let Some(pool) = question.pools.iter().find(|pool| pool.name == *name) else {
                    return Err(invalid(field(), format!("pool \"{}\" was not on offer", note(name))));
                };
                if !pool.usage.iter().any(|(other, _, _)| other == family) {
                    return Err(invalid(field(), format!("pool \"{name}\" has no {family} addresses")));
                }
            }
        }
    }
    Ok(())
}

/// The decision with what only its own question can resolve made absolute, so that it may be kept for a later one:
/// candidates become their addresses.
pub(crate) fn absolute(request: &AddressRequest, decision: &AddressDecision) -> AddressDecision {
    let AddressDecision::Choose(alternatives) = decision else { return decision.clone() };
    let resolve = |choice: &AddressChoice| match choice {
        AddressChoice::Candidate(index) => match request.candidates.get(*index) {
            Some(candidate) => AddressChoice::Exact(candidate.address),
            None => choice.clone(),
        },
        other => other.clone(),
    };
    AddressDecision::Choose(
        alternatives
            .iter()
            .map(|alternative| {
                alternative.iter().map(|(family, choice)| (*family, resolve(choice))).collect()
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use bellhop_core::route::Community;

    use super::*;
    use crate::guest::{PoolView, ServiceView};

    fn question() -> AddressQuestion {
        AddressQuestion {
            service: ServiceView {
                identity: None,
                labels: Arc::from([]),
                annotations: Arc::from([]),
                namespace_labels: Arc::from([]),
                traffic_policy: Default::default(),
            },
            families: vec![Family::Ipv4, Family::Ipv6],
            pools: vec![PoolView {
                name: "public".into(),
                labels: Arc::from([]),
                priority: 0,
                usage: vec![(Family::Ipv4, 0, 1)],
            }],
            candidates: vec![(0, [192, 0, 2, 1].into(), 0)],
        }
    }

    fn refused(choice: (Family, AddressChoice)) -> String {
        address(&question(), AddressDecision::Choose(vec![vec![choice]])).unwrap_err().to_string()
    }

    #[test]
    fn an_address_answer_names_the_choice_that_cannot_be_meant() {
        use AddressChoice::{Candidate, Exact, Pool};
        for (choice, says) in [
            ((Family::Ipv4, Candidate(1)), "candidate 1 of 1"),
            ((Family::Ipv6, Candidate(0)), "192.0.2.1 is not an IPv6 address"),
            ((Family::Ipv6, Exact([192, 0, 2, 1].into())), "192.0.2.1 is not an IPv6 address"),
            ((Family::Ipv4, Pool("other".into())), "pool \"other\" was not on offer"),
            ((Family::Ipv6, Pool("public".into())), "pool \"public\" has no IPv6 addresses"),
        ] {
            let error = refused(choice);
            assert!(error.contains("choose[0].choices[0]") && error.contains(says), "{error}");
        }
        assert!(address(&question(), AddressDecision::Choose(vec![])).is_err());
        assert!(address(&question(), AddressDecision::Choose(vec![vec![]])).is_err());
        assert!(
            address(&question(), AddressDecision::Choose(vec![vec![(Family::Ipv4, Candidate(0))]])).is_ok()
        );
    }

    #[test]
    fn attributes_beyond_their_bounds_are_refused_by_field() {
        let communities =
            RouteAttributes { communities: (0..10_000).map(Community).collect(), ..Default::default() };
        let error = attributes(Family::Ipv4, communities).unwrap_err().to_string();
        assert!(error.contains("communities: 10000 different values, at most 64"), "{error}");
        for (next_hop, family) in
            [("::1", Family::Ipv6), ("2001:db8::1", Family::Ipv4), ("224.0.0.1", Family::Ipv4)]
        {
            let answer = RouteAttributes { next_hop: Some(next_hop.parse().unwrap()), ..Default::default() };
            assert!(attributes(family, answer).is_err(), "{next_hop}");
        }
        let prepend = RouteAttributes { prepend: 17, ..Default::default() };
        assert!(attributes(Family::Ipv4, prepend).is_err());
    }

    #[test]
    fn equal_communities_count_once() {
        let answer = RouteAttributes { communities: vec![Community(1); 1000], ..Default::default() };
        assert_eq!(attributes(Family::Ipv4, answer).unwrap().communities, [Community(1)]);
    }

    #[test]
    fn a_note_is_short_and_has_no_control_characters() {
        assert_eq!(&*note("a\nb\u{1b}[31m"), "a b [31m");
        let long = note(&"é".repeat(1000));
        assert!(long.len() <= NOTE_MAX && long.ends_with('…'));
    }
}
