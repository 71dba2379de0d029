//! The clients' side of the core: each has a [`seat`] and says what it has to say through a
//! [`speaker`]. A [`socket`] of its own is read and written here; for other clients somebody else does
//! that, with a [`handle`].

mod handle;
mod seat;
mod socket;
mod speaker;

pub(crate) use handle::ClientHandle;
pub(super) use handle::connect;
pub(super) use seat::Seat;
pub(crate) use seat::{About, ClientView};
pub(crate) use socket::Offer;
pub(super) use socket::serve;
