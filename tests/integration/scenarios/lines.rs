//! What was written, and so which ids must arrive: by the rule alone (decisions 1 and 2), from the bytes on the disk.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use tidegate::model::{FileKey, LineId};

pub const CLUSTER: &str = "test-cluster";
pub const NODE: &str = "test-node";

/// A flow that crosses from zone to zone, of its own for each number. A thousand of them end in one second.
pub fn flow(number: u64, extra: &str) -> String {
    format!(
        r#"{{"start_time":{},"end_time":{},"source_ip":"10.0.{}.{}","source_name":"web-{number}","source_name_aggr":"web-*","source_namespace":"shop","source_port":{},"source_type":"wep","dest_ip":"10.1.0.9","dest_name":"db-0","dest_name_aggr":"db-*","dest_namespace":"data","dest_port":5432,"dest_type":"wep","proto":"tcp","action":"allow","reporter":"dst","bytes_in":{number},"bytes_out":1,"packets_in":1,"packets_out":1,"num_flows":1,"num_flows_started":1,"num_flows_completed":1{extra}}}"#,
        1_700_000_000 + number / 1000,
        1_700_000_300 + number / 1000,
        number / 250 % 250,
        number % 250,
        30_000 + number % 30_000,
    )
}

pub const ZONES: &str = "apiVersion: zones/v1\nzones:\n- {name: outer, match: [{namespace: shop}]}\n- {name: inner, match: [{namespace: data}]}\n";

/// What a file holds, by its inode.
#[derive(Debug, Clone, Copy)]
struct Scanned {
    /// Whole lines up to here are in the book.
    end: u64,
    key: FileKey,
}

#[derive(Debug)]
pub struct Book {
    /// Ids that must arrive.
    pub expected: BTreeSet<String>,
    /// Those of flows: what else there is goes to Elasticsearch alone.
    pub flows: BTreeSet<String>,
    /// Lines longer than a line may be.
    pub overlong: u64,
    pub max_line: usize,
    scanned: HashMap<(u64, u64), Scanned>,
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Book {
    pub fn new() -> Self {
        Self {
            expected: BTreeSet::new(),
            flows: BTreeSet::new(),
            overlong: 0,
            max_line: 1 << 20,
            scanned: HashMap::new(),
        }
    }

    /// Enters the whole lines that a file has gained.
    pub fn enter(&mut self, path: &Path) {
        self.scan(path, true);
    }

    /// What the file has gained is nobody's business.
    pub fn skip(&mut self, path: &Path) {
        self.scan(path, false);
    }

    /// The inode holds something else from now on, or nothing.
    pub fn forget(&mut self, path: &Path) {
        if let Ok(metadata) = std::fs::metadata(path) {
            self.scanned.remove(&inode(&metadata));
        }
    }

    /// As [`Book::forget`], when no other name leads to it.
    pub fn forget_if_last(&mut self, path: &Path) {
        if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1) {
            self.forget(path);
        }
    }

    fn scan(&mut self, path: &Path, wanted: bool) {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let metadata = file.metadata().expect("metadata");
        let from = self.scanned.get(&inode(&metadata)).map_or(0, |scanned| scanned.end);
        let mut text = vec![0; metadata.len().saturating_sub(from) as usize];
        file.read_exact_at(&mut text, from).expect("the bytes that were written");
        let key = match self.scanned.get(&inode(&metadata)) {
            Some(scanned) => scanned.key,
            None => FileKey::new(CLUSTER, NODE, text.split(|b| *b == b'\n').next().unwrap_or_default()),
        };
        let mut end = from;
        for line in text.split_inclusive(|b| *b == b'\n') {
            let Some(content) = line.strip_suffix(b"\n") else { break };
            // What fills a hole is no part of the line behind it.
            let hole = content.iter().take_while(|byte| **byte == 0).count();
            if wanted {
                self.line(key, end + hole as u64, &content[hole..]);
            }
            end += line.len() as u64;
        }
        if end > 0 {
            self.scanned.insert(inode(&metadata), Scanned { end, key });
        }
    }

    fn line(&mut self, key: FileKey, offset: u64, content: &[u8]) {
        if content.trim_ascii().is_empty() {
            return;
        }
        if content.len() > self.max_line {
            self.overlong += 1;
            return;
        }
        let text = String::from_utf8_lossy(content);
        let value: serde_json::Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default();
        // Only a flow has a time of its own.
        let time = value["end_time"].as_i64().filter(|_| value["action"].is_string());
        let id = LineId::new(time, key, offset, content).as_str().to_owned();
        if time.is_some() {
            self.flows.insert(id.clone());
        }
        self.expected.insert(id);
    }

    /// Everything that is in the book and whose file is still there stands in this checkpoint.
    pub fn is_settled(&self, checkpoint: &serde_json::Value) -> bool {
        let files = checkpoint["files"].as_array().map_or(&[][..], Vec::as_slice);
        let mut settled = HashMap::new();
        for file in files {
            let (Some(key), Some(offset)) = (file["key"].as_str(), file["offset"].as_u64()) else { continue };
            let most = settled.entry(key).or_insert(offset);
            *most = offset.max(*most);
        }
        self.scanned.values().all(|scanned| {
            let key = format!("{:016x}", scanned.key.0);
            settled.get(key.as_str()).is_some_and(|offset| *offset >= scanned.end)
        })
    }
}
