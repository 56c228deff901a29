//! Step 7: `kill -9`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::{API, DEADLINE, Demo, STREAM, WEB, addresses_of, urls_of};
use crate::plan::{Node, Router};

impl Demo {
    /// Step 7: kernel and server serve on; the routers keep the routes; the new process takes them over.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn a_killed_process_costs_nothing(&mut self) -> Result<()> {
        self.transcript
            .step(7, "kill -9 of a node's process and its restart: no route deleted, no request failed");
        let victim = Node::ALL[1];
        let services = [WEB, API];
        // The Service of step 4 is served by the victim alone: it shows a failure best.
        let local = STREAM.addresses();
        let mut addresses = addresses_of(&services);
        addresses.extend(local);
        let mut urls = urls_of(&services);
        urls.extend(STREAM.urls());
        let claims = self.claims()?;
        let recordings = self.record("restart")?;
        let load = self.steady_load(&urls)?;

        self.transcript.act(format_args!(
            "kill -9 {} ({})",
            self.bellhop.pid(victim).unwrap_or(0),
            victim.name()
        ));
        self.bellhop.kill(victim)?;
        self.wait_for_paths_of(
            "the routers notice and keep its routes as stale",
            &addresses,
            victim,
            |path| path.is_some_and(|path| path.stale && path.used),
        )?;
        self.transcript.act(format_args!("bellhop standalone starts again on {}", victim.name()));
        self.bellhop.start(victim)?;
        self.wait_for_paths_of("its routes are fresh again", &addresses, victim, |path| {
            path.is_some_and(|path| !path.stale && path.used)
        })?;
        let sessions = self.sessions()?;
        let told: Vec<_> = Router::ALL
            .into_iter()
            .filter_map(|router| {
                Some((router.name(), sessions.get(&(router, victim))?.graceful_restart_info))
            })
            .collect();
        self.transcript.that(
            "both routers were told: restarted (R), and forwarding went on for both families (F)",
            told.len() == Router::ALL.len() && told.iter().all(|(_, told)| told.has_restarted_forwarding()),
            format_args!("{told:?}"),
        )?;
        self.wait_for_next_hops("three next hops as before", &addresses_of(&services), &Node::ALL, DEADLINE)?;
        self.wait_for_next_hops("one for the Service with Local, as before", &local, &[victim], DEADLINE)?;
        self.no_route_was_deleted(recordings, &addresses)?;
        self.no_request_failed(load, false)?;
        let after = self.claims()?;
        self.transcript.equal(
            &format!("the {} claims are byte for byte the same", claims.len()),
            &claims,
            &after,
        )?;
        Ok(())
    }

    /// The claim files of the shared state directory, by name.
    fn claims(&self) -> Result<BTreeMap<String, String>> {
        let mut claims = BTreeMap::new();
        for entry in fs::read_dir(self.bellhop.state().join("claims"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                claims.insert(name, String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
            }
        }
        Ok(claims)
    }
}
