//! The outermost pieces of the pipeline that are not concerns of a request: panics, browsers, and
//! the fork between the pipeline and everything else.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use dialect::ErrorShape;
use http::{HeaderName, Method, Request, Response};
use http_body::Body;
use layers::Failure;
use layers::endpoint::Lookup;
use layers::ports::BoxFuture;
use layers::rescue::render;
use layers::stage::Admitted;
use layers::{Reply, ReplyBody};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyHeader, CorsLayer};

use crate::admin::Admin;

/// The body of an answer as it leaves: boxed once, by the panic guard.
pub type EdgeBody = tower_http::body::UnsyncBoxBody<Bytes, tower::BoxError>;

/// Answer to a panic: a 500 in OpenAI's shape, the most common one.
#[derive(Debug, Clone, Copy)]
pub struct PanicResponse;

/// Mounts the panic guard.
pub fn panic_layer() -> CatchPanicLayer<PanicResponse> {
    CatchPanicLayer::custom(PanicResponse)
}

impl ResponseForPanic for PanicResponse {
    type ResponseBody = ReplyBody;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send + 'static>) -> Reply {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        tracing::error!(panic = said.as_deref().unwrap_or("?"), "A request handler panicked.");
        render(&Failure::Internal, ErrorShape::OpenAi)
    }
}

/// Layer that answers browsers: preflights, and the headers that let a page read an answer.
///
/// Requests without an `Origin` do not come from a page and go past it, so programs neither pay
/// for it nor see headers that say nothing to them.
#[derive(Debug, Clone)]
pub struct BrowserLayer {
    cors: CorsLayer,
}

/// The service of [`BrowserLayer`].
#[derive(Debug, Clone)]
pub struct Browser<S> {
    plain: S,
    cors: tower_http::cors::Cors<S>,
}

impl Default for BrowserLayer {
    fn default() -> Self {
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::any())
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
                Method::HEAD,
            ])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(AnyHeader)
            .max_age(std::time::Duration::from_secs(600));
        Self { cors }
    }
}

impl<S: Clone> Layer<S> for BrowserLayer {
    type Service = Browser<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Browser { plain: inner.clone(), cors: self.cors.layer(inner) }
    }
}

impl<S, B, R> Service<Request<B>> for Browser<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BrowserFuture<S::Future, <tower_http::cors::Cors<S> as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Every service below is always ready; both are asked because either may be called.
        std::task::ready!(self.plain.poll_ready(cx))?;
        self.cors.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        const ORIGIN: HeaderName = http::header::ORIGIN;
        let asker = if request.headers().contains_key(ORIGIN) {
            Asker::Page { answer: self.cors.call(request) }
        } else {
            Asker::Program { answer: self.plain.call(request) }
        };
        BrowserFuture { asker }
    }
}

pin_project! {
    /// One of the two.
    pub struct BrowserFuture<P, C> {
        #[pin]
        asker: Asker<P, C>,
    }
}

pin_project! {
    #[project = AskerProjection]
    enum Asker<P, C> {
        Program { #[pin] answer: P },
        Page { #[pin] answer: C },
    }
}

impl<P, C, T> Future for BrowserFuture<P, C>
where
    P: Future<Output = T>,
    C: Future<Output = T>,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.project().asker.project() {
            AskerProjection::Program { answer } => answer.poll(cx),
            AskerProjection::Page { answer } => answer.poll(cx),
        }
    }
}

/// The fork behind `auth`: endpoints of the pipeline go there, with whatever method, all other paths
/// to [`Admin`].
#[derive(Clone)]
pub struct Fork<S> {
    pipeline: S,
    admin: Admin,
}

impl<S> Fork<S> {
    /// Endpoints to `pipeline`, the rest to `admin`.
    pub fn new(pipeline: S, admin: Admin) -> Self {
        Self { pipeline, admin }
    }
}

impl<S, B> Service<Admitted<B>> for Fork<S>
where
    S: Service<Admitted<B>, Response = Reply, Error = Failure>,
    B: Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    type Response = Reply;
    type Error = Failure;
    type Future = ForkFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.pipeline.poll_ready(cx)
    }

    fn call(&mut self, admitted: Admitted<B>) -> Self::Future {
        let way = if is_of_pipeline(&admitted.request) {
            Way::Pipeline { answer: self.pipeline.call(admitted) }
        } else {
            Way::Admin { answer: Box::pin(self.admin.clone().answer(admitted)) }
        };
        ForkFuture { way }
    }
}

fn is_of_pipeline<B>(request: &Request<B>) -> bool {
    matches!(request.extensions().get::<Lookup>(), Some(Lookup::Found(_) | Lookup::OtherMethod(_)))
}

pin_project! {
    /// One of the two.
    pub struct ForkFuture<F> {
        #[pin]
        way: Way<F>,
    }
}

pin_project! {
    #[project = WayProjection]
    enum Way<F> {
        Pipeline { #[pin] answer: F },
        Admin { answer: BoxFuture<Result<Reply, Failure>> },
    }
}

impl<F> Future for ForkFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayProjection::Pipeline { answer } => answer.poll(cx),
            WayProjection::Admin { answer } => answer.as_mut().poll(cx),
        }
    }
}
