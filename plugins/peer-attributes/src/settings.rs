//! What `spec.config` may hold.

use std::collections::BTreeMap;

use bellhop_policy::{Community, LargeCommunity, Within};

/// Most communities that a route may carry.
const COMMUNITIES_MAX: usize = 64;
/// Most large communities.
const LARGE_COMMUNITIES_MAX: usize = 16;

bellhop_policy::settings! {
    /// Which attributes routes get.
    #[derive(Debug)]
    pub struct Settings {
        /// What happens where several rules match.
        pub mode: Mode = Mode::FirstMatch,
        /// The table, in order. Where no rule matches the built-in answer stays.
        pub rules: Vec<Rule>,
    }

    /// What happens where several rules match.
    #[derive(Debug)]
    pub enum Mode {
        /// The first one decides alone.
        FirstMatch,
        /// All are applied in order: lists are added up, of single values the last one counts, and the first rule that
        /// withholds ends it.
        Merge,
    }

    /// One row of the table.
    #[derive(Debug)]
    pub struct Rule {
        /// Name for notes; without it rules[0], rules[1] and so on.
        pub name: Option<String>,
        /// What must hold; {} always does.
        pub when: When,
        /// What the route gets, on top of the Advertisement's attributes.
        pub set: Set,
    }

    /// Conditions; all that are given must hold. Of maps every key must be there with that value, * stands for any.
    #[derive(Debug)]
    pub struct When {
        /// Labels of the Service.
        pub service_labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Annotations of the Service.
        pub service_annotations: BTreeMap<String, String> = BTreeMap::new(),
        /// Labels of the Service's Namespace.
        pub namespace_labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Labels of the announcing Node.
        pub node_labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Labels of the BGPPeer.
        pub peer_labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Kind of the session.
        pub session: Option<Session>,
        /// Names of AddressPools; the address must be from one of them.
        pub pools: Vec<String> = Vec::new(),
    }

    /// Kind of a BGP session.
    #[derive(Debug)]
    pub enum Session {
        /// With another AS (eBGP).
        External,
        /// Within the AS (iBGP).
        Internal,
    }

    /// Attributes; what is not given stays as the Advertisement has it.
    #[derive(Debug)]
    pub struct Set {
        /// Communities (RFC 1997) to add.
        pub communities: Vec<Community> = Vec::new(),
        /// Large communities (RFC 8092) to add.
        pub large_communities: Vec<LargeCommunity> = Vec::new(),
        /// First take away the communities and large communities that the route has.
        pub replace_communities: bool = false,
        /// Local preference; sent to internal peers only.
        pub local_preference: Option<u32>,
        /// MED.
        pub med: Option<u32>,
        /// The own AS this many times more in the AS path.
        pub prepend: Option<Within<0, 16>>,
        /// Link bandwidth in bytes per second, for weighted ECMP.
        pub link_bandwidth: Option<u64>,
        /// Do not announce to this peer, for this reason; nothing else may be set beside it.
        pub withhold: Option<String>,
    }
}

/// Rules between fields.
pub(crate) fn validate(settings: &Settings) -> Result<(), String> {
    validate_rules(&settings.rules)
}

/// Rules between the fields of a table that stands in `config.rules`.
///
/// # Errors
/// With the field, its value and what would be right.
pub fn validate_rules(rules: &[Rule]) -> Result<(), String> {
    for (index, rule) in rules.iter().enumerate() {
        let set = &rule.set;
        let count = |field: &str, has: usize, max: usize| {
            (has > max).then(|| {
                format!("config.rules[{index}].set.{field}: has {has} entries, expected at most {max}")
            })
        };
        let anything = !set.communities.is_empty()
            || !set.large_communities.is_empty()
            || set.local_preference.is_some()
            || set.med.is_some()
            || set.prepend.is_some()
            || set.link_bandwidth.is_some()
            || set.replace_communities;
        let problem = count("communities", set.communities.len(), COMMUNITIES_MAX)
            .or_else(|| count("largeCommunities", set.large_communities.len(), LARGE_COMMUNITIES_MAX))
            .or_else(|| {
                (set.withhold.is_some() && anything).then(|| {
                    format!("config.rules[{index}].set.withhold: stands beside attributes, expected alone: a route that is withheld has none")
                })
            });
        if let Some(problem) = problem {
            return Err(problem);
        }
    }
    Ok(())
}
