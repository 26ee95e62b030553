//! The service inside the layer that is tested: it answers by a script and notes what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};

use crate::failure::Failure;
use crate::ports::BoxFuture;
use crate::reply::Reply;

/// A layer around an inner service.
pub fn mount<L, S>(layer: L, inner: &S) -> Mounted<L::Service>
where
    L: Layer<S>,
    S: Clone,
{
    Mounted(layer.layer(inner.clone()))
}

/// A mounted layer, asked as tower wants it: ready first.
#[derive(Debug, Clone)]
pub struct Mounted<S>(S);

impl<S> Mounted<S> {
    /// Asks and awaits the answer.
    ///
    /// # Errors
    /// What the layer fails with.
    pub async fn ask<R>(&mut self, request: R) -> Result<S::Response, S::Error>
    where
        S: Service<R>,
    {
        self.0.ready().await?.call(request).await
    }

    /// Asks; the answer is awaited, or dropped, by the test.
    pub async fn start<R>(&mut self, request: R) -> S::Future
    where
        S: Service<R>,
    {
        let Ok(service) = self.0.ready().await else { panic!("the layer is not ready") };
        service.call(request)
    }
}

/// An inner service that gives its answers in order.
///
/// Its readiness is honest: a call without having been polled ready panics, and so does a call of
/// a clone, whose readiness is its own.
pub struct Scripted<R, T = Reply, E = Failure> {
    script: Arc<Script<R, T, E>>,
    ready: bool,
}

struct Script<R, T, E> {
    answers: Mutex<VecDeque<Answer<T, E>>>,
    requests: super::Notes<R>,
    calls: super::Notes<()>,
    polls: super::Notes<()>,
    abandoned: super::Notes<()>,
}

/// One answer: when it comes, and what it is; none never comes.
type Answer<T, E> = (Duration, Option<Result<T, E>>);

/// An answer that is awaited; dropped before, it was abandoned.
struct Awaited<R, T, E>(Option<Arc<Script<R, T, E>>>);

impl<R, T, E> Awaited<R, T, E> {
    fn came(&mut self) {
        self.0 = None;
    }
}

impl<R, T, E> Drop for Awaited<R, T, E> {
    fn drop(&mut self) {
        if let Some(script) = &self.0 {
            script.abandoned.add(());
        }
    }
}

impl<R, T, E> Default for Scripted<R, T, E> {
    fn default() -> Self {
        let script = Script {
            answers: Mutex::default(),
            requests: super::Notes::default(),
            calls: super::Notes::default(),
            polls: super::Notes::default(),
            abandoned: super::Notes::default(),
        };
        Self { script: Arc::new(script), ready: false }
    }
}

impl<R, T, E> Clone for Scripted<R, T, E> {
    fn clone(&self) -> Self {
        Self { script: self.script.clone(), ready: false }
    }
}

impl<R, T, E> Scripted<R, T, E> {
    /// A service without answers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Then answers at once.
    #[must_use]
    pub fn answers(self, answer: T) -> Self {
        self.and(Duration::ZERO, Some(Ok(answer)))
    }

    /// Then fails at once.
    #[must_use]
    pub fn fails(self, failure: impl Into<E>) -> Self {
        self.and(Duration::ZERO, Some(Err(failure.into())))
    }

    /// Then gives `result` after `pause`.
    #[must_use]
    pub fn after(self, pause: Duration, result: Result<T, E>) -> Self {
        self.and(pause, Some(result))
    }

    /// Then never answers.
    #[must_use]
    pub fn hangs(self) -> Self {
        self.and(Duration::ZERO, None)
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.script.calls.count()
    }

    /// How often it, or a clone, was polled ready.
    pub fn polls(&self) -> usize {
        self.script.polls.count()
    }

    /// How many of its answers were dropped before they came.
    pub fn abandoned(&self) -> usize {
        self.script.abandoned.count()
    }

    /// Takes what it was called with so far.
    pub fn requests(&self) -> Vec<R> {
        self.script.requests.take()
    }

    /// Takes the one request that it was called with.
    pub fn request(&self) -> R {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "it was not called once");
        requests.remove(0)
    }

    fn and(self, pause: Duration, result: Option<Result<T, E>>) -> Self {
        self.answers_left().push_back((pause, result));
        self
    }

    fn answers_left(&self) -> MutexGuard<'_, VecDeque<Answer<T, E>>> {
        self.script.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R, T, E> Service<R> for Scripted<R, T, E>
where
    R: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    type Response = T;
    type Error = E;
    type Future = BoxFuture<Result<T, E>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.script.polls.add(());
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        assert!(self.ready, "called without having been polled ready");
        self.ready = false;
        self.script.calls.add(());
        self.script.requests.add(request);
        let answer = self.answers_left().pop_front();
        let (pause, result) = answer.expect("called more often than the script has answers");
        let mut awaited = Awaited(Some(self.script.clone()));
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let result = match result {
                Some(result) => result,
                None => std::future::pending().await,
            };
            awaited.came();
            result
        })
    }
}
