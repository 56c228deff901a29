//! Values that several kinds share: addresses, ranges, durations, names.

use std::net::IpAddr;
use std::time::Duration;

use bellhop_api::Reason;
use bellhop_core::objects::AddressRange;
use ipnet::IpNet;

use crate::report::Report;

/// An address, or `None` with a problem.
pub(crate) fn address(text: &str, field: &str, report: &mut Report) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => match refused(address) {
            None => Some(address),
            Some(why) => {
                report.wrong(Reason::InvalidAddress, field, text, why);
                None
            }
        },
        Err(_) => {
            let hint = if text.contains('/') { "; leave out the prefix length" } else { "" };
            let message = format!("must be an IP address as 203.0.113.7 or 2001:db8::7{hint}");
            report.wrong(Reason::InvalidAddress, field, text, message);
            None
        }
    }
}

/// Why an address can be nobody's on a network, if it cannot.
fn refused(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("is the unspecified address and must be one of a host");
    }
    if address.is_multicast() || address == IpAddr::from([255, 255, 255, 255]) {
        return Some("is a multicast or broadcast address and must be one of a single host");
    }
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("is an IPv4 address written as IPv6; write it as IPv4 as 203.0.113.7")
        }
        _ => None,
    }
}

/// A network, or `None` with a problem.
pub(crate) fn prefix(text: &str, field: &str, report: &mut Report) -> Option<IpNet> {
    match text.parse().ok().filter(|net: &IpNet| !net.addr().is_multicast() && net.prefix_len() > 0) {
        Some(net) if net.trunc() == net => Some(net),
        Some(net) => {
            report.wrong(
                Reason::InvalidRange,
                field,
                text,
                format!("has host bits set; write {}", net.trunc()),
            );
            None
        }
        None => {
            let message = "must be a CIDR of hosts as 192.0.2.0/24 or 2001:db8::/64";
            report.wrong(Reason::InvalidRange, field, text, message);
            None
        }
    }
}

/// A CIDR, a range `a-b` or a single address, or `None` with a problem.
pub(crate) fn range(text: &str, field: &str, report: &mut Report) -> Option<AddressRange> {
    let found = if text.contains('/') { cidr(text) } else { first_to_last(text) };
    let found = found.and_then(|range| {
        let multicast = range.first().is_multicast() || range.last().is_multicast();
        let loopback = range.first().is_loopback() || range.last().is_loopback();
        let mapped = matches!(range.first(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if multicast || loopback || mapped || range.first().is_unspecified() {
            Err("contains addresses that no Service can have (unspecified, loopback, multicast, IPv4-mapped)"
                .into())
        } else {
            Ok(range)
        }
    });
    match found {
        Ok(range) => Some(range),
        Err(message) => {
            report.wrong(Reason::InvalidRange, field, text, message);
            None
        }
    }
}

fn cidr(text: &str) -> Result<AddressRange, String> {
    let net: IpNet = text.parse().map_err(|_| {
        String::from("must be a CIDR as 203.0.113.0/24 or 2001:db8::/120, with a length its family has")
    })?;
    if net.trunc() != net {
        return Err(format!("has host bits set; write {} or one address without a length", net.trunc()));
    }
    AddressRange::new(net.network(), net.broadcast()).ok_or_else(|| String::from("is no range"))
}

fn first_to_last(text: &str) -> Result<AddressRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Ok(first), Ok(last)) = (first.trim().parse::<IpAddr>(), last.trim().parse::<IpAddr>()) else {
        return Err(
            "must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address".into()
        );
    };
    if first.is_ipv4() != last.is_ipv4() {
        return Err("mixes IPv4 and IPv6; both ends must be of one family".into());
    }
    AddressRange::new(first, last).ok_or_else(|| format!("is inverted; write {last}-{first}"))
}

