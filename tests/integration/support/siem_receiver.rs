//! A stand-in SIEM: syslog over TCP with octet counting (RFC 6587), which remembers the `externalId` of each record and can
//! be taken down.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Shared {
    /// `externalId` → times it came.
    seen: Mutex<HashMap<String, u64>>,
    connections: Mutex<Vec<TcpStream>>,
}

pub struct SiemReceiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<Arc<AtomicBool>>>,
}

impl SiemReceiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket");
        let receiver = Self { address, shared: Arc::default(), running: Mutex::default() };
        receiver.serve(listener);
        receiver
    }

    fn serve(&self, listener: TcpListener) {
        let running = Arc::new(AtomicBool::new(true));
        *self.running.lock().expect("no panic") = Some(Arc::clone(&running));
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !running.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(handle) = stream.try_clone() else { continue };
                shared.connections.lock().expect("no panic").push(handle);
                let shared = Arc::clone(&shared);
                // A sender that goes away is its own business.
                std::thread::spawn(move || drop(shared.receive(&stream)));
            }
        });
    }

    /// Refuses and breaks connections.
    pub fn down(&self) {
        if let Some(running) = self.running.lock().expect("no panic").take() {
            running.store(false, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
        }
        for connection in self.shared.connections.lock().expect("no panic").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        while TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn up(&self) {
        if self.running.lock().expect("no panic").is_none() {
            self.serve(TcpListener::bind(self.address).expect("the port of before"));
        }
    }

    pub fn count(&self) -> usize {
        self.shared.seen.lock().expect("no panic").len()
    }

    pub fn holds(&self, id: &str) -> bool {
        self.shared.seen.lock().expect("no panic").contains_key(id)
    }
}

impl Drop for SiemReceiver {
    fn drop(&mut self) {
        self.down();
    }
}

impl Shared {
    /// Reads to the end, and then closes: that tells the sender that everything has come.
    fn receive(&self, stream: &TcpStream) -> io::Result<()> {
        let received = self.records(stream);
        stream.shutdown(Shutdown::Both)?;
        received
    }

    fn records(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut length = Vec::new();
            if reader.read_until(b' ', &mut length)? == 0 {
                return Ok(());
            }
            let length = std::str::from_utf8(&length).ok().and_then(|text| text.trim_end().parse().ok());
            let mut record = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
            reader.read_exact(&mut record)?;
            if let Some(id) = external_id(&String::from_utf8_lossy(&record)) {
                *self.seen.lock().expect("no panic").entry(id).or_default() += 1;
            }
        }
    }
}

fn external_id(record: &str) -> Option<String> {
    let value = &record[record.find("externalId=")? + "externalId=".len()..];
    Some(value[..value.find(' ').unwrap_or(value.len())].to_owned())
}
