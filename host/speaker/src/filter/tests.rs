//! The driver with the kernel faked, in virtual time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bellhop_core::objects::{Port, Protocol};
use bellhop_net::nftables::FakeFilter;

use super::*;

/// A driver with a hand on everything around it.
struct Rig {
    filter: FakeFilter,
    wanted: watch::Sender<Option<FilterTable>>,
    reports: mpsc::Receiver<Event>,
    /// Speaks for the watch that was opened last.
    watch: Arc<Mutex<Option<mpsc::Sender<()>>>>,
}

impl Rig {
    fn start() -> Self {
        let filter = FakeFilter::default();
        let watch: Arc<Mutex<Option<mpsc::Sender<()>>>> = Arc::default();
        let (wanted, inbox) = watch::channel(None);
        let (planner, reports) = mpsc::channel(16);
        let (opened, opening) = (watch.clone(), filter.clone());
        let driver = Driver {
            node: ObjectRef::cluster("Node", "node-1"),
            open: move || {
                let (sender, receiver) = mpsc::channel(16);
                *opened.lock().unwrap() = Some(sender);
                Ok((opening.clone(), receiver))
            },
            settings: Path::new("/nonexistent").into(),
            inbox,
            planner,
            reported: None,
            standing: 0,
            failure: None,
            retry: RETRY,
        };
        tokio::spawn(driver.run());
        Self { filter, wanted, reports, watch }
    }

    fn want(&self, addresses: &[&str]) {
        self.wanted.send_replace(Some(table(addresses)));
    }

    async fn report(&mut self) -> FilterReport {
        match self.reports.recv().await {
            Some(Event::Filtered(report)) => report,
            other => panic!("unexpected: {other:?}"),
        }
    }

    async fn tamper(&self) {
        self.filter.tamper();
        let watch = self.watch.lock().unwrap().clone().unwrap();
        watch.send(()).await.unwrap();
    }

    /// Waits until the table is as wanted; in virtual time, so that only a table that never will be is waited out.
    async fn wait_for(&self, addresses: &[&str]) {
        let until = Instant::now() + Duration::from_secs(600);
        while self.filter.table() != table(addresses) {
            assert!(Instant::now() < until, "{:?}", self.filter.table());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn table(addresses: &[&str]) -> FilterTable {
    let ports = [Port { protocol: Protocol::Tcp, port: 80 }];
    FilterTable {
        addresses: addresses.iter().map(|text| (text.parse::<IpAddr>().unwrap(), ports.into())).collect(),
        ..FilterTable::default()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_written_and_reported() {
    let mut rig = Rig::start();
    rig.want(&["203.0.113.1", "203.0.113.2"]);
    assert_eq!(rig.report().await, FilterReport { addresses: 2, problems: vec![] });
    rig.want(&[]);
    assert_eq!(rig.report().await, FilterReport { addresses: 0, problems: vec![] });
    assert_eq!(rig.filter.table(), table(&[]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_planner_knows_what_is_wanted() {
    let rig = Rig::start();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.filter.written_whole(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_without_nf_tables_has_a_problem_that_says_what_to_do_until_it_is_right() {
    let mut rig = Rig::start();
    rig.filter.set_broken(true);
    rig.want(&["203.0.113.1"]);
    let report = rig.report().await;
    let told = report.problems[0].to_string();
    assert!(told.starts_with("Node/node-1: ") && told.contains("CAP_NET_ADMIN"), "{told}");
    assert_eq!(report.addresses, 0);
    tokio::time::sleep(RETRY_MAX * 10).await;
    assert!(rig.reports.try_recv().is_err(), "the same problem is reported once");
    rig.filter.set_broken(false);
    assert_eq!(rig.report().await, FilterReport { addresses: 1, problems: vec![] });
}

#[tokio::test(start_paused = true)]
async fn a_table_that_somebody_else_changed_is_written_whole_again_at_once_and_then_not_too_often() {
    let mut rig = Rig::start();
    rig.want(&["203.0.113.1"]);
    rig.report().await;
    assert_eq!(rig.filter.written_whole(), 1);
    let start = Instant::now();
    rig.tamper().await;
    rig.wait_for(&["203.0.113.1"]).await;
    assert!(start.elapsed() < REPAIR_REST, "{:?}", start.elapsed());
    rig.tamper().await;
    rig.wait_for(&["203.0.113.1"]).await;
    assert!(start.elapsed() >= REPAIR_REST, "{:?}", start.elapsed());
    assert_eq!(rig.filter.written_whole(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_becomes_few_transactions_and_ends_as_the_last_says() {
    let rig = Rig::start();
    for last in 1..=100 {
        rig.want(&["203.0.113.200", &format!("203.0.113.{last}")]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.wait_for(&["203.0.113.200", "203.0.113.100"]).await;
    assert!(rig.filter.changes() <= 5, "{}", rig.filter.changes());
}
