//! Messages in words, for people who look into trouble.

use std::fmt::Write as _;

use bytes::Bytes;
use rustbgpd_wire as codec;

use super::{HEADER, Notification};

/// Most prefixes of one message that are named.
const PREFIXES_MAX: usize = 20;

/// The whole messages in octets that a machine handed over, one after the other.
pub fn messages(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_be_bytes([*rest.get(16)?, *rest.get(17)?]));
        let (message, after) = rest.split_at_checked(length.max(HEADER))?;
        rest = after;
        Some(message)
    })
}

/// One message in words: its type, and what it says; of an UPDATE the first twenty prefixes of each kind. What cannot be decoded
/// is said to be so. `four_octet` tells how AS numbers in UPDATEs are written (RFC 6793).
pub fn describe(message: &[u8], four_octet: bool) -> String {
    let mut rest = Bytes::copy_from_slice(message);
    match codec::decode_message(&mut rest, codec::MAX_MESSAGE_LEN) {
        Err(error) => format!("{} octets that are no good message: {error}", message.len()),
        Ok(codec::Message::Keepalive) => "KEEPALIVE".into(),
        Ok(codec::Message::Open(open)) => format!(
            "OPEN: AS {}, hold time {} s, identifier {}, capabilities {:?}",
            open.my_as, open.hold_time, open.bgp_identifier, open.capabilities
        ),
        Ok(codec::Message::Notification(notification)) => {
            let notification = Notification {
                code: notification.code.as_u8(),
                subcode: notification.subcode,
                data: notification.data,
            };
            format!("NOTIFICATION {notification}")
        }
        Ok(codec::Message::RouteRefresh(refresh)) => {
            format!(
                "ROUTE-REFRESH: AFI {}, SAFI {}, subtype {}",
                refresh.afi_raw, refresh.safi_raw, refresh.subtype_raw
            )
        }
        Ok(codec::Message::Update(update)) => describe_update(&update, four_octet),
        Ok(other) => format!("{other:?}"),
    }
}

fn describe_update(update: &codec::UpdateMessage, four_octet: bool) -> String {
    let parsed = match update.parse(four_octet, false, &[]) {
        Ok(parsed) => parsed,
        Err(error) => return format!("UPDATE that cannot be read: {error}"),
    };
    if parsed.withdrawn.is_empty() && parsed.announced.is_empty() && parsed.attributes.is_empty() {
        return "UPDATE: End-of-RIB of IPv4".into();
    }
    let mut words = String::from("UPDATE:");
    let mut list = |what: &str, prefixes: Vec<String>| {
        if !prefixes.is_empty() {
            let named = prefixes[..prefixes.len().min(PREFIXES_MAX)].join(" ");
            let more = prefixes.len().saturating_sub(PREFIXES_MAX);
            // A String takes everything.
            let _ = write!(words, " {what} {named}");
            if more > 0 {
                let _ = write!(words, " and {more} more");
            }
            words.push(';');
        }
    };
    list("withdraws", parsed.withdrawn.iter().map(|entry| entry.prefix.to_string()).collect());
    list("announces", parsed.announced.iter().map(|entry| entry.prefix.to_string()).collect());
    let mut attributes = Vec::new();
    for attribute in &parsed.attributes {
        match attribute {
            codec::PathAttribute::MpReachNlri(reach) => {
                list("announces", reach.announced.iter().map(|entry| entry.prefix.to_string()).collect());
                attributes.push(format!("next hop {}", reach.next_hop));
            }
            codec::PathAttribute::MpUnreachNlri(unreach) if unreach.withdrawn.is_empty() => {
                attributes.push(format!("End-of-RIB of {:?}", unreach.afi));
            }
            codec::PathAttribute::MpUnreachNlri(unreach) => {
                list("withdraws", unreach.withdrawn.iter().map(|entry| entry.prefix.to_string()).collect());
            }
            other => attributes.push(format!("{other:?}")),
        }
    }
    format!("{words} {}", attributes.join(", ")).trim_end_matches([' ', ';']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_and_a_cut_one_is_left_out() {
        let two = [super::super::keepalive(), super::super::keepalive()].concat();
        assert_eq!(messages(&two).count(), 2);
        assert_eq!(messages(&two[..30]).count(), 1);
        assert!(messages(&two).all(|message| describe(message, true) == "KEEPALIVE"));
    }

    #[test]
    fn a_notification_is_told_with_its_meaning_and_garbage_as_what_it_is() {
        let said = describe(&Notification::cease_with_text(2, "maintenance").encode(), true);
        assert!(said.starts_with("NOTIFICATION 6/2 (") && said.ends_with("): maintenance"), "{said}");
        assert!(describe(&[0; 19], true).contains("no good message"));
        let mut update = bytes::BytesMut::new();
        super::super::update::end_of_rib(bellhop_core::Family::Ipv4, &mut update);
        assert_eq!(describe(&update, true), "UPDATE: End-of-RIB of IPv4");
        update.clear();
        let prefixes = (0..30u8).map(|number| format!("10.0.0.{number}/32").parse().expect("a prefix"));
        super::super::update::withdraw(bellhop_core::Family::Ipv4, prefixes, &mut update);
        let said = describe(&update, true);
        assert!(said.starts_with("UPDATE: withdraws 10.0.0.0/32 10.0.0.1/32 "), "{said}");
        assert!(said.ends_with(" and 10 more"), "{said}");
    }
}
