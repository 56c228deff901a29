//! Schemas that several kinds share, each with the CEL rules that the API server checks values by.
//!
//! A rule stands on the value that it is about, so that the API server's message names the value and its place
//! (`spec.addresses[1]`), and says what would be right. What takes two values stands on their object and must be silent
//! where one of them is wrong by itself: that has been said already. `bellhop-index` checks all of it once more, because a
//! manifest folder has no API server in front of it.
//!
//! Minima of length are left to the rules: the API server says "should be at least 2 chars long" of an address and then
//! nothing else.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Longest text of an IP address: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
pub(crate) const ADDRESS_MAX: usize = 45;

/// Longest text of two addresses with a dash and a space at both sides of it.
const RANGE_MAX: usize = 2 * ADDRESS_MAX + 3;

/// Most ranges of a pool, and most exclusions.
const RANGES_MAX: usize = 64;

/// Longest duration. Together with [`DURATION`] it keeps `duration()` from overflowing (292 years).
const DURATION_MAX: usize = 16;

/// A Kubernetes duration: `90s`, `1m30s`, `500ms`.
const DURATION: &str = r"^([0-9]{1,6}(\\.[0-9]{1,6})?(ms|s|m|h))+$";

/// RFC 1123 subdomain, the name of most objects.
const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Longest RFC 1123 subdomain.
const NAME_MAX: usize = 253;

/// What a label's value, and the part of its key behind the slash, is made of.
const LABEL: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?";

/// Longest value of a label.
pub(crate) const LABEL_VALUE_MAX: usize = 63;

/// An address that one host can have.
pub(crate) fn address(_: &mut SchemaGenerator) -> Schema {
    address_where("true", "must be an IP address of one host, as 203.0.113.7 or 2001:db8::7")
}

/// An IPv4 address that one host can have.
pub(crate) fn ipv4_address(_: &mut SchemaGenerator) -> Schema {
    address_where("ip(self).family() == 4", "must be an IPv4 address of one host, as 203.0.113.7")
}

/// An IPv6 address that one host can have.
pub(crate) fn ipv6_address(_: &mut SchemaGenerator) -> Schema {
    address_where("ip(self).family() == 6", "must be an IPv6 address of one host, as 2001:db8::7")
}

/// Addresses that hosts can have, at most sixteen.
pub(crate) fn addresses(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 16, "items": address(generator) })
}

fn address_where(more: &str, message: &str) -> Schema {
    let one_host = "(ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast() || ip(self).isLoopback())";
    let rule = format!("isIP(self) && {one_host} && {more}");
    text(ADDRESS_MAX, &[(&rule, message)])
}

/// A claim's address: canonical, because there is one claim of it, and never changed.
pub(crate) fn claimed_address(_: &mut SchemaGenerator) -> Schema {
    text(
        ADDRESS_MAX,
        &[
            (
                "isIP(self) && ip.isCanonical(self)",
                "must be an IP address in canonical form (RFC 5952), as 203.0.113.7 or 2001:db8::7",
            ),
            ("self == oldSelf", "the address of a claim never changes; create another claim"),
        ],
    )
}

/// Name of a claim, against its address: a rule of the whole object.
pub(crate) const CLAIM_NAME: &str = "!isIP(self.spec.address) || (ip(self.spec.address).family() == 4 \
    ? self.metadata.name == self.spec.address \
    : self.metadata.name.matches('^([0-9a-f]{4}-){7}[0-9a-f]{4}$') \
        && ip(self.metadata.name.replace('-', ':')) == ip(self.spec.address))";

/// BGP Identifier (RFC 6286 §2.1): four octets, not all zero.
pub(crate) fn router_id(_: &mut SchemaGenerator) -> Schema {
    text(
        15,
        &[(
            "isIP(self) && ip(self).family() == 4 && self != '0.0.0.0'",
            "must be written as an IPv4 address other than 0.0.0.0, as 192.0.2.1 (RFC 6286)",
        )],
    )
}

/// CIDRs, ranges `a-b` and single addresses: at least one.
pub(crate) fn ranges(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "minItems": 1, "maxItems": RANGES_MAX, "items": range() })
}

/// CIDRs, ranges `a-b` and single addresses, or none.
pub(crate) fn optional_ranges(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": RANGES_MAX, "items": range() })
}

fn range() -> Schema {
    text(
        RANGE_MAX,
        &[
            (
                "isCIDR(self) || isIP(self) || (self.split('-').size() == 2 && self.split('-').all(i, isIP(i.trim())))",
                "must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address",
            ),
            (
                "!(self.contains('.') && self.contains(':'))",
                "mixes IPv4 and IPv6; both ends of a range must be of one family",
            ),
            (
                "!isCIDR(self) || cidr(self) == cidr(self).masked()",
                "has host bits set; write the network as 203.0.113.0/24, or one address without a length",
            ),
        ],
    )
}

