//! The `address` hook.

use std::sync::Arc;

use bellhop_core::decision::{AddressDecision, AddressRequest};
use bellhop_core::objects::Hook;

use super::End;
use super::version::{Asked, HookKind, Place, Tally, Unit};
use crate::guest::{AddressQuestion, Guest, GuestError, Noted};
use crate::intern::Names;
use crate::projection::{self, Match, Projector};
use crate::runner::{self, Runner};
use crate::validate;

/// Which address. Questions are rare and change with every allocation, so they are their own key.
pub(crate) struct AddressHook;

impl HookKind for AddressHook {
    const HOOK: Hook = Hook::Address;
    type Request = AddressRequest;
    type Key = Arc<AddressQuestion>;
    type Shown = Arc<AddressQuestion>;
    type Answer = AddressDecision;

    fn matches(selects: &Match, request: &AddressRequest, _part: usize) -> bool {
        selects.service(&request.service)
    }

    fn project(
        projector: &mut Projector,
        batch: &[AddressRequest],
        units: &[Unit],
        names: &mut Names,
    ) -> Vec<Option<Asked<Self>>> {
        units
            .iter()
            .map(|&(index, _)| {
                let request = &batch[index];
                let service = projector.service(&request.service, names);
                service.matched.then(|| {
                    let question = Arc::new(projection::address_question(projector.inputs(), request));
                    Asked {
                        key: question.clone(),
                        place: Place { service: service.place, node: 0, peer: 0, address: None },
                        namespace: request.service.service.key.namespace.clone(),
                        shown: question,
                    }
                })
            })
            .collect()
    }

    fn call(
        guest: &dyn Guest,
        runner: &dyn Runner,
        questions: &[&Arc<AddressQuestion>],
        tally: &mut Tally<'_>,
    ) -> Vec<Result<Noted<AddressDecision>, GuestError>> {
        let called = runner::collect(runner, questions.len(), |index| guest.address(questions[index]));
        questions
            .iter()
            .zip(called)
            .map(|(question, called)| {
                let noted = tally.take(called)?;
                let answer = match noted.answer {
                    None | Some(AddressDecision::Default) => None,
                    Some(answer) => {
                        Some(validate::address(question, answer).map_err(|error| tally.refused(error))?)
                    }
                };
                Ok(Noted { answer, note: noted.note })
            })
            .collect()
    }

    fn keep(request: &AddressRequest, answer: &AddressDecision) -> Option<AddressDecision> {
        Some(validate::absolute(request, answer))
    }
}

/// Where the chain ended, as a decision.
pub(super) fn decision(end: End<AddressDecision>) -> AddressDecision {
    match end {
        End::Default => AddressDecision::Default,
        End::Withhold(reason) => AddressDecision::Reject(reason),
        End::Answer(entry) => match &entry.result {
            Ok(Some(answer)) => answer.clone(),
            _ => AddressDecision::Default,
        },
    }
}
