//! Messages that have come in part, of all clients: they are bounded together, and in time.

use std::sync::atomic::Ordering::SeqCst;

use tokio::time::{Instant, timeout_at};

use crate::constants::{UNFINISHED, UNFINISHED_BYTES_ALL, UNFINISHED_BYTES_SHARE};
use crate::runtime::Shared;
use crate::runtime::mailbox::{CLOSE_POLICY, CLOSE_TRY_LATER};

const NO_ROOM: (u16, &str) = (CLOSE_TRY_LATER, "too many unfinished messages");
const TOO_SLOW: (u16, &str) = (CLOSE_POLICY, "this message takes too long");

/// One client's. Dropping it makes room.
#[derive(Debug)]
pub(super) struct Unfinished<'a> {
    shared: &'a Shared,
    bytes: usize,
    since: Instant,
}

impl<'a> Unfinished<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, bytes: 0, since: Instant::now() }
    }

    /// What comes now is another message.
    pub(super) fn is_finished(&mut self) {
        self.since = Instant::now();
    }

    /// Reads on; so many bytes of a message are there.
    ///
    /// # Errors
    /// Close code and reason, for a client that may send no more of it.
    pub(super) async fn goes_on<R>(
        &mut self,
        bytes: usize,
        read: impl Future<Output = R>,
    ) -> Result<R, (u16, &'static str)> {
        let all = self.shared.unfinished.fetch_add(bytes, SeqCst) + bytes;
        self.shared.unfinished.fetch_sub(self.bytes, SeqCst);
        let all = all - self.bytes;
        self.bytes = bytes;
        if bytes <= UNFINISHED_BYTES_SHARE {
            return Ok(read.await);
        }
        if all > UNFINISHED_BYTES_ALL {
            return Err(NO_ROOM);
        }
        timeout_at(self.since + UNFINISHED, read).await.map_err(|_| TOO_SLOW)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.shared.unfinished.fetch_sub(self.bytes, SeqCst);
    }
}
