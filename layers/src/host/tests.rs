use super::*;
use crate::testing::ports::Visits;
use crate::testing::reply::whole;
use crate::testing::{Scripted, mount};

/// The status of a request with these `Host` headers.
async fn status(version: Version, hosts: &[&str]) -> u16 {
    let inner = Scripted::<http::Request<()>>::new().answers(whole("ok"));
    let mut request = http::Request::get("/v1/models").version(version);
    for host in hosts {
        request = request.header(HOST, *host);
    }
    match mount(HostLayer::new(Arc::new(Visits::default())), &inner).ask(request.body(()).unwrap()).await {
        Ok(reply) => reply.status().as_u16(),
        Err(failure) => failure.status().as_u16(),
    }
}

#[tokio::test]
async fn a_request_that_names_no_host_or_two_or_a_bad_one_is_refused() {
    for hosts in [
        &[][..],
        &["a.test", "b.test"],
        &["a.test", "a.test"],
        &["a.test, b.test"],
        &["a test"],
        &["a.test/x"],
        &["user@a.test"],
        &["a.test:80x"],
        &["a.test:80:80"],
        &["[::1"],
        &["[::1]x"],
        &["http://a.test"],
    ] {
        assert_eq!(status(Version::HTTP_11, hosts).await, 400, "{hosts:?}");
    }
}

#[tokio::test]
async fn names_addresses_and_ports_are_hosts() {
    for host in
        ["a.test", "a.test:8000", "A-b_c.test:", "127.0.0.1:8000", "[::1]", "[fe80::1%25eth0]:8000", ""]
    {
        assert_eq!(status(Version::HTTP_11, &[host]).await, 200, "{host}");
    }
}

#[tokio::test]
async fn http_1_0_needs_none() {
    assert_eq!(status(Version::HTTP_10, &[]).await, 200);
}

#[tokio::test]
async fn who_is_refused_leaves_a_visit() {
    let (inner, visits) = (Scripted::<http::Request<()>>::new(), Arc::new(Visits::default()));
    let request = http::Request::get("/v1/models").body(()).unwrap();

    let refused = mount(HostLayer::new(visits.clone()), &inner).ask(request).await;

    assert!(refused.is_err() && inner.calls() == 0);
    let [visit] = &visits.0.all()[..] else { panic!("one visit") };
    assert_eq!(
        (visit.outcome(), visit.status.as_u16(), &*visit.path),
        ("invalid_request", 400, "/v1/models")
    );
}