/// A Kubernetes duration (Go's `time.ParseDuration` without signs) within bounds, or `None` with a problem.
pub(crate) fn duration(
    text: &str,
    field: &str,
    bounds: std::ops::RangeInclusive<Duration>,
    report: &mut Report,
) -> Option<Duration> {
    let Some(found) = parse_duration(text) else {
        let message = "must be a duration as 90s, 1m30s or 500ms";
        report.wrong(Reason::InvalidDuration, field, text, message);
        return None;
    };
    if bounds.contains(&found) {
        return Some(found);
    }
    let (min, max) = (bounds.start().as_secs_f64(), bounds.end().as_secs_f64());
    report.wrong(Reason::InvalidDuration, field, text, format!("must be from {min}s to {max}s"));
    None
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        rest = &rest[number..];
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        seconds += value
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(())?;
    // Whole milliseconds: what is written `0.1s` is 100 ms and not 100.000000149 ms.
    let milliseconds = Duration::try_from_secs_f64(seconds).ok()?.as_secs_f64() * 1000.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the line above")]
    Some(Duration::from_millis(milliseconds.round() as u64))
}

/// True for 64 lower-case hexadecimal digits; else a problem.
pub(crate) fn sha256(text: &str, field: &str, report: &mut Report) -> bool {
    let right = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !right {
        let message = "must be a SHA-256 in 64 lower-case hexadecimal digits, as sha256sum prints it";
        report.wrong(Reason::InvalidDigest, field, text, message);
    }
    right
}

/// True for an RFC 1123 subdomain (`metadata.name` of most kinds): at most 253 lower-case letters, digits, `-` and `.`.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label_of_any_length)
}

/// True for an RFC 1123 label (`metadata.namespace`): at most 63 lower-case letters, digits and `-`.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use bellhop_core::ObjectRef;

    use super::*;

    fn with_report<T>(f: impl FnOnce(&mut Report) -> T) -> (T, Vec<String>) {
        let mut report = Report::new(ObjectRef::cluster("AddressPool", "p"));
        let value = f(&mut report);
        (value, report.into_problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn ranges_read_as_they_are_written() {
        for (text, first, last) in [
            ("203.0.113.0/24", "203.0.113.0", "203.0.113.255"),
            ("203.0.113.10-203.0.113.20", "203.0.113.10", "203.0.113.20"),
            ("203.0.113.10 - 203.0.113.20", "203.0.113.10", "203.0.113.20"),
            ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
            ("2001:db8::/126", "2001:db8::", "2001:db8::3"),
        ] {
            let (range, problems) = with_report(|report| range(text, "f", report));
            let range = range.unwrap_or_else(|| panic!("{problems:?}"));
            assert_eq!(
                (range.first().to_string().as_str(), range.last().to_string().as_str()),
                (first, last)
            );
        }
    }

    #[test]
    fn a_wrong_range_is_answered_with_the_right_one() {
        for (text, hint) in [
            ("203.0.113.20-203.0.113.10", "write 203.0.113.10-203.0.113.20"),
            ("203.0.113.7/24", "write 203.0.113.0/24"),
            ("203.0.113.1-2001:db8::1", "one family"),
            ("203.0.113.0/33", "must be a CIDR"),
            ("shop", "must be a CIDR"),
            ("224.0.0.0/8", "no Service can have"),
            ("0.0.0.0/0", "no Service can have"),
            ("127.0.0.1", "no Service can have"),
        ] {
            let (range, problems) = with_report(|report| range(text, "spec.addresses[0]", report));
            assert!(
                range.is_none() && problems.len() == 1 && problems[0].contains(hint),
                "{text}: {problems:?}"
            );
            assert!(problems[0].contains(text) && problems[0].contains("spec.addresses[0]"), "{problems:?}");
        }
    }

    #[test]
    fn durations_are_exact_to_the_millisecond_and_bounded() {
        for (text, milliseconds) in
            [("90s", 90_000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "90", "s", "-1s", "1d", "1e3s", "1..5s", "99999999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        let bounds = Duration::from_secs(3)..=Duration::from_secs(65535);
        let (found, problems) = with_report(|report| duration("2s", "spec.holdTime", bounds, report));
        assert!(found.is_none() && problems[0].contains("from 3s to 65535s"), "{problems:?}");
    }

    #[test]
    fn names_are_those_that_the_api_server_takes() {
        assert!(is_subdomain("a.b-c.d1") && is_subdomain("203.0.113.7") && is_label("web"));
        for name in ["", "A", "a_b", "-a", "a-", "a..b", ".a"] {
            assert!(!is_subdomain(name), "{name}");
        }
        assert!(!is_label("a.b") && !is_label(&"a".repeat(64)) && !is_subdomain(&"a".repeat(254)));
    }
}
