//! BIRD 2: static routes, by a new configuration.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use bellhop_lab::command::output_of;
use bellhop_lab::plan::CLUSTER_ASN;

use super::{Batch, Process, Rival, SESSION_DEADLINE};
use crate::wire::{NODE, ROUTER, Wire};

/// BIRD as it runs.
#[derive(Debug)]
pub(super) struct Bird {
    _process: Process,
    batches: Vec<Batch>,
}

/// BIRD sends a MED to an external router only where its export filter sets it.
fn configuration(batches: &[Batch]) -> String {
    let (mut v4, mut v6) = (String::new(), String::new());
    for route in batches.iter().flat_map(Batch::routes) {
        let text = if route.address.is_ipv4() { &mut v4 } else { &mut v6 };
        // `write!` to a String cannot fail.
        let _ = writeln!(
            text,
            "route {} blackhole {{ set_med = {}; bgp_community.add(({CLUSTER_ASN},1)); }};",
            route.prefix(),
            route.med
        );
    }
    format!(
        "router id {};
         attribute int set_med;
         filter of_set {{ bgp_med = set_med; accept; }}
         protocol device {{}}
         protocol static four {{ ipv4; {v4} }}
         protocol static six {{ ipv6; {v6} }}
         protocol bgp uplink {{
           local {} as {CLUSTER_ASN};
           neighbor {} as {};
           connect delay time 1; connect retry time 1;
           ipv4 {{ import none; export filter of_set; next hop self; }};
           ipv6 {{ import none; export filter of_set; next hop address {}; }};
         }}\n",
        NODE.ipv4(),
        NODE.ipv4(),
        ROUTER.ipv4(),
        ROUTER.asn(),
        NODE.ipv6()
    )
}

fn birdc(wire: &Wire, words: &str) -> Result<String> {
    output_of(Command::new("/usr/sbin/birdc").arg("-s").arg(wire.folder().join("bird.ctl")).arg(words))
}

impl Rival for Bird {
    const NAME: &'static str = "BIRD";

    fn start(_benches: &Path, wire: &Wire) -> Result<Self> {
        let file = |name: &str| wire.folder().join(name);
        std::fs::write(file("bird.conf"), configuration(&[]))?;
        let mut command = wire.node().command("/usr/sbin/bird");
        command.arg("-f").arg("-c").arg(file("bird.conf")).arg("-s").arg(file("bird.ctl"));
        let child = command.stdin(Stdio::null()).spawn().context("cannot start BIRD")?;
        let bird = Self { _process: Process(child), batches: Vec::new() };
        bellhop_lab::wait::wait_for("BIRD answers", SESSION_DEADLINE, || {
            birdc(wire, "show status").map_err(|error| format!("{error:#}"))
        })?;
        Ok(bird)
    }

    fn announce(&mut self, wire: &Wire, batch: &Batch) -> Result<Instant> {
        self.batches.push(batch.clone());
        std::fs::write(wire.folder().join("bird.conf"), configuration(&self.batches))?;
        let begin = Instant::now();
        birdc(wire, "configure")?;
        Ok(begin)
    }
}
