//! A stream whose client must take what is sent: a write that makes no progress for a while is an error, and so is a client that
//! takes it too slowly on the whole. Either ends the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A client takes something within this time; and writes do not wait longer on the whole than this time, and a second for so
/// many bytes.
const STALLS: Duration = Duration::from_secs(30);
const BYTES_A_SECOND: u64 = 16 << 10;

/// How long writes have waited for a client, and what it took afterwards. No clock.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    waited: Duration,
    taken: u64,
}

impl Pace {
    /// How long the next write may wait.
    fn left(self) -> Duration {
        let earned = Duration::from_secs(self.taken / BYTES_A_SECOND);
        (STALLS + earned).saturating_sub(self.waited).min(STALLS)
    }

    fn add(&mut self, waited: Duration, taken: usize) {
        self.waited += waited;
        self.taken += taken as u64;
    }
}

/// The stream.
pub struct TimedStream<S> {
    stream: S,
    /// Since a write could not continue.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    pace: Pace,
}

impl<S> TimedStream<S> {
    pub fn new(stream: S) -> TimedStream<S> {
        TimedStream { stream, stalled: None, pace: Pace::default() }
    }

    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            if let Some((since, _)) = self.stalled.take() {
                self.pace.add(since.elapsed(), written.as_ref().map_or(0, bytes));
            }
            return Poll::Ready(written);
        }
        let left = self.pace.left();
        let (_, stalled) =
            self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        if Instant::now() >= stalled.deadline() || stalled.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written, |bytes| *bytes)
    }

    /// Else hyper copies what all viewers share for each of them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.timed(context, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timed(context, closed, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that a client gets of a megabyte that takes such a piece each so many seconds; it gets all if it is not too slow.
    fn taken(seconds: u64, piece: usize) -> usize {
        let (mut pace, mut all) = (Pace::default(), 0);
        while all < 1 << 20 && Duration::from_secs(seconds) <= pace.left() {
            pace.add(Duration::from_secs(seconds), piece);
            all += piece;
        }
        all
    }

    #[test]
    fn a_client_that_takes_too_little() {
        assert_eq!(taken(29, 1), 1, "it makes progress, but never an end");
        assert_eq!(taken(20, 64 << 10), 64 << 10, "14 s are left after 20, with 4 for the bytes");
        assert_eq!(taken(31, 1 << 20), 0);
        assert_eq!(taken(1, 32 << 10), 1 << 20);
        assert_eq!(taken(30, 512 << 10), 1 << 20, "slow, but fast enough on the whole");
    }

    /// Each part of the stream counts.
    #[test]
    fn a_write_that_waits_ends() {
        use tokio::io::{AsyncWriteExt, duplex};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (server, client) = duplex(16);
            let mut stream = TimedStream::new(server);
            stream.pace.add(STALLS, 0); // the client has used up its time
            stream.write_all(&[b'a'; 16]).await.unwrap();
            let ended = stream.write_all(b"more").await.unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
            drop(client);
        });
    }
}
