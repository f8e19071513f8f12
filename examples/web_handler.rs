//! An async web handler that writes events: `POST /STREAM` appends its body, and is answered once the event is durable.
//!
//! With `If-Match: N` it does so only if the stream is at version N; whoever decided on an older version gets a 409 and looks again.
//! Of HTTP there is no more than an example needs: in a service a web framework calls `handle`.

use annals::{Append, AppendError, Event, Expect, Log, Version};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let log = Log::open(std::env::args().nth(1).unwrap_or_else(|| "data".to_owned()))?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (client, _) = listener.accept().await?;
            let log = log.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(&log, client).await {
                    eprintln!("a client was not answered: {error}");
                }
            });
        }
    })
}

/// Appends, and awaits the receipt. No thread waits with it, and requests that come at one time share a sync. A client
/// that goes away changes nothing: the append goes on.
async fn handle(log: &Log, stream: &str, body: Vec<u8>, expect: Expect) -> (&'static str, String) {
    let append = Append::new().expect(stream, expect).event(Event::new(stream, "Posted").data(body));
    let done = match log.append(append) {
        Ok(receipt) => receipt.await,
        Err(refused) => Err(refused),
    };
    match done {
        Ok(done) => {
            let version = done.versions().next().unwrap_or(Version::FIRST);
            ("201 Created", format!("{{\"offset\":{},\"version\":{version}}}\n", done.first()))
        }
        Err(error @ AppendError::WrongVersion { .. }) => ("409 Conflict", format!("{error}\n")),
        Err(error @ AppendError::Invalid(_)) => ("400 Bad Request", format!("{error}\n")),
        Err(error) => ("503 Service Unavailable", format!("{error}\n")),
    }
}

/// Reads one request, of 1 MiB at most, and answers it.
async fn serve(log: &Log, client: TcpStream) -> Outcome<()> {
    let mut client = BufReader::new(client).take(1024 * 1024);
    let mut lines = (&mut client).lines();
    let first = lines.next_line().await?.ok_or("no request")?;
    let stream = first.strip_prefix("POST /").and_then(|rest| rest.split(' ').next()).ok_or("not POST /STREAM")?;
    let (mut length, mut expect) = (0, Expect::Any);
    while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        match line.to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse()?,
            Some(("if-match", value)) => expect = Expect::Version(Version::from_raw(value.trim().parse()?)),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if (&mut client).take(length).read_to_end(&mut body).await? as u64 != length {
        return Err("the body was cut, or is too long".into());
    }
    let (status, answer) = handle(log, stream, body, expect).await;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    client.get_mut().write_all((head + &answer).as_bytes()).await?;
    Ok(client.get_mut().shutdown().await?)
}
