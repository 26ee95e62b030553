//! A future of a layer that decides before it asks the inner service.
//!
//! Mostly the decision is there at once: then the layer costs no box. Where it has to be awaited
//! (shared state), the rest of the layer is boxed.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::failure::Failure;
use crate::ports::BoxFuture;
use crate::reply::Reply;

pin_project! {
    /// A future that decides before it asks the inner service.
    pub struct DecidedOr<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Projection]
    enum State<F> {
        // Decided: the inner service is not asked. Taken when polled.
        Failed { failure: Option<Failure> },
        // Decided: what the inner service answers.
        Inner { #[pin] inner: F },
        // To be awaited, the inner service included.
        Waiting { waiting: BoxFuture<Result<Reply, Failure>> },
    }
}

impl<F> DecidedOr<F> {
    /// A failure without asking.
    pub fn failed(failure: Failure) -> Self {
        Self { state: State::Failed { failure: Some(failure) } }
    }

    /// What `inner` answers.
    pub fn inner(inner: F) -> Self {
        Self { state: State::Inner { inner } }
    }

    /// What comes of awaiting all of `waiting`.
    pub fn waiting(waiting: impl Future<Output = Result<Reply, Failure>> + Send + 'static) -> Self {
        Self { state: State::Waiting { waiting: Box::pin(waiting) } }
    }
}

impl<F> Future for DecidedOr<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projection::Failed { failure } => {
                Poll::Ready(Err(failure.take().expect("a future is not polled after it is done")))
            }
            Projection::Inner { inner } => inner.poll(cx),
            Projection::Waiting { waiting } => waiting.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests;
