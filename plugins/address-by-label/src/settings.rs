//! What `spec.config` may hold.

use std::collections::BTreeMap;

use bellhop_policy::Within;

bellhop_policy::settings! {
    /// Which labels and annotations name addresses.
    #[derive(Debug)]
    pub struct Settings {
        /// What a value means, by the key under which it stands. A key is looked up in the Service's annotations, then
        /// in its labels, then in its Namespace's labels. Where several keys are there Address goes before Suffix, that
        /// before Range; a Pool narrows Suffix to that pool, and gives families that no other value names an address.
        pub keys: BTreeMap<String, Meaning>,
        /// What a Service gets that has none of the keys.
        pub absent: Absent = Absent::UseDefault,
        /// Bits of an IPv4 address that a suffix replaces: with 8, suffix 10 is x.y.z.10.
        pub ipv4_suffix_bits: Within<1, 16> = Within::new(8).expect("in range"),
        /// Bits of an IPv6 address that a suffix replaces: with 64, suffix 10 is PREFIX::10.
        pub ipv6_suffix_bits: Within<4, 64> = Within::new(64).expect("in range"),
    }

    /// What a value means.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Meaning {
        /// An address, or several with commas: 192.0.2.7, 2001:db8::7.
        Address,
        /// The end of an address within the pools: 10 is x.y.z.10 and PREFIX::10; or one for each family with a comma,
        /// the second one after :: as in 10, ::1f.
        Suffix,
        /// Ranges with commas, each with its first and last address: 192.0.2.10-192.0.2.19.
        Range,
        /// Name of an AddressPool.
        Pool,
    }

    /// What a Service gets that has none of the keys.
    #[derive(Debug)]
    pub enum Absent {
        /// The built-in answer.
        UseDefault,
        /// No address.
        Reject,
    }
}

/// Rules between fields.
pub(crate) fn validate(settings: &Settings) -> Result<(), String> {
    if settings.keys.is_empty() {
        return Err("config.keys: is empty, expected at least one key with what it means".into());
    }
    Ok(())
}
