//! Answers that clients have not taken yet: their bytes are limited, so that clients that take them slowly cost no memory.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Bytes of all answers together, in units of so many.
const BYTES: usize = 16 << 20;
const UNIT: usize = 1 << 10;
/// An answer of so many bytes is not counted: connections are.
const SMALL: usize = 16 << 10;

const BUSY: &str = "too many large answers are being sent at once (try again in some seconds, or ask for fewer rows)";

/// In the extensions of an answer whose body has no length: the memory that it needs until it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Weight(pub usize);

/// What may be sent at once.
pub struct Sending(Arc<Semaphore>);

impl Default for Sending {
    fn default() -> Sending {
        Sending(Arc::new(Semaphore::new(BYTES / UNIT)))
    }
}

impl Sending {
    /// The same answer, which counts until the client has it, or is gone. An answer that is larger than all is sent alone.
    pub fn hold(&self, response: Response) -> Result<Response, Problem> {
        let weight = response.extensions().get::<Weight>().map(|Weight(bytes)| *bytes as u64);
        let bytes = weight.or(response.body().size_hint().exact()).unwrap_or(0);
        if bytes <= SMALL as u64 {
            return Ok(response);
        }
        let units = bytes.div_ceil(UNIT as u64).min((BYTES / UNIT) as u64);
        let permit = Arc::clone(&self.0).try_acquire_many_owned(units as u32);
        let permit: OwnedSemaphorePermit = permit.map_err(|_| Problem::busy(BUSY, 10))?;
        Ok(response.map(|body| held(body, permit)))
    }
}

/// A body with what is dropped once it is sent, or not wanted any more.
pub fn held<T: Send + Unpin + 'static>(body: Body, with: T) -> Body {
    Body::new(Held { body, _with: with })
}

struct Held<T> {
    body: Body,
    _with: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'a'; bytes]))
    }

    #[test]
    fn bytes_are_limited() {
        let sending = Sending::default();
        let free = || sending.0.available_permits() * UNIT;
        let small: Vec<_> = (0..9).map(|_| sending.hold(answer(SMALL)).unwrap()).collect();
        assert_eq!(free(), BYTES);
        let large: Vec<_> = (0..16).map(|_| sending.hold(answer(1 << 20)).unwrap()).collect();
        assert_eq!(free(), 0);
        let refused = sending.hold(answer(SMALL + 1)).unwrap_err();
        assert!(refused.why.contains("fewer rows") && refused.retry_after.is_some());
        assert!(sending.hold(answer(SMALL)).is_ok(), "small ones are still sent");
        drop((small, large));
        assert_eq!(free(), BYTES, "clients that are gone count no more");
        let mut streamed = answer(0);
        streamed.extensions_mut().insert(Weight(2 * BYTES));
        let streamed = sending.hold(streamed).unwrap();
        assert_eq!(free(), 0, "larger than all: alone");
        assert!(sending.hold(answer(1 << 20)).is_err());
        drop(streamed);
        let whole = sending.hold(answer(1 << 20)).unwrap();
        assert_eq!(whole.body().size_hint().exact(), Some(1 << 20), "its length is known");
    }
}
