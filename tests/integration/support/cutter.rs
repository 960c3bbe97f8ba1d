//! A TCP relay before a real server, for what a network does to a connection: it can lose an answer, cut a request off in
//! its middle, and go away.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

#[derive(Clone)]
pub struct Cutter {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    /// Answers to bulk requests that are still to be lost.
    lose: AtomicUsize,
    lost: AtomicUsize,
    /// Bulk requests that are still to be cut off, and after how many bytes.
    cut: AtomicUsize,
    cut_at: AtomicUsize,
    away: AtomicBool,
}

impl Cutter {
    /// Before the server at `url`, which is plain HTTP on loopback.
    pub fn before(url: &str) -> Self {
        let server = url.strip_prefix("http://").and_then(|rest| rest.parse().ok()).expect("http://127.0.0.1:PORT");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let [lose, lost, cut, cut_at] = [0; 4].map(AtomicUsize::new);
        let shared = Arc::new(Shared { server, lose, lost, cut, cut_at, away: AtomicBool::new(false) });
        let cutter = Self { url, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.relay(client));
            }
        });
        cutter
    }

    /// Loses the next so many answers to bulk requests: the server gets them whole, and we never hear of it.
    pub fn lose_answers(&self, count: usize) {
        self.shared.lose.store(count, SeqCst);
    }

    pub fn lost_answers(&self) -> usize {
        self.shared.lost.load(SeqCst)
    }

    /// Ends the next so many connections that carry a bulk request once so many bytes of it went through.
    pub fn cut_requests(&self, count: usize, bytes: usize) {
        self.shared.cut_at.store(bytes, SeqCst);
        self.shared.cut.store(count, SeqCst);
    }

    pub fn uncut_requests(&self) -> usize {
        self.shared.cut.load(SeqCst)
    }

    /// While away, new and old connections are closed.
    pub fn be_away(&self, away: bool) {
        self.shared.away.store(away, SeqCst);
    }
}

impl Shared {
    fn relay(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let bulk = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (from, to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            let bulk_seen = &bulk;
            scope.spawn(move || {
                let mut passed = 0;
                self.copy(from, to, |bytes| {
                    if bytes.windows(6).any(|window| window == b"/_bulk") {
                        bulk_seen.store(true, SeqCst);
                        passed = 0;
                    } else if bytes.starts_with(b"GET ") || bytes.starts_with(b"POST ") {
                        bulk_seen.store(false, SeqCst);
                    }
                    passed += bytes.len();
                    !(bulk_seen.load(SeqCst) && passed > self.cut_at.load(SeqCst) && take_one(&self.cut))
                })
            });
            self.copy(server, client, |_| {
                let lose = bulk.load(SeqCst) && take_one(&self.lose);
                self.lost.fetch_add(usize::from(lose), SeqCst);
                !lose
            });
        });
    }

    /// Until either side ends, `pass` says no, or we are away.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if self.away.load(SeqCst) || !pass(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1)).is_ok()
}