/// An AS number (RFC 6793) that a speaker can have.
pub(crate) fn asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer", "format": "int64", "minimum": 1, "maximum": 4_294_967_294_u64,
        "x-kubernetes-validations": rules(&[(
            "!(self in [23456, 65535])",
            "is reserved (RFC 6793, RFC 7300); private AS numbers are 64512 to 65534 and 4200000000 to 4294967294",
        )]),
    })
}

/// A hold time (RFC 4271 §4.2), sixteen bits of seconds.
pub(crate) fn hold_time(_: &mut SchemaGenerator) -> Schema {
    duration_where(
        "(duration(self) == duration('0s') || duration(self) >= duration('3s')) && duration(self) <= duration('65535s')",
        true,
        "must be 0s or whole seconds from 3s to 65535s, as 90s or 1m30s (RFC 4271 §4.2)",
    )
}

/// A keepalive time, or a connect retry time.
pub(crate) fn timer(_: &mut SchemaGenerator) -> Schema {
    duration_where(
        "duration(self) >= duration('1s') && duration(self) <= duration('65535s')",
        false,
        "must be a duration from 1s to 65535s, as 10s or 1m30s",
    )
}

/// A restart time (RFC 4724 §3), twelve bits of seconds.
pub(crate) fn restart_time(_: &mut SchemaGenerator) -> Schema {
    duration_where(
        "duration(self) >= duration('1s') && duration(self) <= duration('4095s')",
        true,
        "must be whole seconds from 1s to 4095s, as 120s or 2m (RFC 4724 §3)",
    )
}

/// How long a drain waits.
pub(crate) fn drain_wait(_: &mut SchemaGenerator) -> Schema {
    duration_where(
        "duration(self) >= duration('0s') && duration(self) <= duration('3600s')",
        false,
        "must be a duration from 0s to 1h, as 10s or 1m30s",
    )
}

fn duration_where(bounds: &str, whole_seconds: bool, message: &str) -> Schema {
    let whole = " && duration(self).getMilliseconds() % 1000 == 0";
    let whole = if whole_seconds { whole } else { "" };
    let rule = format!("self.matches('{DURATION}') && {bounds}{whole}");
    text(DURATION_MAX, &[(&rule, message)])
}

/// The keepalive time against the hold time: a rule of a BGPPeer's spec.
pub(crate) fn keepalive_below_hold_time() -> String {
    format!(
        "!has(self.keepaliveTime) || !self.keepaliveTime.matches('{DURATION}') || !self.holdTime.matches('{DURATION}') \
         || duration(self.holdTime) == duration('0s') || duration(self.keepaliveTime) < duration(self.holdTime)"
    )
}

/// The source address against the peer's: a rule of a BGPPeer's spec.
pub(crate) const SOURCE_FAMILY: &str = "!has(self.sourceAddress) || !isIP(self.sourceAddress) \
    || !has(self.peerAddress) || !isIP(self.peerAddress) \
    || ip(self.sourceAddress).family() == ip(self.peerAddress).family()";

/// A link-local address says nothing without its interface (RFC 4007).
pub(crate) const LINK_LOCAL_PEER: &str =
    "!has(self.peerAddress) || !self.peerAddress.matches('^[fF][eE][89abAB]') || has(self.sourceInterface)";

/// A network.
pub(crate) fn prefix(_: &mut SchemaGenerator) -> Schema {
    text(
        43,
        &[(
            "isCIDR(self) && cidr(self) == cidr(self).masked()",
            "must be a CIDR without host bits, as 192.0.2.0/24 or 2001:db8::/64",
        )],
    )
}

/// Communities (RFC 1997).
pub(crate) fn communities(_: &mut SchemaGenerator) -> Schema {
    let rule = "self in ['graceful-shutdown', 'blackhole', 'no-export', 'no-advertise', 'no-export-subconfed', 'no-peer'] \
        || (self.matches('^[0-9]{1,5}:[0-9]{1,5}$') && self.split(':').all(n, int(n) <= 65535))";
    let message = "must be two numbers of 0 to 65535 as 65000:100, or one of graceful-shutdown, blackhole, no-export, \
        no-advertise, no-export-subconfed, no-peer";
    json_schema!({ "type": "array", "maxItems": 64, "items": text(63, &[(rule, message)]) })
}

/// Large communities (RFC 8092).
pub(crate) fn large_communities(_: &mut SchemaGenerator) -> Schema {
    let rule =
        "self.matches('^[0-9]{1,10}(:[0-9]{1,10}){2}$') && self.split(':').all(n, int(n) <= 4294967295)";
    let message = "must be three numbers of 0 to 4294967295 as 64512:1:2";
    json_schema!({ "type": "array", "maxItems": 16, "items": text(63, &[(rule, message)]) })
}

