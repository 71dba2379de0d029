//! Which way leads to a relay: directly, or through the owner's SOCKS5 proxy.
//!
//! A `.onion` host is never dialled directly: no resolver may hear its name. A relay on this very
//! machine is never asked of the proxy: its address means another machine there. Every other
//! relay, one in the owner's own network too, goes through the proxy if it is for all.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

const SHAPE: &str = "A proxy should look like socks5://127.0.0.1:9050, or \
                     socks5://user:password@host:port";
const MAX_LENGTH: usize = 2_000;
/// What SOCKS5 takes (RFC 1929), in bytes.
const MAX_LOGIN: usize = 255;

/// A SOCKS5 proxy. No error and no `Debug` shows its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    host: Host<String>,
    port: u16,
    /// As it stands in a url, percent-encoded; so is the next.
    user: Option<String>,
    password: Option<String>,
}

impl Proxy {
    /// A proxy that can be used.
    ///
    /// # Errors
    /// A sentence for a person, which does not quote the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let proxy = Self::read(text)?;
        if proxy.user.is_some() && proxy.password.is_none() {
            return Err("The proxy's user name needs its password again: \
                        socks5://user:password@host:port"
                .to_owned());
        }
        Ok(proxy)
    }

    /// The same of what its owner is shown, which lacks the password.
    ///
    /// # Errors
    /// As [`Proxy::parse`].
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > MAX_LENGTH {
            return Err(format!("A proxy's address has at most {MAX_LENGTH} characters."));
        }
        let odd = |character: char| character.is_whitespace() || character.is_control();
        if text.chars().any(odd) {
            return Err(format!("A proxy's address has no spaces in it. {SHAPE}"));
        }
        let url = Url::parse(text).map_err(|_| SHAPE.to_owned())?;
        // With the h, the proxy resolves the names. It does here in any case.
        if !matches!(url.scheme(), "socks5" | "socks5h") {
            return Err(format!("Only SOCKS5 proxies are known here. {SHAPE}"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.and_then(|host| Host::parse(host).ok()).ok_or(SHAPE)?;
        if is_onion(&host) {
            return Err("A proxy has no .onion address.".to_owned());
        }
        let port = url.port().filter(|port| *port > 0);
        let port = port.ok_or_else(|| format!("The proxy needs a port. {SHAPE}"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "Nothing may follow the proxy's port. In a password / is written %2F, ? %3F and \
                 # %23. {SHAPE}"
            ));
        }
        let given = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        let (user, password) = (given(url.username()), url.password().and_then(given));
        if user.is_none() && password.is_some() {
            return Err(format!("The proxy's password needs a user name. {SHAPE}"));
        }
        for part in [&user, &password].into_iter().flatten() {
            if !decoded(part).is_ok_and(|text| text.len() <= MAX_LOGIN) {
                return Err(format!(
                    "The proxy's user name and password are text of at most {MAX_LOGIN} bytes."
                ));
            }
        }
        Ok(Self { host, port, user, password })
    }

    /// Its url without the password.
    pub(crate) fn shown(&self) -> String {
        let Self { host, port, user, .. } = self;
        match user {
            Some(user) => format!("socks5://{user}@{host}:{port}"),
            None => format!("socks5://{host}:{port}"),
        }
    }

    /// Its url, with the password.
    pub(crate) fn url(&self) -> String {
        match self.password() {
            Some(password) => self.shown().replacen('@', &format!(":{password}@"), 1),
            None => self.shown(),
        }
    }

    /// As it stands in a url.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Where it listens. The system resolves its name.
    pub(super) fn address(&self) -> (String, u16) {
        let host = match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        (host, self.port)
    }

    /// What it wants to be told before it serves.
    pub(super) fn login(&self) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
        let (user, password) = (self.user.as_deref()?, self.password.as_deref()?);
        Some((decoded(user).ok()?, decoded(password).ok()?))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({})", self.shown())
    }
}

fn decoded(part: &str) -> Result<Cow<'_, str>, std::str::Utf8Error> {
    percent_decode_str(part).decode_utf8()
}

/// What the owner has set for all relays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// For `.onion` relays at least.
    pub proxy: Option<Proxy>,
    /// And for every other that is not on this machine.
    pub for_all: bool,
}

/// How one relay is reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way<'a> {
    /// Its host is resolved and connected to from here.
    Direct,
    /// Its host's name is given to the proxy, and resolved nowhere else.
    Through(&'a Proxy),
    /// Not at all: a `.onion` relay without a proxy.
    Closed,
}

/// What to do about [`Way::Closed`], for the relay's list of errors.
pub(crate) const CLOSED: &str = "A .onion relay is reached only through a proxy, and none is set: under \
                          Relays, Proxy, set that of Tor, usually socks5://127.0.0.1:9050";

impl Routes {
    /// The way to a relay, by its normalised url.
    pub(crate) fn way(&self, url: &str) -> Way<'_> {
        let url = Url::parse(url);
        // What is no url is dialled by nobody.
        let Some(host) = url.as_ref().ok().and_then(Url::host) else { return Way::Closed };
        match &self.proxy {
            None if is_onion(&host) => Way::Closed,
            Some(proxy) if is_onion(&host) || (self.for_all && !is_here(&host)) => {
                Way::Through(proxy)
            }
            _ => Way::Direct,
        }
    }
}

fn is_onion<S: AsRef<str>>(host: &Host<S>) -> bool {
    // In lower case; a dot at the end says only that the name is complete.
    let Host::Domain(name) = host else { return false };
    name.as_ref().trim_end_matches('.').rsplit('.').next() == Some("onion")
}

/// On this machine: 127.0.0.0/8, `::1` and `localhost`.
fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.trim_end_matches('.') == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests;
