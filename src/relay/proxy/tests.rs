use super::{Proxy, Routes, Way};

const PASSWORD: &str = "hunter2";

#[test]
fn one_spelling_and_no_password_in_it() {
    for (given, shown, password) in [
        (" socks5://127.0.0.1:9050 ", "socks5://127.0.0.1:9050", None),
        ("SOCKS5H://Proxy.Example:1080/", "socks5://proxy.example:1080", None),
        ("socks5://[::1]:9050", "socks5://[::1]:9050", None),
        ("socks5://me:hunter2@h:1", "socks5://me@h:1", Some("hunter2")),
        ("socks5://m%40e:a%2Fb%3A@h:1", "socks5://m%40e@h:1", Some("a%2Fb%3A")),
        ("socks5://me:p@ss@h:1", "socks5://me@h:1", Some("p%40ss")),
    ] {
        let proxy = Proxy::parse(given).unwrap();
        assert_eq!((proxy.shown().as_str(), proxy.password()), (shown, password));
        // It is the same again, from its own url.
        assert_eq!(Proxy::parse(&proxy.url()).as_ref(), Ok(&proxy));
        assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"));
    }
    let proxy = Proxy::parse("socks5://m%40e:a%2Fb%3A@h:1").unwrap();
    let (user, password) = proxy.login().unwrap();
    assert_eq!((&*user, &*password), ("m@e", "a/b:"));
}

/// What an owner is shown can be read again, and cannot be used.
#[test]
fn a_user_name_alone() {
    let shown = "socks5://me@h:1";
    assert_eq!(Proxy::read(shown).unwrap().shown(), shown);
    let why = Proxy::parse(shown).unwrap_err();
    assert!(why.starts_with("The proxy's user name needs its password"), "{why}");
}

#[test]
fn refused_with_a_sentence_that_quotes_nothing() {
    let long = format!("socks5://me:{PASSWORD}{}@h:1", "x".repeat(250));
    let longer = format!("socks5://me:{PASSWORD}@{}:1", "x".repeat(2_000));
    for given in [
        "",
        "127.0.0.1:9050",
        "http://me:hunter2@h:1",
        "socks4://me:hunter2@h:1",
        "socks5:me:hunter2@h:1",
        "socks5://",
        "socks5://:9050",
        "socks5://me:hunter2@:9050",
        "socks5://me:hunter2@h",
        "socks5://me:hunter2@h:0",
        "socks5://me:hunter2@h:99999",
        "socks5://me:hunter2/@h:1",
        "socks5://me:1/hunter2@h:1",
        "socks5://me:1?hunter2@h:1",
        "socks5://me:1#hunter2@h:1",
        "socks5://me:hunter2@h:1/path",
        "socks5://me:hunter2@h h:1",
        "socks5://me:hunter2 @h:1",
        "socks5://me:hunter2@<b>:1",
        "socks5://:hunter2@h:1",
        "socks5://me:hunter2%FF@h:1",
        "socks5://me:hunter2@abc.onion:9050",
        "socks5://me:hunter2@h:1\u{0}",
        &long,
        &longer,
    ] {
        let why = Proxy::parse(given).unwrap_err();
        assert!(!why.contains(PASSWORD) && why.contains(' '), "{given:?}: {why}");
    }
}

#[test]
fn what_goes_which_way() {
    let proxy = Proxy::parse("socks5://127.0.0.1:9050").unwrap();
    let onions = [
        "ws://abcdef.onion",
        "wss://abcdef.onion/path",
        "ws://www.abcdef.onion:7000",
        "ws://abcdef.onion.",
        "ws://ABCDEF.ONION",
        "ws://abcdef\u{3002}onion",
        "ws://onion",
    ];
    let here = ["ws://127.0.0.1:7000", "ws://127.9.9.9", "ws://[::1]:7000", "wss://localhost"];
    let elsewhere = [
        "wss://relay.example.com",
        "wss://onion.example.com",
        "wss://notonion",
        "ws://192.168.1.2:7000",
        "ws://localhost.example.com",
        "ws://0.0.0.0:7000",
    ];
    let none = Routes { proxy: None, for_all: true };
    let some = Routes { proxy: Some(proxy.clone()), for_all: false };
    let all = Routes { proxy: Some(proxy.clone()), for_all: true };
    let through = || Way::Through(&proxy);
    for (urls, with_none, with_some, with_all) in [
        (&onions[..], Way::Closed, through(), through()),
        (&here[..], Way::Direct, Way::Direct, Way::Direct),
        (&elsewhere[..], Way::Direct, Way::Direct, through()),
    ] {
        for url in urls {
            assert_eq!(none.way(url), with_none, "{url}");
            assert_eq!(some.way(url), with_some, "{url}");
            assert_eq!(all.way(url), with_all, "{url}");
        }
    }
    // Whatever this is, it is not dialled.
    assert_eq!(all.way("no url"), Way::Closed);
}
