//! From values to choices: for each family the choices in order of preference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_policy::{AddressRequest, Choice, Family, Pool};

use crate::Settings;

/// Most choices for one family.
pub(crate) const OPTIONS_MAX: usize = 16;

/// Choices for each family wanted, in the request's order of families.
pub(crate) type Options = Vec<(Family, Vec<Choice>)>;

/// The addresses of a list with commas. A family may be named several times: in order of preference.
pub(crate) fn addresses(text: &str, request: &AddressRequest) -> Result<Options, String> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim) {
        found.push(part.parse::<IpAddr>().map_err(|_| format!("{part:?} is not an IPv4 or IPv6 address"))?);
    }
    let of = |family| found.iter().filter(move |a| Family::of(**a) == family).map(|a| Choice::Exact(*a));
    Ok(request.families.iter().map(|family| (*family, of(*family).take(OPTIONS_MAX).collect())).collect())
}

/// The addresses of ranges: those on offer first, which are free and the longest unused, then all from the start.
pub(crate) fn ranges(text: &str, request: &AddressRequest) -> Result<Options, String> {
    let ranges = text.split(',').map(|part| range(part.trim())).collect::<Result<Vec<_>, _>>()?;
    let of = |family: Family| {
        let mut choices = Vec::new();
        for (index, candidate) in (0..).zip(&request.candidates) {
            let inside = |ip: IpAddr| ranges.iter().any(|(first, last)| *first <= ip && ip <= *last);
            if candidate.family == family && candidate.ip().is_some_and(inside) {
                choices.push(Choice::Candidate(index));
            }
        }
        for (first, last) in ranges.iter().filter(|(first, _)| Family::of(*first) == family) {
            let room = OPTIONS_MAX.saturating_sub(choices.len());
            choices.extend(from_to(*first, *last).take(room).map(Choice::Exact));
        }
        choices.truncate(OPTIONS_MAX);
        choices
    };
    Ok(request.families.iter().map(|family| (*family, of(*family))).collect())
}

/// `FIRST-LAST`, of one family and in order.
fn range(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let ends = text.split_once('-').and_then(|(first, last)| {
        Some((first.trim().parse::<IpAddr>().ok()?, last.trim().parse::<IpAddr>().ok()?))
    });
    match ends {
        Some((first, last)) if Family::of(first) == Family::of(last) && first <= last => Ok((first, last)),
        _ => Err(format!(
            "{text:?} is not a range: two addresses of one family, the lower first, as 192.0.2.10-192.0.2.19"
        )),
    }
}

/// The addresses from `first` to `last`.
fn from_to(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::successors(Some(first), move |at| {
        let next = match at {
            IpAddr::V4(at) => IpAddr::V4(Ipv4Addr::from(u32::from(*at).checked_add(1)?)),
            IpAddr::V6(at) => IpAddr::V6(Ipv6Addr::from(u128::from(*at).checked_add(1)?)),
        };
        (next <= last).then_some(next)
    })
}

/// The suffix put on the prefixes of the addresses on offer, in `pool` where one is named.
pub(crate) fn suffixes(
    text: &str,
    settings: &Settings,
    pool: Option<usize>,
    request: &AddressRequest,
) -> Result<Options, String> {
    let suffix = Suffix::parse(text, settings)?;
    let mut options = Vec::new();
    for family in &request.families {
        let mut choices: Vec<Choice> = Vec::new();
        for candidate in &request.candidates {
            let here = candidate.family == *family && pool.is_none_or(|pool| pool as u32 == candidate.pool);
            if let Some(address) = candidate.ip().filter(|_| here).and_then(|ip| suffix.on(ip, settings)) {
                let choice = Choice::Exact(address);
                if choices.len() < OPTIONS_MAX && !choices.contains(&choice) {
                    choices.push(choice);
                }
            }
        }
        options.push((*family, choices));
    }
    Ok(options)
}

/// The ends of an address, by family.
struct Suffix {
    ipv4: Option<u32>,
    ipv6: Option<u128>,
}

impl Suffix {
    /// `10` for both families, its digits read as each family writes them; `::1f` for IPv6 only; both with a comma.
    fn parse(text: &str, settings: &Settings) -> Result<Self, String> {
        let mut suffix = Self { ipv4: None, ipv6: None };
        for part in text.split(',').map(str::trim) {
            if part.starts_with("::") {
                let end = part.parse::<Ipv6Addr>().ok().map(u128::from);
                suffix.ipv6 = Some(fits_ipv6(end, part, settings)?);
                continue;
            }
            let bits = settings.ipv4_suffix_bits.get();
            let end = part.parse::<u32>().ok().filter(|end| u64::from(*end) < 1 << bits);
            let most = (1_u64 << bits) - 1;
            suffix.ipv4 = Some(end.ok_or_else(|| {
                format!("{part:?} is not a suffix: a number from 0 to {most}, or one for IPv6 as ::1f")
            })?);
            if suffix.ipv6.is_none() {
                let end = u128::from_str_radix(part, 16).ok();
                suffix.ipv6 = Some(fits_ipv6(end, part, settings)?);
            }
        }
        Ok(suffix)
    }

    /// This end on the prefix of `address`.
    fn on(&self, address: IpAddr, settings: &Settings) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX << settings.ipv4_suffix_bits.get();
                Some(Ipv4Addr::from((u32::from(address) & mask) | self.ipv4?).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX << settings.ipv6_suffix_bits.get();
                Some(Ipv6Addr::from((u128::from(address) & mask) | self.ipv6?).into())
            }
        }
    }
}

fn fits_ipv6(end: Option<u128>, text: &str, settings: &Settings) -> Result<u128, String> {
    let bits = settings.ipv6_suffix_bits.get();
    end.filter(|end| end >> bits == 0)
        .ok_or_else(|| format!("{text:?} is not a suffix of {bits} bits for IPv6, as 10 or ::1f"))
}

/// Pools of the request that have addresses of this family, each as a choice.
pub(crate) fn pools_with(family: Family, request: &AddressRequest) -> Vec<Choice> {
    let has = |pool: &&Pool| pool.families.contains(&family);
    request.pools.iter().filter(has).take(OPTIONS_MAX).map(|pool| Choice::Pool(pool.name.clone())).collect()
}
