//! The BFD Control packet (RFC 5880 §4.1), encoded and decoded in place: no allocation, no state.
//!
//! Decoding makes every check of RFC 5880 §6.8.6 that needs no session, in the order given there. What follows from a
//! session (whose discriminator it is, from whom, over how many hops) is checked by [`Table`](crate::Table) and
//! [`Session`](crate::Session).

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use crate::error::Refusal;

/// Octets of a packet without authentication (RFC 5880 §4.1).
pub const PACKET_LENGTH: usize = 24;
/// TTL or Hop Limit that packets are sent with, and that single hop packets must arrive with (RFC 5881 §5).
pub const TTL: u8 = 255;
/// Where the UDP source port of a session is taken from (RFC 5881 §4, RFC 5883 §5). Unique among the sessions of a
/// system where that is possible, and the same for all packets of a session.
pub const SOURCE_PORTS: RangeInclusive<u16> = 49152..=65535;

const VERSION: u8 = 1;
/// The least Length field, without and with the A bit (RFC 5880 §6.8.6).
const LEAST_LENGTH: u8 = 24;
const LEAST_AUTHENTICATED_LENGTH: u8 = 26;

const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const CONTROL_PLANE_INDEPENDENT: u8 = 1 << 3;
const AUTHENTICATION: u8 = 1 << 2;
const DEMAND: u8 = 1 << 1;
const MULTIPOINT: u8 = 1;

/// The number by which one end of a session knows it: not 0, and unique among the sessions of that system (RFC 5880
/// §6.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Discriminator(NonZeroU32);

impl Discriminator {
    /// `None` for 0, which stands for "not known".
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Discriminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.get())
    }
}

/// The state of a session (RFC 5880 §4.1, §6.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
pub enum State {
    /// Held down administratively; says nothing of the path.
    AdminDown,
    /// Not up, or just made.
    Down,
    /// The neighbour is heard, and it is not known whether it hears this side.
    Init,
    /// Both sides hear each other.
    Up,
}

impl State {
    /// All of them, by their number on the wire.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    /// The state's name in RFC 5880.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }

    /// From the upper two bits of the octet of flags.
    const fn of_flags(flags: u8) -> Self {
        match flags >> 6 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a system last left a state (RFC 5880 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Diagnostic {
    /// 0: nothing to tell.
    #[default]
    NoDiagnostic,
    /// 1: the neighbour was not heard for the detection time.
    DetectionTimeExpired,
    /// 2: the Echo function failed. Never sent by this side.
    EchoFailed,
    /// 3: the neighbour said that the session is down.
    NeighborSignaledDown,
    /// 4: the forwarding plane was reset. Never sent by this side.
    ForwardingPlaneReset,
    /// 5: something outside BFD found the path down.
    PathDown,
    /// 6: a path joined to this one is down (RFC 5880 §6.8.17). Never sent by this side.
    ConcatenatedPathDown,
    /// 7: taken down by an administrator.
    AdministrativelyDown,
    /// 8: a path joined to this one is down in the other direction. Never sent by this side.
    ReverseConcatenatedPathDown,
    /// 9 to 31: not assigned by RFC 5880.
    #[non_exhaustive]
    Reserved(u8),
}

impl Diagnostic {
    /// From the number on the wire, of which the lower five bits count.
    pub const fn from_code(code: u8) -> Self {
        match code & 0x1F {
            0 => Self::NoDiagnostic,
            1 => Self::DetectionTimeExpired,
            2 => Self::EchoFailed,
            3 => Self::NeighborSignaledDown,
            4 => Self::ForwardingPlaneReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            reserved => Self::Reserved(reserved),
        }
    }

    /// The number on the wire, at most 31.
    pub const fn code(self) -> u8 {
        match self {
            Self::NoDiagnostic => 0,
            Self::DetectionTimeExpired => 1,
            Self::EchoFailed => 2,
            Self::NeighborSignaledDown => 3,
            Self::ForwardingPlaneReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Reserved(code) => code & 0x1F,
        }
    }

    /// A label from a closed set, for metrics and conditions.
    pub const fn category(self) -> &'static str {
        match self {
            Self::NoDiagnostic => "none",
            Self::DetectionTimeExpired => "detection_time_expired",
            Self::EchoFailed => "echo_failed",
            Self::NeighborSignaledDown => "neighbor_signaled_down",
            Self::ForwardingPlaneReset => "forwarding_plane_reset",
            Self::PathDown => "path_down",
            Self::ConcatenatedPathDown => "concatenated_path_down",
            Self::AdministrativelyDown => "administratively_down",
            Self::ReverseConcatenatedPathDown => "reverse_concatenated_path_down",
            Self::Reserved(_) => "reserved",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDiagnostic => "no diagnostic",
            Self::DetectionTimeExpired => "control detection time expired",
            Self::EchoFailed => "echo function failed",
            Self::NeighborSignaledDown => "neighbor signaled session down",
            Self::ForwardingPlaneReset => "forwarding plane reset",
            Self::PathDown => "path down",
            Self::ConcatenatedPathDown => "concatenated path down",
            Self::AdministrativelyDown => "administratively down",
            Self::ReverseConcatenatedPathDown => "reverse concatenated path down",
            Self::Reserved(code) => return write!(f, "reserved diagnostic {code}"),
        })
    }
}

/// A BFD Control packet of version 1 without authentication and with the M bit clear (RFC 5880 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Why the sender last left a state.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// P: the sender asks for an answer with the F bit. Never together with it in what this side sends (RFC 5880 §6.5);
    /// a packet received with both is taken as both.
    pub poll_bit: bool,
    /// F: the answer to a packet with the P bit.
    pub final_bit: bool,
    /// C: the sender's BFD survives a failure of its control plane (RFC 5882 §4.3).
    pub control_plane_independent: bool,
    /// D: the sender does not want to receive packets periodically (RFC 5880 §6.6).
    pub demand_bit: bool,
    /// How many packets in a row may be missing; not 0.
    pub detect_multiplier: u8,
    /// The sender's discriminator.
    pub my_discriminator: Discriminator,
    /// The receiver's discriminator; `None` while the sender does not know it.
    pub your_discriminator: Option<Discriminator>,
    /// The interval at which the sender would like to send, microseconds.
    pub desired_min_tx: u32,
    /// The least interval between packets that the sender can take, microseconds; 0: it wants none periodically.
    pub required_min_rx: u32,
    /// The least interval between Echo packets that the sender can take, microseconds; 0: it takes none.
    pub required_min_echo_rx: u32,
}

