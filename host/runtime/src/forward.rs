//! Hands what a source tells to whoever plans.

use std::time::Instant;

use tokio::sync::mpsc;

use crate::http::Heartbeat;

/// Hands every batch on, as an event, until the planner is gone; cancelling it loses the batch under way. A planner that does
/// not take a batch in time is seen by the heartbeat. A source that ends while the planner lives ended unasked: what is known
/// would never change again, and nobody would notice. So the process is not alive any more, for its supervisor to start it anew.
pub async fn forward<Batch, Event>(
    mut source: mpsc::Receiver<Batch>,
    planner: mpsc::Sender<Event>,
    heartbeat: Heartbeat,
    event: impl Fn(Batch) -> Event,
) {
    while let Some(batch) = source.recv().await {
        heartbeat.begin(Instant::now());
        if planner.send(event(batch)).await.is_err() {
            break;
        }
        heartbeat.wait();
    }
    if planner.is_closed() {
        heartbeat.retire();
    } else {
        tracing::error!("the source has ended unasked: nothing new is learnt, and /livez fails from now on");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::Health;

    const BOUND: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_source_that_ends_while_the_planner_lives_costs_the_liveness() {
        let health = Health::new(Instant::now());
        let (batches, source) = mpsc::channel(1);
        let (planner, mut inbox) = mpsc::channel(1);
        let task =
            tokio::spawn(forward(source, planner, health.task("source", BOUND), |batch: u8| batch + 1));
        batches.send(1).await.unwrap();
        assert_eq!(inbox.recv().await, Some(2));
        assert!(health.live(Instant::now()).ok);
        drop(batches);
        task.await.unwrap();
        let verdict = health.live(Instant::now());
        assert!(verdict.text.starts_with("[-]source failed: has ended"), "{}", verdict.text);
    }

    #[tokio::test]
    async fn a_source_that_ends_after_the_planner_did_as_it_was_asked() {
        let health = Health::new(Instant::now());
        let (batches, source) = mpsc::channel::<u8>(1);
        let (planner, inbox) = mpsc::channel(1);
        drop(inbox);
        drop(batches);
        forward(source, planner, health.task("source", BOUND), |batch| batch).await;
        assert!(health.live(Instant::now()).ok);

        let (batches, source) = mpsc::channel::<u8>(1);
        let (planner, inbox) = mpsc::channel(1);
        batches.send(1).await.unwrap();
        drop(inbox);
        forward(source, planner, health.task("source", BOUND), |batch| batch).await;
        assert!(health.live(Instant::now()).ok, "{}", health.live(Instant::now()).text);
    }
}
