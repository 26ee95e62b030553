//! Proxies between the gateway and its upstreams.

use serde_json::json;

use crate::harness::secrets::Secrets;
use crate::harness::*;

const LOGIN: (&str, &str) = ("proxy-user", "pa55:w@rd/of proxy");
/// The same as it stands in a URL.
const LOGIN_IN_URL: &str = "proxy-user:pa55%3Aw%40rd%2Fof%20proxy@";
const WRONG: &str = "proxy-user:wr0ng-passw0rd@";

const BOTH: [Speaks; 2] = [Speaks::Connect, Speaks::Socks5];

/// An upstream whose name only proxies know.
fn hidden(name: &str) -> serde_json::Value {
    channel_at(name, "http://hidden.test/v1/chat/completions")
}

/// Promises: `proxy-default`.
#[tokio::test]
async fn without_a_setting_connections_are_direct_whatever_the_environment_says() {
    let upstream = healthy("direct").await;
    let proxy = Proxy::start(Speaks::Connect, None, &[]).await;
    let mut setup = Setup::new(config([channel("a", &upstream)]));
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        setup = setup.env(name, &proxy.url(""));
    }
    let gateway = setup.start().await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!((upstream.count(), proxy.targets().len()), (1, 0));
}

/// Promises: `proxy-socks5`, `proxy-http`.
#[tokio::test]
async fn requests_go_through_a_proxy_which_finds_the_upstream() {
    for speaks in BOTH {
        let upstream = healthy("hidden").await;
        let proxy = Proxy::start(speaks, None, &[("hidden.test:80", upstream.address())]).await;
        let channel = hidden("a").with("/preferences/proxy", json!(proxy.url("")));
        let gateway = Gateway::start(config([channel])).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "hidden", "{speaks:?}");
        assert_eq!(gateway.chat(&hello_stream()).await.expect(200).streamed(), "hidden", "{speaks:?}");
        assert_eq!(proxy.targets()[0], "hidden.test:80", "{speaks:?}");
        assert_eq!(upstream.last().path, "/v1/chat/completions");
        assert_eq!(upstream.last().header("host"), Some("hidden.test"));
    }
}

/// Promises: `proxy-socks5`, `proxy-http`, `proxy-credentials`.
#[tokio::test]
async fn tls_to_the_upstream_goes_through_the_proxy_unread() {
    for speaks in BOTH {
        let authority = Authority::new();
        let upstream = healthy("secure").await;
        let front = authority.front(&upstream, "hidden.test").await;
        let proxy = Proxy::start(speaks, Some(LOGIN), &[("hidden.test:443", front)]).await;
        let channel = channel_at("a", "https://hidden.test/v1/chat/completions")
            .with("/preferences/proxy", json!(proxy.url(LOGIN_IN_URL)));
        let setup = Setup::new(config([channel])).file("authority.pem", authority.pem());
        let file = setup.folder().join("authority.pem").display().to_string();
        let gateway = setup.env("SSL_CERT_FILE", &file).start().await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "secure", "{speaks:?}");
        assert_eq!(proxy.targets(), ["hidden.test:443"], "{speaks:?}");
    }
}

/// Promises: `proxy-credentials`.
#[tokio::test]
async fn a_proxy_that_refuses_strangers_is_shown_the_credentials() {
    for speaks in BOTH {
        let upstream = healthy("known").await;
        let proxy = Proxy::start(speaks, Some(LOGIN), &[]).await;
        let channel = channel("a", &upstream).with("/preferences/proxy", json!(proxy.url(LOGIN_IN_URL)));
        let gateway = Gateway::start(config([channel])).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "known", "{speaks:?}");
        assert_eq!((proxy.refused(), proxy.targets().len()), (0, 1), "{speaks:?}");
        Secrets::new([LOGIN.1, "pa55%3A"]).absent_from_run(&gateway).await;
    }
}

/// Promises: `proxy-credentials`.
#[tokio::test]
async fn credentials_for_an_https_proxy_travel_encrypted() {
    let authority = Authority::new();
    let upstream = healthy("known").await;
    let proxy = Proxy::start(Speaks::Connect, Some(LOGIN), &[]).await;
    let front = authority.front_of(proxy.address(), "localhost").await;
    let url = format!("https://{LOGIN_IN_URL}localhost:{}", front.port());
    let setup = Setup::new(config([channel("a", &upstream).with("/preferences/proxy", json!(url))]))
        .file("authority.pem", authority.pem());
    let file = setup.folder().join("authority.pem").display().to_string();
    let gateway = setup.env("SSL_CERT_FILE", &file).start().await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "known");
    assert_eq!(proxy.targets(), [upstream.address().to_string()]);
}

