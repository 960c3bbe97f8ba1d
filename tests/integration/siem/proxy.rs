//! A load balancer between the agent and a receiver that can be told to misbehave.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with connections that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Forward,
    /// Forgets them without a word: nothing is passed on, nothing is closed towards the agent.
    Forget,
    /// Passes on at most some 400 KiB a second.
    Trickle,
}

pub struct Proxy {
    pub port: u16,
    mode: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Its threads end with their connections; the one that listens ends with the process.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("a bound socket").port();
        let (mode, open) = (Arc::new(AtomicU8::new(Mode::Forward as u8)), Arc::new(Mutex::new(Vec::new())));
        let proxy = Self { port, mode: mode.clone(), open: open.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let twins = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                open.lock().expect("no panic").push(client.try_clone().expect("a socket"));
                // A mode holds for the connections that are open when it is set.
                let (up, down) = (mode.clone(), mode.clone());
                let forgotten = Arc::new(AtomicBool::new(false));
                let forgotten_too = forgotten.clone();
                std::thread::spawn(move || pass(client, server, Towards::Receiver, &up, &forgotten));
                std::thread::spawn(move || pass(twins.1, twins.0, Towards::Agent, &down, &forgotten_too));
            }
        });
        proxy
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Relaxed);
    }

    /// Ends every connection with a reset.
    pub fn reset(&self) {
        for socket in self.open.lock().expect("no panic").drain(..) {
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("a socket");
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[derive(Clone, Copy)]
enum Towards {
    Receiver,
    Agent,
}

fn pass(mut from: TcpStream, mut to: TcpStream, towards: Towards, mode: &AtomicU8, forgotten: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        match mode.load(Relaxed) {
            mode if mode == Mode::Forget as u8 => {
                forgotten.store(true, Relaxed);
                // The receiver has lost us; that its side is over must not reach the agent. An answer that was on its way
                // when the mode was set comes by here too.
                let (receiver, agent) = match towards {
                    Towards::Receiver => (&to, from),
                    Towards::Agent => (&from, to),
                };
                let _ = receiver.shutdown(Shutdown::Both);
                std::mem::forget(agent);
                return;
            }
            mode if mode == Mode::Trickle as u8 => std::thread::sleep(Duration::from_millis(10)),
            _ => {}
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if forgotten.load(Relaxed) {
        return;
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
