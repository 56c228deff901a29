//! The packet: round trip, every refusal, every word.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::harness::{ours, packet, theirs};
use crate::{Diagnostic, Discriminator, PACKET_LENGTH, Packet, Refusal, State};

/// Some good packet's octets, altered.
fn altered(alter: impl FnOnce(&mut Vec<u8>)) -> Result<Packet, Refusal> {
    let mut octets = packet(State::Up).encode().to_vec();
    alter(&mut octets);
    Packet::decode(&octets)
}

#[test]
fn a_packet_has_its_fields_where_rfc_5880_puts_them() {
    let packet = Packet {
        diagnostic: Diagnostic::PathDown,
        poll_bit: true,
        demand_bit: true,
        desired_min_tx: 0x0102_0304,
        required_min_rx: 0x0506_0708,
        required_min_echo_rx: 0x090A_0B0C,
        ..packet(State::Init)
    };
    let octets = [
        0x25, 0xA2, 3, 24, 0x22, 0x22, 0x22, 0x22, 0x11, 0x11, 0x11, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
        12,
    ];
    assert_eq!(packet.encode(), octets);
    assert_eq!(Packet::decode(&octets), Ok(packet));
}

#[test]
fn every_check_of_rfc_5880_that_needs_no_session_refuses_by_name() {
    let table: [(Result<Packet, Refusal>, Refusal); 12] = [
        (altered(|octets| octets.truncate(23)), Refusal::Truncated { octets: 23 }),
        (altered(Vec::clear), Refusal::Truncated { octets: 0 }),
        (altered(|octets| octets[0] = 0), Refusal::Version(0)),
        (altered(|octets| octets[0] = 2 << 5), Refusal::Version(2)),
        (altered(|octets| octets[3] = 23), Refusal::ShortLength { length: 23, least: 24 }),
        (
            altered(|octets| {
                octets[1] |= 1 << 2;
                octets[3] = 25;
            }),
            Refusal::ShortLength { length: 25, least: 26 },
        ),
        (altered(|octets| octets[3] = 25), Refusal::LongLength { length: 25, octets: 24 }),
        (altered(|octets| octets[2] = 0), Refusal::ZeroDetectMultiplier),
        (altered(|octets| octets[1] |= 1), Refusal::Multipoint),
        (altered(|octets| octets[4..8].fill(0)), Refusal::ZeroMyDiscriminator),
        (altered(|octets| octets[8..12].fill(0)), Refusal::ZeroYourDiscriminator(State::Up)),
        (
            altered(|octets| {
                octets[1] |= 1 << 2;
                octets[3] = 26;
                octets.extend([1, 2]);
            }),
            Refusal::Authenticated,
        ),
    ];
    for (result, refusal) in table {
        assert_eq!(result, Err(refusal));
    }
}

#[test]
fn your_discriminator_may_be_zero_in_down_and_admin_down_only() {
    for state in State::ALL {
        let result = Packet::decode(&Packet { your_discriminator: None, ..packet(state) }.encode());
        match state {
            State::Down | State::AdminDown => assert_eq!(result.unwrap().your_discriminator, None),
            State::Init | State::Up => assert_eq!(result, Err(Refusal::ZeroYourDiscriminator(state))),
        }
    }
}

#[test]
fn octets_beyond_the_length_are_ignored_and_a_longer_length_is_allowed() {
    assert_eq!(altered(|octets| octets.extend([7; 40])), Ok(packet(State::Up)));
    let longer = altered(|octets| {
        octets[3] = 60;
        octets.extend([7; 36]);
    });
    assert_eq!(longer, Ok(packet(State::Up)));
}

#[test]
fn a_packet_with_both_p_and_f_is_taken_as_both() {
    let both = Packet { poll_bit: true, final_bit: true, ..packet(State::Up) };
    assert_eq!(Packet::decode(&both.encode()), Ok(both));
}

#[test]
fn every_refusal_has_a_category_of_its_own_and_says_what_is_wrong() {
    let all = [
        Refusal::Truncated { octets: 3 },
        Refusal::Version(2),
        Refusal::ShortLength { length: 23, least: 24 },
        Refusal::LongLength { length: 25, octets: 24 },
        Refusal::ZeroDetectMultiplier,
        Refusal::Multipoint,
        Refusal::ZeroMyDiscriminator,
        Refusal::ZeroYourDiscriminator(State::Init),
        Refusal::Authenticated,
        Refusal::UnknownDiscriminator(ours()),
        Refusal::UnknownNeighbour,
        Refusal::ForeignPath(ours()),
        Refusal::Ttl { ttl: 254, least: 255 },
    ];
    let categories: Vec<_> = all.iter().map(|refusal| refusal.category()).collect();
    assert_eq!(categories, Refusal::CATEGORIES);
    let texts: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
    assert_eq!(
        Refusal::Ttl { ttl: 254, least: 255 }.to_string(),
        "TTL 254; packets of this session must arrive with at least 255"
    );
}

#[test]
fn every_diagnostic_has_its_number_and_words_and_one_category_for_those_not_assigned() {
    let mut categories = BTreeSet::new();
    for code in 0..=31 {
        let diagnostic = Diagnostic::from_code(code);
        assert_eq!(diagnostic.code(), code);
        categories.insert(diagnostic.category());
        if code > 8 {
            assert_eq!(
                (diagnostic.category(), diagnostic.to_string()),
                ("reserved", format!("reserved diagnostic {code}"))
            );
        }
    }
    assert_eq!(categories.len(), 10);
    assert_eq!(Diagnostic::from_code(1).to_string(), "control detection time expired");
    assert_eq!(
        Diagnostic::from_code(0xE7),
        Diagnostic::AdministrativelyDown,
        "the upper bits are the version's"
    );
}

#[test]
fn zero_is_no_discriminator() {
    assert_eq!(Discriminator::new(0), None);
    assert_eq!(theirs().to_string(), "0x22222222");
}

fn state() -> impl Strategy<Value = State> {
    prop::sample::select(State::ALL.to_vec())
}

prop_compose! {
    fn any_packet()(
        code in 0_u8..32,
        state in state(),
        bits in any::<[bool; 4]>(),
        detect_multiplier in 1_u8..,
        my in 1_u32..,
        your in any::<u32>(),
        intervals in any::<[u32; 3]>(),
    ) -> Packet {
        let [poll_bit, final_bit, control_plane_independent, demand_bit] = bits;
        let [desired_min_tx, required_min_rx, required_min_echo_rx] = intervals;
        Packet {
            diagnostic: Diagnostic::from_code(code),
            state,
            poll_bit,
            final_bit,
            control_plane_independent,
            demand_bit,
            detect_multiplier,
            my_discriminator: Discriminator::new(my).unwrap(),
            your_discriminator: Discriminator::new(if state == State::Down { your / 2 } else { your.max(1) }),
            desired_min_tx,
            required_min_rx,
            required_min_echo_rx,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_096,
        rng_seed: RngSeed::Fixed(0x0be1_1bfd),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_packet_comes_back_as_it_was(packet in any_packet()) {
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn every_payload_that_is_accepted_is_encoded_as_it_came(mut octets in any::<[u8; PACKET_LENGTH]>(), tidy in any::<bool>()) {
        if tidy {
            octets[0] = 1 << 5 | (octets[0] & 0x1F);
            octets[1] &= !0b101;
            octets[3] = 24;
        }
        if let Ok(packet) = Packet::decode(&octets) {
            prop_assert_eq!(packet.encode(), octets);
        } else {
            prop_assert!(!tidy || octets[2] == 0 || octets[4..8] == [0; 4] || octets[8..12] == [0; 4]);
        }
    }
}