/// Extended communities (RFC 4360).
pub(crate) fn extended_communities(_: &mut SchemaGenerator) -> Schema {
    let rule = "self.matches('^0x[0-9a-fA-F]{16}$') || (self.matches('^(rt|soo):[0-9]{1,10}:[0-9]{1,10}$') \
        && int(self.split(':')[1]) <= 4294967295 \
        && int(self.split(':')[2]) <= (int(self.split(':')[1]) <= 65535 ? 4294967295 : 65535)) \
        || (self.matches('^(rt|soo):[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+:[0-9]{1,5}$') && isIP(self.split(':')[1]) \
        && int(self.split(':')[2]) <= 65535)";
    let message = "must be rt:64512:100 or soo:192.0.2.1:100 (an AS number or an IPv4 address, and a number), or 0x and 16 \
        hexadecimal digits";
    json_schema!({ "type": "array", "maxItems": 16, "items": text(63, &[(rule, message)]) })
}

/// Names of objects.
pub(crate) fn names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 64, "items": name_of("an object") })
}

/// Name of a ConfigMap.
pub(crate) fn config_map(_: &mut SchemaGenerator) -> Schema {
    name_of("a ConfigMap in Bellhop's namespace")
}

/// Name of a network interface: what Linux takes (`dev_valid_name`), but for non-ASCII characters.
pub(crate) fn interface(_: &mut SchemaGenerator) -> Schema {
    text(
        15,
        &[(
            "self.matches('^[!-.0-9;-~]+$') && !(self in ['.', '..'])",
            "must be the name of an interface, as eth0 or bond0.100: at most 15 characters without spaces, / and :",
        )],
    )
}

/// Name of a BFDProfile.
pub(crate) fn bfd_profile(_: &mut SchemaGenerator) -> Schema {
    name_of("a BFDProfile")
}

/// An interval of BFD.
pub(crate) fn bfd_interval(_: &mut SchemaGenerator) -> Schema {
    duration_where(
        "duration(self) >= duration('10ms') && duration(self) <= duration('60s')",
        false,
        "must be from 10ms to 60s, as 300ms",
    )
}

/// Name of a Secret.
pub(crate) fn secret(_: &mut SchemaGenerator) -> Schema {
    name_of("a Secret in Bellhop's namespace")
}

fn name_of(what: &str) -> Schema {
    let rule = format!("self.matches('{NAME}')");
    text(NAME_MAX, &[(&rule, &format!("must be the name of {what}: lower-case letters, digits, - and ."))])
}

/// A key of a ConfigMap.
pub(crate) fn config_map_key(_: &mut SchemaGenerator) -> Schema {
    text(
        NAME_MAX,
        &[(
            "self.matches('^[-._a-zA-Z0-9]+$')",
            "must be a key of the ConfigMap: letters, digits, -, . and _",
        )],
    )
}

/// A SHA-256.
pub(crate) fn sha256(_: &mut SchemaGenerator) -> Schema {
    text(
        64,
        &[(
            "self.matches('^[0-9a-f]{64}$')",
            "must be a SHA-256 in 64 lower-case hexadecimal digits, as sha256sum prints it",
        )],
    )
}

/// A map of label keys to label values (RFC 1123 sizes, as `metav1.LabelSelector.matchLabels`).
pub(crate) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    let keys = format!("self.all(key, {})", label_key("key"));
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": label_value(),
        "x-kubernetes-validations": rules(&[(&keys, "each key must be that of a label, as app or example.com/app")]),
    })
}

/// The key of a label.
pub(crate) fn selector_key(_: &mut SchemaGenerator) -> Schema {
    text(317, &[(&label_key("self"), "must be the key of a label, as app or example.com/app")])
}

/// Values of a label.
pub(crate) fn selector_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 32, "items": label_value() })
}

fn label_key(name: &str) -> String {
    format!(
        r"{name}.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?{LABEL}$') && {name}.split('/')[{name}.split('/').size() - 1].size() <= 63"
    )
}

fn label_value() -> Schema {
    let rule = format!("self.matches('^({LABEL})?$')");
    let message = "must be the value of a label: at most 63 letters, digits, -, _ and ., with a letter or digit at both ends";
    text(LABEL_VALUE_MAX, &[(&rule, message)])
}

/// Any JSON object; what is in it is the plugin's business.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

fn text(max: usize, checks: &[(&str, &str)]) -> Schema {
    json_schema!({ "type": "string", "maxLength": max, "x-kubernetes-validations": rules(checks) })
}

fn rules(checks: &[(&str, &str)]) -> Value {
    checks.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect()
}
