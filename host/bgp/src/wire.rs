//! Messages on the wire: this crate's own vocabulary over the codec, so that no type of the codec leaves this module.
//!
//! Decoding adds the checks whose NOTIFICATION codes the codec gets wrong (a short OPEN or UPDATE and a BoRR or EoRR of
//! the wrong length). Encoding of UPDATEs is our own ([`update`]), as attributes are encoded once and shared.

use std::fmt;
use std::net::Ipv4Addr;

use bellhop_core::Family;
use bellhop_core::peer::Role;
use bytes::{BufMut, Bytes, BytesMut};
use rustbgpd_wire as codec;

pub(crate) mod attributes;
pub(crate) mod describe;
pub(crate) mod update;

/// The largest message sent or accepted, header included (RFC 4271 §4.1).
pub const MAX_MESSAGE: usize = 4096;
/// Octets of the message header.
pub(crate) const HEADER: usize = 19;
/// AS_TRANS (RFC 6793 §9): stands for a four-octet AS number where only two octets fit.
pub(crate) const AS_TRANS: u16 = 23456;

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// A NOTIFICATION message (RFC 4271 §4.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Diagnostic data.
    pub data: Bytes,
}

impl Notification {
    pub(crate) fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Bytes::new() }
    }

    pub(crate) fn with_data(code: u8, subcode: u8, data: impl Into<Bytes>) -> Self {
        Self { code, subcode, data: data.into() }
    }

    /// A Cease (RFC 4486) with a shutdown communication (RFC 9003 §2): of `text` as many whole characters as 255 octets
    /// hold.
    pub(crate) fn cease_with_text(subcode: u8, text: &str) -> Self {
        let data = if text.is_empty() {
            Bytes::new()
        } else {
            let text = &text[..text.floor_char_boundary(SHUTDOWN_TEXT_MAX)];
            // The length is an octet.
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            [&[length], text.as_bytes()].concat().into()
        };
        Self { code: CEASE, subcode, data }
    }

    /// This notification inside a Hard Reset (RFC 8538 §3): graceful restart must not keep the routes.
    pub(crate) fn hard(self) -> Self {
        let mut data = BytesMut::with_capacity(2 + self.data.len());
        data.put_u8(self.code);
        data.put_u8(self.subcode);
        data.put_slice(&self.data);
        Self { code: CEASE, subcode: cease::HARD_RESET, data: data.freeze() }
    }

    /// The text of a shutdown communication (RFC 9003), also from within a Hard Reset; `None` where there is none or
    /// it is malformed.
    pub fn shutdown_text(&self) -> Option<String> {
        let message = codec::NotificationMessage::new(
            codec::NotificationCode::from_u8(self.code),
            self.subcode,
            self.data.clone(),
        );
        codec::notification::extract_shutdown_communication(&message).ok().flatten().map(str::to_owned)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let data = &self.data[..self.data.len().min(MAX_MESSAGE - HEADER - 2)];
        let mut buf = BytesMut::with_capacity(HEADER + 2 + data.len());
        put_header(&mut buf, HEADER + 2 + data.len(), NOTIFICATION);
        buf.put_u8(self.code);
        buf.put_u8(self.subcode);
        buf.put_slice(data);
        buf.freeze()
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = codec::NotificationCode::from_u8(self.code);
        let description = codec::notification::description(code, self.subcode);
        write!(f, "{}/{} ({description})", self.code, self.subcode)?;
        match self.shutdown_text() {
            Some(text) if !text.is_empty() => write!(f, ": {}", text.escape_debug()),
            _ => Ok(()),
        }
    }
}

/// NOTIFICATION code Cease.
pub(crate) const CEASE: u8 = 6;
/// NOTIFICATION code Send Hold Timer Expired (RFC 9687 §5).
pub(crate) const SEND_HOLD_EXPIRED: u8 = 8;
/// Octets of a shutdown communication (RFC 9003 §2).
const SHUTDOWN_TEXT_MAX: usize = 255;

/// Subcodes of Cease (RFC 4486, RFC 8538, RFC 9384).
pub(crate) mod cease {
    pub(crate) const SHUTDOWN: u8 = 2;
    pub(crate) const DECONFIGURED: u8 = 3;
    pub(crate) const RESET: u8 = 4;
    pub(crate) const REJECTED: u8 = 5;
    pub(crate) const CONFIGURATION_CHANGE: u8 = 6;
    pub(crate) const COLLISION: u8 = 7;
    pub(crate) const HARD_RESET: u8 = 9;
    pub(crate) const BFD_DOWN: u8 = 10;
}

