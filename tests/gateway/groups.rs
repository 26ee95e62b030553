//! Keys within keys: the order of a group, and what a nested key's own limits mean to it.

use serde_json::json;

use crate::harness::subjects::groups::*;
use crate::harness::*;

#[tokio::test]
async fn usage_through_a_group_is_recorded_under_the_outer_key() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let config = grouped(&a, &b, &c, &json!({}));
    let gateway = Setup::new(config).with_database().env("STATS_PLAIN_KEYS", "true").start().await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(gateway.request_rows(1).await[0].api_key.as_deref(), Some(CLIENT));
}
