//! The one spelling of a relay's URL.

use url::Url;

const MAX_LENGTH: usize = 2_000;

/// Scheme and host in lower case, no default port, no slash after an empty path.
///
/// # Errors
/// A sentence that says what is wrong, for a person to read.
pub(crate) fn normalize(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.len() > MAX_LENGTH {
        return Err(format!("A relay url has at most {MAX_LENGTH} characters."));
    }
    if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err("A relay url has no spaces in it.".to_owned());
    }
    // Where a second url begins in the place of the host, the URL standard reads a host and a port of it that
    // are none: `wss://wss://host` would be a host called `wss`.
    let (_, rest) = text.split_once("://").unwrap_or_default();
    if rest.split_once('/').is_some_and(|(host, path)| host.ends_with(':') && path.starts_with('/'))
    {
        return Err("This is more than one url.".to_owned());
    }
    let url = Url::parse(text).map_err(|_| {
        "This is not a relay url. It should look like wss://relay.example.com".to_owned()
    })?;
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err("A relay url begins with ws:// or wss://".to_owned());
    }
    // The URL standard would take the path's first part for the host.
    if text.contains(":///") || url.host_str().is_none_or(str::is_empty) {
        return Err("The relay url has no host.".to_owned());
    }
    if let Some(host @ ("ws" | "wss" | "http" | "https")) = url.host_str() {
        return Err(format!("The relay url has “{host}” where its host should be."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("A relay url carries no user name and no password.".to_owned());
    }
    if url.fragment().is_some() {
        return Err("A relay url has no # part.".to_owned());
    }
    if url.port() == Some(0) {
        return Err("The relay url has no valid port.".to_owned());
    }
    let text = String::from(url);
    Ok(match text.strip_suffix('/') {
        // Only the slash of an empty path: three slashes are in `wss://host/`.
        Some(bare) if bare.matches('/').count() == 2 => bare.to_owned(),
        _ => text,
    })
}

#[cfg(test)]
mod tests {
    use super::{MAX_LENGTH, normalize};

    #[test]
    fn one_spelling() {
        for (given, expected) in [
            (" WSS://Relay.Example.COM/ ", "wss://relay.example.com"),
            ("wss://relay.example.com:443", "wss://relay.example.com"),
            ("ws://127.0.0.1:7000", "ws://127.0.0.1:7000"),
            ("wss://r.example/Path/", "wss://r.example/Path/"),
            ("wss://r.example?a=b", "wss://r.example/?a=b"),
            ("ws://[::1]:80/", "ws://[::1]"),
            ("WS://ABCDEF.onion:80/", "ws://abcdef.onion"),
            ("wss://abcdef.onion", "wss://abcdef.onion"),
            ("wss://ws.example//x", "wss://ws.example//x"),
            ("wss://r.example/?to=wss://b.example", "wss://r.example/?to=wss://b.example"),
        ] {
            assert_eq!(normalize(given).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn refused_with_a_sentence() {
        for given in [
            "",
            "relay.example.com",
            "https://r.example",
            "wss://",
            "wss://u:p@r.example",
            "wss://r.example/#x",
            "wss://r example",
            "wss://r.example:0",
            "ws:///path",
            "ws:/\u{0}",
            "wss://wss://r.example",
            "WSS://WSS://r.example",
            "ws://https://r.example/path",
            "wss://wss//r.example",
            "wss://wss",
            "wss://a.examplewss://b.example",
            "wss://a.example,wss://b.example",
        ] {
            assert!(normalize(given).is_err(), "{given:?}");
        }
        assert!(normalize(&format!("wss://{}", "x".repeat(MAX_LENGTH))).is_err());
    }
}