/// The Graceful Restart capability (RFC 4724 §3, RFC 8538 §2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GracefulRestartCapability {
    /// R: the sender restarted.
    pub(crate) restarted: bool,
    /// N: a NOTIFICATION other than Hard Reset keeps routes too.
    pub(crate) notification: bool,
    /// Seconds, at most 4095.
    pub(crate) restart_time: u16,
    /// The families with their F bit.
    pub(crate) families: Vec<(Family, bool)>,
}

/// What an OPEN says, as far as this speaker cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    /// The AS number: of the capability where present, else the two-octet field.
    pub(crate) asn: u32,
    /// Proposed hold time in seconds.
    pub(crate) hold_time: u16,
    /// BGP Identifier.
    pub(crate) router_id: Ipv4Addr,
    /// Multiprotocol families; `None` where no such capability was sent, which means IPv4 unicast alone.
    pub(crate) families: Option<Vec<Family>>,
    /// Four-octet AS numbers (RFC 6793).
    pub(crate) four_octet: bool,
    /// Route refresh (RFC 2918).
    pub(crate) route_refresh: bool,
    /// Enhanced route refresh (RFC 7313).
    pub(crate) enhanced_refresh: bool,
    /// Graceful restart; the last one where several were sent.
    pub(crate) graceful_restart: Option<GracefulRestartCapability>,
    /// IPv4 unicast may have IPv6 next hops (RFC 8950).
    pub(crate) extended_next_hop: bool,
    /// Roles (RFC 9234 §4.1), in the order sent; `None` for one of no meaning.
    pub(crate) roles: Vec<Option<Role>>,
}

impl Open {
    /// The whole message, in the form of RFC 9072 where the capabilities ask for it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut capabilities = Vec::new();
        for family in self.families.iter().flatten() {
            let (afi, safi) = afi_safi(*family);
            capabilities.push(codec::Capability::MultiProtocol { afi, safi });
        }
        if self.route_refresh {
            capabilities.push(codec::Capability::RouteRefresh);
        }
        if self.enhanced_refresh {
            capabilities.push(codec::Capability::EnhancedRouteRefresh);
        }
        if self.extended_next_hop {
            capabilities.push(codec::Capability::ExtendedNextHop(vec![codec::ExtendedNextHopFamily {
                nlri_afi: codec::Afi::Ipv4,
                nlri_safi: codec::Safi::Unicast,
                next_hop_afi: codec::Afi::Ipv6,
            }]));
        }
        let own = |role: &Role| ROLES.iter().find(|(_, known)| known == role);
        let roles = self.roles.iter().flatten().filter_map(own);
        capabilities.extend(roles.map(|(role, _)| codec::Capability::Role { role: *role }));
        if let Some(gr) = &self.graceful_restart {
            capabilities.push(codec::Capability::GracefulRestart {
                restart_state: gr.restarted,
                notification: gr.notification,
                restart_time: gr.restart_time,
                families: gr
                    .families
                    .iter()
                    .map(|&(family, forwarding_preserved)| {
                        let (afi, safi) = afi_safi(family);
                        codec::GracefulRestartFamily { afi, safi, forwarding_preserved }
                    })
                    .collect(),
            });
        }
        if self.four_octet {
            capabilities.push(codec::Capability::FourOctetAs { asn: self.asn });
        }
        let message = codec::OpenMessage {
            version: 4,
            my_as: u16::try_from(self.asn).unwrap_or(AS_TRANS),
            hold_time: self.hold_time,
            bgp_identifier: self.router_id,
            capabilities,
        };
        let mut buf = BytesMut::with_capacity(message.encoded_len());
        // At most two families and seven capabilities: some eighty octets, so that no limit of the codec can be met.
        let encoded = message.encode(&mut buf);
        debug_assert!(encoded.is_ok());
        buf.freeze()
    }

    fn from_codec(message: &codec::OpenMessage) -> Self {
        let mut open = Self {
            asn: u32::from(message.my_as),
            hold_time: message.hold_time,
            router_id: message.bgp_identifier,
            families: None,
            four_octet: false,
            route_refresh: false,
            enhanced_refresh: false,
            graceful_restart: None,
            extended_next_hop: false,
            roles: Vec::new(),
        };
        for capability in &message.capabilities {
            match capability {
                codec::Capability::MultiProtocol { afi, safi } => {
                    let families = open.families.get_or_insert_default();
                    if let Some(family) = family_of(*afi as u16, *safi as u8)
                        && !families.contains(&family)
                    {
                        families.push(family);
                    }
                }
                // A family the codec does not know: multiprotocol was used all the same.
                codec::Capability::Unknown { code: 1, .. } => {
                    open.families.get_or_insert_default();
                }
                codec::Capability::FourOctetAs { asn } => {
                    open.four_octet = true;
                    // AS 0 in either place is invalid (RFC 7607 §2); keep the one that is wrong.
                    open.asn = if message.my_as == 0 { 0 } else { *asn };
                }
                codec::Capability::ExtendedNextHop(entries) => {
                    open.extended_next_hop |= entries.iter().any(|entry| {
                        (entry.nlri_afi, entry.nlri_safi, entry.next_hop_afi)
                            == (codec::Afi::Ipv4, codec::Safi::Unicast, codec::Afi::Ipv6)
                    });
                }
                codec::Capability::Role { role } => {
                    open.roles.push(ROLES.iter().find(|(known, _)| known == role).map(|(_, role)| *role));
                }
                // Of another length, or of a value that means nothing.
                codec::Capability::Unknown { code: 9, .. } => open.roles.push(None),
                codec::Capability::RouteRefresh => open.route_refresh = true,
                codec::Capability::EnhancedRouteRefresh => open.enhanced_refresh = true,
                codec::Capability::GracefulRestart {
                    restart_state,
                    notification,
                    restart_time,
                    families,
                } => {
                    open.graceful_restart = Some(GracefulRestartCapability {
                        restarted: *restart_state,
                        notification: *notification,
                        restart_time: *restart_time,
                        families: families
                            .iter()
                            .filter_map(|f| {
                                Some((family_of(f.afi as u16, f.safi as u8)?, f.forwarding_preserved))
                            })
                            .collect(),
                    });
                }
                _ => {}
            }
        }
        open
    }

    /// The Multiprotocol capabilities alone, as the data of a NOTIFICATION 2/7 (RFC 5492 §5).
    pub(crate) fn multiprotocol_capabilities(families: &[Family]) -> Bytes {
        let mut data = BytesMut::new();
        for family in families {
            data.put_slice(&[1, 4, 0, afi(*family), 0, 1]);
        }
        data.freeze()
    }
}

