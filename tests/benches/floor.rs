//! The least that can carry the documents of a run: what the agent costs is told as a multiple of it.
//!
//! usage: floor documents INPUT OUT       writes the bulk text that the agent would send for INPUT
//!        floor send INPUT TEXT HOST:PORT reads and splits INPUT, and sends TEXT, in the agent's batches
//!
//! `send` decodes nothing and makes no document. It reads the input and looks at every line, reads the bulk text, deflates
//! it (zlib-rs, level 1, in pieces of 64 KiB) and posts it over one connection, one request after the other. Reading the
//! text from a file costs what the agent need not pay, about a twentieth of the whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use flate2::{Compress, Compression, FlushCompress, Status};
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
        ["send", input, text, peer] => send(Path::new(input), Path::new(text), peer),
        _ => Err(io::Error::other("usage: floor documents INPUT OUT | floor send INPUT TEXT HOST:PORT")),
    }
}

fn documents(input: &Path, out: &Path) -> io::Result<()> {
    let mut lines = BufReader::with_capacity(READ, File::open(input)?);
    let mut out = BufWriter::with_capacity(READ, File::create(out)?);
    let (mut decoder, mut scratch, mut encoder) = (Decoder::default(), String::new(), Encoder::new(Config::default()));
    let (mut line, mut document, mut offset, mut key) = (Vec::new(), Vec::new(), 0, None);
    let path = input.to_str();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let content = line.strip_suffix(b"\n").unwrap_or(&line);
        let key = *key.get_or_insert_with(|| FileKey::new("bench", "bench-node", content));
        let flow = decoder.decode(content, &mut scratch).map_err(io::Error::other)?;
        let id = LineId::new(flow.end_time, key, offset, content);
        let read_at_ms = Some(1_767_225_600_123);
        let origin = Origin { cluster: "bench", node: "bench-node", path, offset, id, read_at_ms };
        encoder.encode(&Event { origin, body: Body::Flow(&flow), zones: None }, &mut document);
        writeln!(out, "{{\"create\":{{\"_id\":\"{}\"}}}}", id.as_str())?;
        document.push(b'\n');
        out.write_all(&document)?;
        decoder.give_back(flow);
        offset += line.len() as u64;
        line.clear();
        document.clear();
    }
    out.flush()
}

fn send(input: &Path, text: &Path, peer: &str) -> io::Result<()> {
    let mut input = Lines { file: File::open(input)?, buffer: vec![0; READ], have: 0, lines: 0 };
    let mut text = File::open(text)?;
    let mut peer = Peer { stream: TcpStream::connect(peer)?, host: peer.to_owned(), answer: vec![0; READ] };
    let mut deflate = Compress::new_gzip(Compression::fast(), 15);
    let (mut buffer, mut have, mut body, mut plain, mut documents) = (vec![0; PIECE], 0, Vec::new(), 0, 0u64);
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
        squeeze(&mut deflate, &buffer[..end], FlushCompress::None, &mut body);
        plain += end;
        buffer.copy_within(end..have, 0);
        have -= end;
        if plain >= BATCH || (got == 0 && plain > 0) {
            squeeze(&mut deflate, &[], FlushCompress::Finish, &mut body);
            peer.post(&body)?;
            deflate.reset();
            body.clear();
            plain = 0;
        }
        if got == 0 {
            break;
        }
    }
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

struct Peer {
    stream: TcpStream,
    host: String,
    answer: Vec<u8>,
}

impl Peer {
    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "POST /logs-calico.flow-default/_bulk HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
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
