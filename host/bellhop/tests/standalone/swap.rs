//! A new version of a policy comes into force without a moment in which a route is absent.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::eventually;
use crate::support::plugins::Packed;
use crate::support::process::Site;

#[test]
fn a_new_version_changes_attributes_and_no_route_is_absent_for_a_moment() {
    let site = Site::good();
    let (one, two) = (Packed::fixture("good-route"), Packed::fixture("peer-attributes"));
    site.manifests.write("one.json", one.object());
    let config = |community: &str| json!({"config": {"community": community}});
    site.manifests.write("policy.json", one.policy("attributes", "Route", config("64500:1")));
    let process = site.start().ready();
    let carry = |community: &str| {
        let routes = process.routes();
        let all = routes.iter().all(|(_, _, attributes)| attributes["communities"] == json!([community]));
        (routes.len() == 4 && all).then_some(()).ok_or_else(|| format!("{routes:#?}\n{}", process.log()))
    };
    eventually("the first version decides", || carry("64500:1"));

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The watcher ends also where an assertion below fails.
        let stopped = Stop(&stop);
        let watch = scope.spawn(|| {
            let mut looks = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let routes = process.routes();
                assert_eq!(routes.len(), 4, "a route is absent: {routes:#?}");
                looks += 1;
            }
            looks
        });
        // Another config is another version of the same module; another module is one by its bytes.
        site.manifests.write("policy.json", one.policy("attributes", "Route", config("64500:2")));
        eventually("the second version decides", || carry("64500:2"));
        site.manifests.write("two.json", two.object());
        let rules =
            json!({"config": {"rules": [{"name": "all", "when": {}, "set": {"communities": ["64500:3"]}}]}});
        site.manifests.write("policy.json", two.policy("attributes", "Route", rules));
        eventually("the third version decides", || carry("64500:3"));
        drop(stopped);
        let looks = watch.join().expect("no route was absent");
        assert!(looks > 10, "looked only {looks} times");
    });
    assert_eq!(process.policy("attributes")["step"], "Active");
}

/// Ends the watcher when it goes out of scope.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
