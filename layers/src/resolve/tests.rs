use super::*;
use crate::policy::Retries;
use crate::testing::policy::{channel, target_of};
use crate::testing::ports::no_homes;
use crate::testing::reply::whole;
use crate::testing::{Scripted, caller, catalog, exchange, mount, route, target};

type Inner = Scripted<Routed>;

async fn run(inner: &Inner, exchange: Exchange) -> Result<Reply, Failure> {
    mount(ResolveLayer::new(no_homes()), inner).ask(exchange).await
}

#[tokio::test(start_paused = true)]
async fn a_model_with_a_route_goes_on_with_a_fresh_plan() {
    let one = catalog().route("m", route([target("a").build(), target("b").build()]).build()).build();
    let inner = Inner::new().answers(whole("ok"));

    run(&inner, exchange().catalog(one).build()).await.unwrap();

    let Routed { plan, .. } = inner.request();
    assert!(plan.has_budget() && !plan.single() && !plan.tried(&target("a").build()));
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_route_is_not_found_and_nobody_is_asked() {
    let other = catalog().route("other", route([target("a").build()]).build()).build();
    let inner = Inner::new();

    let failure = run(&inner, exchange().catalog(other).build()).await.unwrap_err();

    assert_eq!((failure.label(), failure.status().as_u16(), inner.calls()), ("model_not_found", 404, 0));
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_no_channel_serves_looks_like_an_unknown_model() {
    for (misfit, label, status) in
        [(Misfit::Endpoint, "model_not_found", 404), (Misfit::Length, "too_long", 413)]
    {
        let picky = catalog().route("m", route([target("a").build()]).misfit(misfit).build()).build();

        let failure = run(&Inner::new(), exchange().catalog(picky).build()).await.unwrap_err();

        assert_eq!((failure.label(), failure.status().as_u16()), (label, status));
    }
}

#[tokio::test(start_paused = true)]
async fn channels_that_do_not_take_the_body_are_no_part_of_the_plan() {
    let short = target_of(channel("short").most_body(10).build()).build();
    let mixed = catalog().route("m", route([short.clone(), target("b").build()]).build()).build();
    let inner = Inner::new().answers(whole("ok"));

    run(&inner, exchange().catalog(mixed).build()).await.unwrap();

    let Routed { plan, .. } = inner.request();
    assert!(plan.single() && !plan.fits(&short));
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_the_caller_s() {
    let one = || catalog().route("m", route([target("a").build()]).build()).build();
    for (retries, attempts) in [(Retries::Never, 1), (Retries::AtMost(3), 4), (Retries::Budget, 11)] {
        let inner = Inner::new().answers(whole("ok"));
        let exchange = exchange().catalog(one()).caller(caller().retries(retries).build()).build();

        run(&inner, exchange).await.unwrap();

        let Routed { mut plan, .. } = inner.request();
        assert_eq!((0..99).filter(|_| plan.spend()).count(), attempts, "{retries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_was_served_before_takes_nobody_s_turn_until_its_home_cannot_serve() {
    let home = crate::conversation::Home { channel: "b".into(), place: None, key: None };
    let homes = std::sync::Arc::new(crate::testing::ports::ScriptedHomes::default().with(7, home.clone()));
    let inner = Inner::new().answers(whole("ok")).answers(whole("ok"));
    let two = || catalog().route("m", route([target("a").build(), target("b").build()]).build()).build();
    let mut resolve = mount(ResolveLayer::new(homes), &inner);

    resolve.ask(exchange().of_conversation(7, None).catalog(two()).build()).await.unwrap();
    resolve.ask(exchange().of_conversation(8, None).catalog(two()).build()).await.unwrap();

    let [known, unknown] =
        <[Routed; 2]>::try_from(inner.requests()).unwrap_or_else(|_| panic!("two were asked"));
    assert_eq!((known.plan.home(), known.plan.ticket), (Some(&home), 0));
    assert_eq!(unknown.plan.home(), None);
    assert!(
        known.exchange.home_at(&target("b").build()).is_some()
            && known.exchange.home_at(&target("a").build()).is_none()
    );
}
