//! The crate against a real API server, with a proxy between them that makes trouble. Needs root and what `make setup`
//! installs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod leases;
#[allow(dead_code, reason = "shared with the tests of `bellhop`, which use the rest of it")]
mod proxy;
mod sources;
mod writes;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bellhop_kubernetes::Client;
use bellhop_test_cluster::{Cluster, Mode, Options};
use tokio::time::Instant;

/// For what takes a moment; a machine that does other work besides makes it seconds.
const SOON: Duration = Duration::from_secs(20);

/// The cluster, and a client with the rights of its administrator.
struct Api {
    cluster: Cluster,
    client: Client,
}

impl Api {
    async fn client_of(kubeconfig: &Path) -> Result<Client> {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        Ok(bellhop_kubernetes::client::client(config)?)
    }

    fn apply(&self, documents: &str) {
        self.cluster.apply(documents).unwrap();
    }
}

/// Waits until something is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !is_so().await {
        if Instant::now() > deadline {
            bail!("{what}: not within {SOON:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[test]
fn the_api_server_is_watched_written_and_led_through_whatever_trouble_there_is() {
    let options = Options::new("kubernetes").mode(Mode::ControlPlane);
    let cluster = Cluster::up(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Api::client_of(&cluster.kubeconfig()).await.unwrap();
        let api = Api { cluster, client };
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
        for file in std::fs::read_dir(&crds).context("the CRDs").unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                api.apply(&std::fs::read_to_string(path).unwrap());
            }
        }
        api.cluster
            .kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])
            .unwrap();
        api.cluster.kubectl(&["create", "namespace", "bellhop-system"]).unwrap();
        let mut failed = false;
        for (name, case) in [
            (
                "writes",
                Box::pin(writes::conditions_decide(&api))
                    as std::pin::Pin<Box<dyn Future<Output = Result<()>>>>,
            ),
            ("trouble", Box::pin(writes::trouble_is_retried_and_told(&api))),
            ("events", Box::pin(writes::events_are_aggregated_and_never_waited_for(&api))),
            ("watch", Box::pin(sources::changes_arrive_and_trouble_does_not_show(&api))),
            ("pages", Box::pin(sources::a_server_without_streamed_lists_is_read_in_pages(&api))),
            ("refusals", Box::pin(sources::a_refusal_names_verb_and_resource_and_is_got_over(&api))),
            ("cache", Box::pin(sources::a_speaker_starts_from_what_it_kept_while_the_server_is_away(&api))),
            ("policies", Box::pin(sources::a_policy_is_read_from_its_copy(&api))),
            ("election", Box::pin(leases::one_leads_and_hands_over(&api))),
            ("speakers", Box::pin(leases::a_speaker_is_seen_to_live_and_to_stop(&api))),
        ] {
            let began = Instant::now();
            let ended = case.await;
            println!("{name}: {:?} {ended:?}", began.elapsed());
            failed |= ended.is_err();
        }
        assert!(!failed, "some cases failed; see above");
    });
}
