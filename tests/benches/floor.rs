//! The least that can carry the documents of a run: what the agent costs is told as a multiple of it.
//!
//! usage: floor documents INPUT OUT            writes the bulk text that the agent would send for INPUT
//!        floor send INPUT TEXT HOST:PORT [CA]  reads and splits INPUT, and sends TEXT, in the agent's batches
//!        floor make INPUT HOST:PORT [CA]       makes the documents of INPUT and sends them, in the agent's batches
//!
//! `send` decodes nothing and makes no document. It reads the input and looks at every line, reads the bulk text, deflates
//! it (zlib-rs, level 1, in pieces of 64 KiB) and posts it over one connection, one request after the other. Reading the
//! text from a file costs what the agent need not pay, about a twentieth of the whole.
//!
//! `make` decodes and encodes as the agent does, with its decoder and its encoder, and does nothing else of the agent's:
//! no second look at files, no checkpoint, no outcome of an item, no metric. With a CA's certificate either speaks TLS.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress, Status};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tidegate::decode::Decoder;
use tidegate::encode::ecs::{Config, Encoder};
use tidegate::model::{Body, Event, FileKey, LineId, Origin};

/// A batch, as the agent cuts it.
const BATCH: usize = 1 << 20;
const PIECE: usize = 64 << 10;
const READ: usize = 256 << 10;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["documents", input, out] => documents(Path::new(input), Path::new(out)),
        ["send", input, text, peer, ref ca @ ..] => {
            send(Path::new(input), Path::new(text), Peer::new(peer, ca.first())?)
        }
        ["make", input, peer, ref ca @ ..] => make(Path::new(input), Peer::new(peer, ca.first())?),
        _ => Err(io::Error::other(
            "usage: floor documents INPUT OUT | send INPUT TEXT HOST:PORT [CA] | make INPUT HOST:PORT [CA]",
        )),
    }
}

/// The bulk text of line after line, as the agent would send it.
#[derive(Default)]
struct Maker {
    decoder: Decoder,
    scratch: String,
    encoder: Option<Encoder>,
    offset: u64,
    key: Option<FileKey>,
}

impl Maker {
    /// Of a line without its newline.
    fn add(&mut self, path: Option<&str>, line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let key = *self.key.get_or_insert_with(|| FileKey::new("bench", "bench-node", line));
        let flow = self.decoder.decode(line, &mut self.scratch).map_err(io::Error::other)?;
        let id = LineId::new(flow.end_time, key, self.offset, line);
        let read_at_ms = Some(1_767_225_600_123);
        let origin = Origin { cluster: "bench", node: "bench-node", path, offset: self.offset, id, read_at_ms };
        out.extend_from_slice(b"{\"create\":{\"_id\":\"");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\"}}\n");
        let encoder = self.encoder.get_or_insert_with(|| Encoder::new(Config::default()));
        encoder.encode(&Event { origin, body: Body::Flow(&flow), zones: None }, out);
        out.push(b'\n');
        self.decoder.give_back(flow);
        self.offset += line.len() as u64 + 1;
        Ok(())
    }
}

fn documents(input: &Path, out: &Path) -> io::Result<()> {
    let mut lines = BufReader::with_capacity(READ, File::open(input)?);
    let mut out = BufWriter::with_capacity(READ, File::create(out)?);
    let (mut maker, mut line, mut text) = (Maker::default(), Vec::new(), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        maker.add(input.to_str(), line.strip_suffix(b"\n").unwrap_or(&line), &mut text)?;
        out.write_all(&text)?;
        line.clear();
        text.clear();
    }
    out.flush()
}

fn make(input: &Path, peer: Peer) -> io::Result<()> {
    let mut file = File::open(input)?;
    let (mut maker, mut batch, mut text) = (Maker::default(), Batch::new(peer), Vec::new());
    let (mut buffer, mut have, mut documents) = (vec![0; READ], 0, 0u64);
    loop {
        let got = file.read(&mut buffer[have..])?;
        have += got;
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', &buffer[..have]) {
            maker.add(input.to_str(), &buffer[start..newline], &mut text)?;
            documents += 1;
            start = newline + 1;
            if text.len() >= PIECE {
                batch.add(&text)?;
                text.clear();
            }
        }
        buffer.copy_within(start..have, 0);
        have -= start;
        if got == 0 {
            break;
        }
    }
    batch.add(&text)?;
    batch.post()?;
    println!("{documents} documents");
    Ok(())
}

/// A request in the making.
struct Batch {
    deflate: Compress,
    body: Vec<u8>,
    plain: usize,
    peer: Peer,
}

impl Batch {
    fn new(peer: Peer) -> Self {
        Self { deflate: Compress::new_gzip(Compression::fast(), 15), body: Vec::new(), plain: 0, peer }
    }

    fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        squeeze(&mut self.deflate, piece, FlushCompress::None, &mut self.body);
        self.plain += piece.len();
        if self.plain >= BATCH { self.post() } else { Ok(()) }
    }

    fn post(&mut self) -> io::Result<()> {
        if self.plain > 0 {
            squeeze(&mut self.deflate, &[], FlushCompress::Finish, &mut self.body);
            self.peer.post(&self.body)?;
            self.deflate.reset();
            self.body.clear();
            self.plain = 0;
        }
        Ok(())
    }
}

fn send(input: &Path, text: &Path, peer: Peer) -> io::Result<()> {
    let mut input = Lines { file: File::open(input)?, buffer: vec![0; READ], have: 0, lines: 0 };
    let mut text = File::open(text)?;
    let (mut batch, mut buffer, mut have, mut documents) = (Batch::new(peer), vec![0; PIECE], 0, 0u64);
    loop {
        if have == buffer.len() {
            return Err(io::Error::other("a document larger than a piece"));
        }
        let got = text.read(&mut buffer[have..])?;
        have += got;
        // Whole documents only: the next one's action follows, or nothing.
        let next = memchr::memmem::rfind(&buffer[..have], b"\n{\"create\":").map_or(0, |at| at + 1);
        let end = if got == 0 { have } else { next };
        let new = memchr::memchr_iter(b'\n', &buffer[..end]).count() as u64 / 2;
        documents += new;
        input.read_to(documents)?;
        batch.add(&buffer[..end])?;
        buffer.copy_within(end..have, 0);
        have -= end;
        if got == 0 {
            break;
        }
    }
    batch.post()?;
    println!("{documents} documents for {} lines", input.lines);
    Ok(())
}

fn squeeze(deflate: &mut Compress, mut input: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    loop {
        out.reserve(32 << 10);
        let before = deflate.total_in();
        let status = deflate.compress_vec(input, out, flush).expect("its own state");
        input = &input[(deflate.total_in() - before) as usize..];
        let done = if flush == FlushCompress::Finish { status == Status::StreamEnd } else { input.is_empty() };
        if done {
            return;
        }
    }
}

/// The input, read as far as documents go: text checked, split, each line looked at.
struct Lines {
    file: File,
    buffer: Vec<u8>,
    have: usize,
    lines: u64,
}

impl Lines {
    fn read_to(&mut self, lines: u64) -> io::Result<()> {
        while self.lines < lines {
            let got = self.file.read(&mut self.buffer[self.have..])?;
            if got == 0 {
                return Err(io::Error::other("more documents than lines"));
            }
            self.have += got;
            let end = memchr::memrchr(b'\n', &self.buffer[..self.have]).map_or(0, |at| at + 1);
            let text = std::str::from_utf8(&self.buffer[..end]).map_err(io::Error::other)?;
            let mut start = 0;
            for newline in memchr::memchr_iter(b'\n', text.as_bytes()) {
                let whole = text[start..newline].starts_with('{') && text[..newline].ends_with('}');
                self.lines += u64::from(whole);
                start = newline + 1;
            }
            self.buffer.copy_within(end..self.have, 0);
            self.have -= end;
        }
        Ok(())
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

struct Peer {
    stream: Box<dyn Stream>,
    host: String,
    answer: Vec<u8>,
}

impl Peer {
    fn new(peer: &str, ca: Option<&&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(peer)?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match ca {
            None => Box::new(stream),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                let ca = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
                roots.add(ca).map_err(io::Error::other)?;
                let ring = Arc::new(rustls::crypto::ring::default_provider());
                let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
                let config = config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
                let name = "localhost".try_into().map_err(io::Error::other)?;
                let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, stream))
            }
        };
        Ok(Self { stream, host: peer.to_owned(), answer: vec![0; READ] })
    }

    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "POST /logs-calico.flow-default/_bulk HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.stream.flush()?;
        let mut have = 0;
        loop {
            let got = self.stream.read(&mut self.answer[have..])?;
            have += got;
            if got == 0 {
                return Err(io::Error::other("the answer broke off"));
            }
            let text = &self.answer[..have];
            let Some(head) = memchr::memmem::find(text, b"\r\n\r\n") else { continue };
            let length = content_length(&text[..head]).ok_or_else(|| io::Error::other("no length"))?;
            let whole = head + 4 + length;
            let good = text.starts_with(b"HTTP/1.1 200");
            if whole > self.answer.len() {
                self.answer.resize(whole, 0);
            }
            if have >= whole {
                return if good { Ok(()) } else { Err(io::Error::other("refused")) };
            }
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    line.trim().parse().ok()
}