impl Packet {
    /// The packet's octets.
    pub fn encode(&self) -> [u8; PACKET_LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut octets = [0; PACKET_LENGTH];
        octets[0] = VERSION << 5 | self.diagnostic.code();
        octets[1] = self.state.code() << 6
            | flag(self.poll_bit, POLL)
            | flag(self.final_bit, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand_bit, DEMAND);
        octets[2] = self.detect_multiplier;
        octets[3] = LEAST_LENGTH;
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator.map_or(0, Discriminator::get),
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (place, word) in octets[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }

    /// Decodes a UDP payload with the checks of RFC 5880 §6.8.6. Octets beyond the Length field are ignored.
    pub fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        let Some(octets) = payload.first_chunk::<PACKET_LENGTH>() else {
            return Err(Refusal::Truncated { octets: payload.len() });
        };
        let [first, flags, detect_multiplier, length, ..] = *octets;
        let word =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        if first >> 5 != VERSION {
            return Err(Refusal::Version(first >> 5));
        }
        let authenticated = flags & AUTHENTICATION != 0;
        let least = if authenticated { LEAST_AUTHENTICATED_LENGTH } else { LEAST_LENGTH };
        if length < least {
            return Err(Refusal::ShortLength { length, least });
        }
        if usize::from(length) > payload.len() {
            return Err(Refusal::LongLength { length, octets: payload.len() });
        }
        if detect_multiplier == 0 {
            return Err(Refusal::ZeroDetectMultiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Refusal::Multipoint);
        }
        let my_discriminator = Discriminator::new(word(4)).ok_or(Refusal::ZeroMyDiscriminator)?;
        let your_discriminator = Discriminator::new(word(8));
        let state = State::of_flags(flags);
        if your_discriminator.is_none() && !matches!(state, State::Down | State::AdminDown) {
            return Err(Refusal::ZeroYourDiscriminator(state));
        }
        if authenticated {
            return Err(Refusal::Authenticated);
        }
        Ok(Self {
            diagnostic: Diagnostic::from_code(first),
            state,
            poll_bit: flags & POLL != 0,
            final_bit: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand_bit: flags & DEMAND != 0,
            detect_multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: word(12),
            required_min_rx: word(16),
            required_min_echo_rx: word(20),
        })
    }
}