/// The codec's roles, beside ours.
const ROLES: [(codec::BgpRole, Role); 5] = [
    (codec::BgpRole::Provider, Role::Provider),
    (codec::BgpRole::RouteServer, Role::RouteServer),
    (codec::BgpRole::RouteServerClient, Role::RouteServerClient),
    (codec::BgpRole::Customer, Role::Customer),
    (codec::BgpRole::Peer, Role::Peer),
];

/// The subtype of a ROUTE-REFRESH (RFC 7313 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refresh {
    /// A request.
    Request = 0,
    /// Beginning of the answer.
    Begin = 1,
    /// End of the answer.
    End = 2,
}

/// A message received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Open(Open),
    Update(Bytes),
    Notification(Notification),
    Keepalive,
    /// Of a family this speaker knows; others are [`Message::Ignored`].
    RouteRefresh(Family, Refresh),
    /// Well-formed and of no concern.
    Ignored,
}

impl Message {
    /// The type octet, as RFC 6608 wants it in the data of an FSM error.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Open(_) => OPEN,
            Self::Update(_) => UPDATE,
            Self::Notification(_) => NOTIFICATION,
            Self::Keepalive => KEEPALIVE,
            Self::RouteRefresh(..) | Self::Ignored => ROUTE_REFRESH,
        }
    }
}

/// What is wrong with what was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Malformed {
    /// Answer with this and close.
    Answer(Notification),
    /// A malformed NOTIFICATION: close without an answer (RFC 4271 §6.4).
    Silently,
}

/// Takes the next whole message off `buf`; `None` where more octets are needed.
pub(crate) fn next_message(buf: &mut BytesMut) -> Result<Option<Message>, Malformed> {
    if buf.len() < HEADER {
        return Ok(None);
    }
    if buf[..16] != [0xFF; 16] {
        return Err(Malformed::Answer(Notification::new(1, 1)));
    }
    let length = u16::from_be_bytes([buf[16], buf[17]]);
    let kind = buf[18];
    check_length(length, kind)?;
    if buf.len() < usize::from(length) {
        return Ok(None);
    }
    decode(buf.split_to(usize::from(length)).freeze()).map(Some)
}

/// What [`next_message`] is about to take off `buf`, or the start of what it will refuse.
pub(crate) fn peek_message(buf: &BytesMut) -> Option<Bytes> {
    let length = usize::from(u16::from_be_bytes([*buf.get(16)?, *buf.get(17)?]));
    let sane = buf[..16] == [0xFF; 16] && (HEADER..=MAX_MESSAGE).contains(&length);
    match buf.get(..length) {
        Some(message) if sane => Some(Bytes::copy_from_slice(message)),
        None if sane => None,
        _ => Some(Bytes::copy_from_slice(&buf[..buf.len().min(64)])),
    }
}

