//! What the log says of a session.

use bellhop_bgp::Event;
use bellhop_core::ObjectName;

/// One line for each message that a machine handed over.
pub(super) fn sent(peer: &ObjectName, octets: &[u8]) {
    bellhop_bgp::messages(octets).for_each(|message| message_line(peer, "sent", message));
}

fn message_line(peer: &ObjectName, direction: &'static str, message: &[u8]) {
    let octets: String = message.iter().map(|octet| format!("{octet:02x}")).collect();
    let words = bellhop_bgp::describe(message, true);
    tracing::info!(%peer, direction, message = %words, %octets, "BGP message");
}

/// One line per event.
pub(super) fn log(peer: &ObjectName, event: &Event) {
    match event {
        Event::MessageReceived(message) => message_line(peer, "received", message),
        Event::Established(negotiated) => tracing::info!(
            %peer,
            router_id = %negotiated.router_id,
            hold_time = negotiated.hold_time.as_secs(),
            families = ?negotiated.families,
            graceful_restart = negotiated.graceful_restart,
            "session established"
        ),
        Event::Down(reason) => tracing::warn!(%peer, category = reason.category(), %reason, "session down"),
        Event::AttemptFailed(reason) => {
            tracing::info!(%peer, category = reason.category(), %reason, "no session yet");
        }
        Event::CapabilitiesReduced => {
            tracing::warn!(%peer, "the neighbour refuses optional capabilities; trying with fewer");
        }
        Event::RefreshRequested(family) => {
            tracing::info!(%peer, %family, "the neighbour asks for all routes again")
        }
        Event::EndOfRibReceived(family) => tracing::debug!(%peer, %family, "End-of-RIB received"),
        Event::Refused(refusal) => {
            tracing::warn!(%peer, family = %refusal.family, category = refusal.reason.category(), reason = %refusal.reason, "routes cannot be announced");
        }
    }
}
