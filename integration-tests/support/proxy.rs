//! A TCP proxy that cuts, stalls and delays connections.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

const DELAY: Duration = Duration::from_millis(20);
const LOST: u64 = 25;
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(400);

/// Forwards connections to a server, with the faults it is told to make.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Faults {
    /// Bytes from the server after which a connection is cut.
    cut_every: AtomicU64,
    cuts: AtomicU64,
    connections: AtomicU64,
    stalled: watch::Sender<bool>,
    delayed: AtomicBool,
    /// Where new connections go.
    target: Mutex<String>,
}

impl Proxy {
    /// A faultless proxy to the server of a connection string, on a free port of the loopback address.
    pub async fn to(remote: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Faults {
            cut_every: AtomicU64::new(u64::MAX),
            cuts: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stalled: watch::Sender::new(false),
            delayed: AtomicBool::new(false),
            target: Mutex::new(host_of(remote)),
        });
        let accepting = tokio::spawn(accept(listener, faults.clone()));
        Self { address, faults, accepting }
    }

    /// The connection string of the proxy.
    pub fn remote(&self) -> String {
        format!("sc://{}", self.address)
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, remote: &str) {
        *self.faults.target.lock().unwrap() = host_of(remote);
    }

    /// Cuts every connection, those open included, once it has carried this many bytes from the server.
    pub fn cut_every(&self, bytes: u64) {
        self.faults.cut_every.store(bytes, Ordering::Relaxed);
    }

    /// Carries nothing any more, in either direction, and keeps the connections open; `false` lets the bytes flow again.
    pub fn stall(&self, stalled: bool) {
        self.faults.stalled.send_replace(stalled);
    }

    /// From now on a far network that loses packets: whatever is carried takes [`DELAY`], and one in [`LOST`] pieces waits
    /// for TCP to send it again.
    pub fn delay(&self) {
        self.faults.delayed.store(true, Ordering::Relaxed);
    }

    /// Connections cut so far.
    pub fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.faults.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn host_of(remote: &str) -> String {
    remote.trim_start_matches("sc://").trim_end_matches('/').to_owned()
}

async fn accept(listener: TcpListener, faults: Arc<Faults>) {
    while let Ok((client, _)) = listener.accept().await {
        faults.connections.fetch_add(1, Ordering::Relaxed);
        let (target, faults) = (faults.target.lock().unwrap().clone(), faults.clone());
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(target).await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                // Whichever direction ends first takes the connection with it.
                tokio::select! {
                    _ = carry(from_client, to_server, &faults, false) => {}
                    _ = carry(from_server, to_client, &faults, true) => {}
                }
            }
        });
    }
}

/// Carries bytes one way until the end, an error, or a cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults, counted: bool) -> io::Result<()> {
    let mut stalled = faults.stalled.subscribe();
    let mut buffer = vec![0; 64 << 10];
    let (mut carried, mut pieces) = (0, 0);
    loop {
        let limit = faults.cut_every.load(Ordering::Relaxed);
        let room = if counted { (limit - carried.min(limit)).min(buffer.len() as u64) as usize } else { buffer.len() };
        if room == 0 {
            faults.cuts.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let read = from.read(&mut buffer[..room]).await?;
        if read == 0 {
            return Ok(());
        }
        // The sender lives as long as the proxy's faults do, which outlive this connection.
        _ = stalled.wait_for(|stalled| !stalled).await;
        if faults.delayed.load(Ordering::Relaxed) {
            pieces += 1;
            tokio::time::sleep(if pieces % LOST == 0 { SENT_AGAIN_AFTER } else { DELAY }).await;
        }
        to.write_all(&buffer[..read]).await?;
        carried += read as u64;
    }
}
