//! The other half of SOCKS5, by hand, as far as tests need it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::relay::proxy::Proxy;

/// "Connected", with an address that nobody looks at.
pub(crate) const CONNECTED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

pub(crate) struct Server(TcpListener);

impl Server {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Its url, for whoever logs in as this (`user:password`), or as nobody.
    pub(crate) fn proxy(&self, login: Option<&str>) -> Proxy {
        let port = self.0.local_addr().unwrap().port();
        let login = login.map_or_else(String::new, |login| format!("{login}@"));
        Proxy::parse(&format!("socks5://{login}127.0.0.1:{port}")).unwrap()
    }

    /// The next connection, of which nothing was read.
    pub(crate) async fn line(&self) -> TcpStream {
        self.0.accept().await.unwrap().0
    }

    /// The next connection, and what it asks for. It is to be answered.
    pub(crate) async fn asked(&self) -> (TcpStream, Target) {
        let mut line = self.line().await;
        greet(&mut line).await;
        let target = read_target(&mut line).await;
        (line, target)
    }

    /// The next connection, made to where it asks for.
    pub(crate) async fn connected(&self) -> (TcpStream, Target) {
        let (mut line, target) = self.asked().await;
        line.write_all(&CONNECTED).await.unwrap();
        (line, target)
    }
}

/// Where a client wants to be connected to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// By name, which it has left to be resolved.
    Name(String, u16),
    /// By the bytes of its address.
    Address(Vec<u8>, u16),
}

/// Reads which ways to log in are offered.
pub(crate) async fn read_offer(line: &mut TcpStream) -> Vec<u8> {
    let mut offer = vec![0; 2];
    line.read_exact(&mut offer).await.unwrap();
    let count = usize::from(offer[1]);
    offer.resize(2 + count, 0);
    line.read_exact(&mut offer[2..]).await.unwrap();
    offer
}

/// Lets it in without a login.
pub(crate) async fn greet(line: &mut TcpStream) {
    assert!(read_offer(line).await[2..].contains(&0));
    line.write_all(&[5, 0]).await.unwrap();
}

/// Asks for a login and returns it.
pub(crate) async fn read_login(line: &mut TcpStream) -> (String, String) {
    assert_eq!(read_offer(line).await, [5, 2, 0, 2]);
    line.write_all(&[5, 2]).await.unwrap();
    assert_eq!(line.read_u8().await.unwrap(), 1);
    (read_text(line).await, read_text(line).await)
}

pub(crate) async fn read_target(line: &mut TcpStream) -> Target {
    let mut head = [0; 4];
    line.read_exact(&mut head).await.unwrap();
    assert_eq!(head[..3], [5, 1, 0]);
    let length = match head[3] {
        1 => 4,
        4 => 16,
        3 => {
            let name = read_text(line).await;
            return Target::Name(name, line.read_u16().await.unwrap());
        }
        other => panic!("an address of kind {other}"),
    };
    let mut address = vec![0; length];
    line.read_exact(&mut address).await.unwrap();
    Target::Address(address, line.read_u16().await.unwrap())
}

async fn read_text(line: &mut TcpStream) -> String {
    let length = line.read_u8().await.unwrap();
    let mut text = vec![0; usize::from(length)];
    line.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}