/// Length by message type (RFC 4271 §6.1), before anything is read of the body.
fn check_length(length: u16, kind: u8) -> Result<(), Malformed> {
    let bad_length = Notification::with_data(1, 2, length.to_be_bytes().to_vec());
    if usize::from(length) < HEADER || usize::from(length) > MAX_MESSAGE {
        return Err(Malformed::Answer(bad_length));
    }
    let valid = match kind {
        OPEN => length >= 29,
        UPDATE => length >= 23,
        KEEPALIVE => length == 19,
        ROUTE_REFRESH => length >= 23,
        NOTIFICATION if length < 21 => return Err(Malformed::Silently),
        NOTIFICATION => true,
        _ => return Err(Malformed::Answer(Notification::with_data(1, 3, vec![kind]))),
    };
    if valid { Ok(()) } else { Err(Malformed::Answer(bad_length)) }
}

fn decode(frame: Bytes) -> Result<Message, Malformed> {
    match frame[18] {
        // Neither body needs the codec's typed form here; an UPDATE is looked at by `update::inspect`.
        UPDATE => return Ok(Message::Update(frame)),
        ROUTE_REFRESH if frame.len() != 23 && matches!(frame[21], 1 | 2) => {
            return Err(Malformed::Answer(Notification::with_data(7, 1, frame)));
        }
        // A request is longer only with filters (RFC 5291), which are not offered. The codec would leave the length out.
        ROUTE_REFRESH if frame.len() != 23 => {
            return Err(Malformed::Answer(Notification::with_data(1, 2, frame.slice(16..18))));
        }
        _ => {}
    }
    let mut rest = frame;
    match codec::decode_message(&mut rest, codec::MAX_MESSAGE_LEN) {
        Ok(codec::Message::Open(open)) => Ok(Message::Open(Open::from_codec(&open))),
        Ok(codec::Message::Notification(n)) => {
            Ok(Message::Notification(Notification { code: n.code.as_u8(), subcode: n.subcode, data: n.data }))
        }
        Ok(codec::Message::Keepalive) => Ok(Message::Keepalive),
        Ok(codec::Message::RouteRefresh(refresh)) => {
            let subtype = match refresh.subtype_raw {
                0 => Refresh::Request,
                1 => Refresh::Begin,
                2 => Refresh::End,
                _ => return Ok(Message::Ignored),
            };
            Ok(match family_of(refresh.afi_raw, refresh.safi_raw) {
                Some(family) => Message::RouteRefresh(family, subtype),
                None => Message::Ignored,
            })
        }
        // UPDATEs returned above.
        Ok(_) => Ok(Message::Ignored),
        Err(error) => Err(Malformed::Answer(answer(&error))),
    }
}

/// The NOTIFICATION that RFC 4271 §6 asks for.
fn answer(error: &codec::DecodeError) -> Notification {
    let (code, subcode, data) = error.to_notification();
    Notification { code: code.as_u8(), subcode, data }
}

/// A KEEPALIVE message.
pub(crate) fn keepalive() -> Bytes {
    let mut buf = BytesMut::with_capacity(HEADER);
    put_header(&mut buf, HEADER, KEEPALIVE);
    buf.freeze()
}

/// A ROUTE-REFRESH message.
pub(crate) fn route_refresh(family: Family, subtype: Refresh) -> Bytes {
    let mut buf = BytesMut::with_capacity(HEADER + 4);
    put_header(&mut buf, HEADER + 4, ROUTE_REFRESH);
    buf.put_slice(&[0, afi(family), subtype as u8, 1]);
    buf.freeze()
}

/// Marker, length and type. `length` is at most [`MAX_MESSAGE`] by every caller's own bound.
pub(crate) fn put_header(buf: &mut BytesMut, length: usize, kind: u8) {
    debug_assert!((HEADER..=MAX_MESSAGE).contains(&length));
    buf.put_bytes(0xFF, 16);
    buf.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
    buf.put_u8(kind);
}

/// The low octet of the Address Family Identifier; the high one is zero for both.
pub(crate) fn afi(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    }
}

fn afi_safi(family: Family) -> (codec::Afi, codec::Safi) {
    match family {
        Family::Ipv4 => (codec::Afi::Ipv4, codec::Safi::Unicast),
        Family::Ipv6 => (codec::Afi::Ipv6, codec::Safi::Unicast),
    }
}

fn family_of(afi: u16, safi: u8) -> Option<Family> {
    match (afi, safi) {
        (1, 1) => Some(Family::Ipv4),
        (2, 1) => Some(Family::Ipv6),
        _ => None,
    }
}
