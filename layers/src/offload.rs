//! Runs work on large bodies where it does not hold up other connections.

use crate::failure::Failure;

/// Bodies above this are worked on by the blocking pool: parsing a megabyte takes about a third
/// of a millisecond, for which every other connection of the worker would wait.
pub const INLINE: usize = 1 << 20;

/// Runs `work`, which reads or writes about `bytes` bytes of JSON.
///
/// # Errors
/// [`Failure::Internal`] when the work panicked on the pool.
pub async fn offload<T, W>(bytes: usize, work: W) -> Result<T, Failure>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    if bytes <= INLINE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_panic| Failure::Internal)
}
