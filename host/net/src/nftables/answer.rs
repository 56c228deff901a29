//! What the kernel says to a transaction, and what it tells of others' changes.

use std::io;

use super::TABLE;
use super::message::{GENERIC, HEADER, INET, attribute, described, is_ours, received, u16_at, u32_at};

/// `NLMSG_ERROR`: carries acknowledgements too.
const ERROR: u16 = 2;

/// `NLM_F_CAPPED`: the message that failed is not repeated behind its header.
const CAPPED: u16 = 0x100;

/// `NLMSGERR_ATTR_MSG`.
const MESSAGE: u16 = 1;

/// What a datagram says about the transaction.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Its last message was carried out.
    pub(super) done: bool,
    /// The first refusal.
    pub(super) refusal: Option<Refusal>,
}

/// Why a message of a transaction was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the message is about.
    pub(super) what: &'static str,
    /// The kernel's explanation, where it has one.
    pub(super) explanation: Option<String>,
    pub(super) source: io::Error,
}

/// Takes one datagram of answers into account.
pub(super) fn take(answer: &mut Answer, datagram: &[u8], acknowledged: u32) {
    for message in received(datagram).filter(|message| message.number == ERROR) {
        let Some(code) = u32_at(message.body, 0) else { continue };
        if code == 0 {
            answer.done |= message.sequence == acknowledged;
            continue;
        }
        let capped = message.flags & CAPPED != 0;
        let repeated =
            if capped { Some(HEADER) } else { u32_at(message.body, 4).map(|length| length as usize) };
        let attributes = repeated.and_then(|length| message.body.get(4 + length..));
        let explanation = attributes.and_then(|attributes| attribute(attributes, MESSAGE)).map(text);
        answer.refusal.get_or_insert(Refusal {
            what: u16_at(message.body, 8).map_or("transaction", described),
            explanation: explanation.filter(|explanation| !explanation.is_empty()),
            // The code is the errno, negative.
            source: io::Error::from_raw_os_error((code as i32).wrapping_neg()),
        });
    }
}

/// True where a datagram of the group's tells that a socket other than `own` changed our table. A change of any kind
/// names its table in the first attribute.
pub(super) fn tells_of_another(datagram: &[u8], own: u32) -> bool {
    received(datagram).any(|message| {
        is_ours(message.number)
            && message.port != own
            && message.body.first() == Some(&INET)
            && message
                .body
                .get(GENERIC..)
                .and_then(|attributes| attribute(attributes, 1))
                .map(text)
                .as_deref()
                == Some(TABLE)
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}
