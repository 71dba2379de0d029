//! One HTTP request on a connection of its own: what the servers' own API needs.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::failure::{Failure, Result, check};

/// The body of the answer, which has to be a success. `address` is `host:port`; `headers` are
/// whole lines.
pub(crate) async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Result<String> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut_short)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    check(status.starts_with('2'), || format!("{method} {path}: {status} {body}"))?;
    Ok(body.to_owned())
}

fn cut_short() -> Failure {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