/// Promises: `proxy-credentials`.
#[tokio::test]
async fn wrong_credentials_fail_with_the_proxy_named_and_no_secret_told() {
    for (speaks, login) in BOTH.iter().flat_map(|speaks| [(*speaks, WRONG), (*speaks, "")]) {
        let upstream = healthy("never").await;
        let proxy = Proxy::start(speaks, Some(LOGIN), &[]).await;
        let channel = channel("a", &upstream).with("/preferences/proxy", json!(proxy.url(login)));
        let gateway = Setup::new(config([channel])).env("DEBUG", "true").start().await;

        let answer = gateway.chat(&hello()).await.expect(503);

        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("proxy") && message.contains('a'), "{speaks:?}: {message}");
        assert!(!message.contains(&proxy.address().to_string()), "clients are not told where: {message}");
        let place = proxy.address().to_string();
        gateway.wait_for_line("a line that says which proxy it was", |line| line.contains(&place)).await;
        assert_eq!((upstream.count(), proxy.targets().len()), (0, 0), "{speaks:?}");
        assert!(proxy.refused() > 0, "{speaks:?}");
        Secrets::new(["wr0ng", "key-of-a"]).absent_from_run(&gateway).await;
        Secrets::new(["wr0ng", "proxy-user"]).absent_from("the answer", answer.everything().as_bytes());
        let page = gateway.metrics().await;
        assert!(page.lines().any(|line| line.contains("proxy_failed")), "{page}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_down_or_no_proxy_at_all_is_not_gone_around() {
    let (upstream, reserve) = (healthy("never").await, healthy("reserve").await);
    let down = refused_port().await.replace("/v1/chat/completions", "");
    for proxy in [down.as_str(), &down.replace("http", "socks5"), "ftp://127.0.0.1:1", "127.0.0.1:1"] {
        let channels =
            [channel("a", &upstream).with("/preferences/proxy", json!(proxy)), channel("b", &reserve)];
        let gateway = Gateway::start(config(channels)).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b", "{proxy}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_upstream_that_the_proxy_cannot_reach_fails_over() {
    for speaks in BOTH {
        let proxy = Proxy::start(speaks, None, &[]).await;
        let reserve = healthy("reserve").await;
        let channels = [
            channel_at("a", &refused_port().await).with("/preferences/proxy", json!(proxy.url(""))),
            channel("b", &reserve),
        ];
        let gateway = Gateway::start(config(channels)).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b", "{speaks:?}");
    }
}

/// Promises: `proxy-channel`.
#[tokio::test]
async fn only_the_channel_that_names_a_proxy_goes_through_it() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let proxy = Proxy::start(Speaks::Socks5, None, &[]).await;
    let channels = [
        channel("a", &a).with("/preferences/proxy", json!(proxy.url(""))).with("/model", json!(["of-a"])),
        channel("b", &b).with("/model", json!(["of-b"])),
    ];
    let gateway = Gateway::start(config(channels)).await;

    gateway.chat(&hello_to("of-b")).await.expect(200);
    assert!(proxy.targets().is_empty());
    gateway.chat(&hello_to("of-a")).await.expect(200);
    assert_eq!(proxy.targets(), [a.address().to_string()]);
}

/// Promises: `proxy-global`, `proxy-channel`.
#[tokio::test]
async fn a_channel_s_proxy_comes_before_the_global_one() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let own = Proxy::start(Speaks::Socks5, None, &[]).await;
    let global = Proxy::start(Speaks::Connect, Some(LOGIN), &[]).await;
    let channels = [
        channel("a", &a).with("/preferences/proxy", json!(own.url(""))).with("/model", json!(["of-a"])),
        channel("b", &b).with("/model", json!(["of-b"])),
    ];
    let config = config(channels).with("/preferences/proxy", json!(global.url(LOGIN_IN_URL)));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello_to("of-a")).await.expect(200);
    gateway.chat(&hello_to("of-b")).await.expect(200);

    assert_eq!(own.targets(), [a.address().to_string()]);
    assert_eq!(global.targets(), [b.address().to_string()]);
}

#[tokio::test]
async fn http2_goes_through_a_proxy_too() {
    for speaks in BOTH {
        let upstream = Http2Upstream::start(None).await;
        let proxy = Proxy::start(speaks, Some(LOGIN), &[]).await;
        let channel = channel_at("a", &format!("http://{}/v1/chat/completions", upstream.address()))
            .with("/preferences", json!({ "proxy": proxy.url(LOGIN_IN_URL), "http2": true }));
        let gateway = Gateway::start(config([channel])).await;
        upstream.release();

        assert_eq!(gateway.chat(&hello_stream()).await.expect(200).streamed(), "begun", "{speaks:?}");
        assert_eq!(proxy.targets(), [upstream.address().to_string()], "{speaks:?}");
    }
}
