//! The pages under `mappings/kibana/`, as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::yaml::Document;

/// Every page, read.
#[derive(Debug)]
pub struct Sources {
    pub common: Common,
    /// In the order of the navigation.
    pub boards: Vec<Board>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Common {
    pub data_view: DataView,
    pub time: Time,
    /// KQL by name; used as `$name`.
    pub filters: BTreeMap<String, String>,
    pub controls: Vec<Control>,
    /// What people call a field.
    pub labels: BTreeMap<String, String>,
    pub searches: Vec<Search>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataView {
    pub id: String,
    pub title: String,
    pub name: String,
    pub time_field: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    pub from: String,
    pub to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    pub id: String,
    pub label: String,
    pub field: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    pub id: String,
    pub title: String,
    pub filter: String,
    pub columns: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    pub id: String,
    pub title: String,
    /// Its name in the navigation.
    pub nav: String,
    pub description: String,
    /// KQL that every panel of the board obeys.
    pub filter: String,
    pub panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    pub id: String,
    pub title: String,
    pub question: String,
    /// Left, top, width, height, on a grid of 48 columns.
    pub at: [u32; 4],
    pub chart: Chart,
    #[serde(default)]
    pub filter: String,
    #[serde(default)]
    pub by: Vec<Bucket>,
    #[serde(default)]
    pub show: Vec<Metric>,
    /// The board that a click leads to.
    pub open: Option<String>,
    /// The saved search, of a `search` panel.
    pub search: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chart {
    Metric,
    Bar,
    Area,
    Line,
    Donut,
    Treemap,
    Heatmap,
    Table,
    Search,
}

/// One way to part the documents. The keys tell the kinds apart.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Bucket {
    Time(TimeBucket),
    Top(TopBucket),
    Rare(RareBucket),
    Filters(FiltersBucket),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeBucket {
    /// Always true: the data view has one time field.
    pub time: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopBucket {
    /// The field.
    pub top: String,
    pub size: u32,
    /// The least of the first number first.
    #[serde(default)]
    pub ascending: bool,
    /// Only values that hold this text. Of a field with many values, others would come along.
    pub containing: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RareBucket {
    /// The field.
    pub rare: String,
    /// Values in more documents than this are not rare; at most 100.
    pub at_most: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiltersBucket {
    pub filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub label: String,
    pub kql: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub agg: Agg,
    pub field: Option<String>,
    pub label: Option<String>,
    pub format: Option<Format>,
    #[serde(default)]
    pub per_second: bool,
    /// Show it once more as it was this much earlier.
    pub before: Option<String>,
    /// KQL, of a share.
    pub of: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Agg {
    Count,
    Sum,
    Unique,
    Max,
    Min,
    Average,
    P95,
    /// Connections that match `of`, of all.
    Share,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Bytes,
}

/// The number that shares are counted in.
pub const CONNECTIONS: &str = "calico.num_flows";

const COMMON: &str = include_str!("../../../mappings/kibana/common.yaml");
const BOARDS: [&str; 7] = [
    include_str!("../../../mappings/kibana/boards/1-overview.yaml"),
    include_str!("../../../mappings/kibana/boards/2-denied.yaml"),
    include_str!("../../../mappings/kibana/boards/3-policy.yaml"),
    include_str!("../../../mappings/kibana/boards/4-zones.yaml"),
    include_str!("../../../mappings/kibana/boards/5-egress.yaml"),
    include_str!("../../../mappings/kibana/boards/6-workload.yaml"),
    include_str!("../../../mappings/kibana/boards/7-pipeline.yaml"),
];

impl Sources {
    /// # Panics
    /// Never in a build whose tests passed: the pages are part of the program.
    pub fn shipped() -> Self {
        Self { common: read(COMMON), boards: BOARDS.map(read).into() }
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> T {
    let read = Document::parse(text).and_then(|document| document.to());
    read.unwrap_or_else(|problem| panic!("a page of the boards: {problem}"))
}

impl Common {
    /// KQL with its `$names` put in.
    ///
    /// # Panics
    /// On a name that `common.yaml` does not have, as [`Sources::shipped`].
    pub fn kql(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let name = &rest[at + 1..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
            let filter =
                self.filters.get(&name[..end]).unwrap_or_else(|| panic!("no filter is named {}", &name[..end]));
            // Among others it needs its own brackets.
            let alone = text.trim() == &rest[at..at + 1 + end];
            let grouped = if alone { filter.clone() } else { format!("({filter})") };
            out.push_str(&grouped);
            rest = &name[end..];
        }
        out + rest
    }

    /// What people call a field; else its own name.
    pub fn label<'a>(&'a self, field: &'a str) -> &'a str {
        self.labels.get(field).map_or(field, String::as_str)
    }
}

impl Panel {
    /// Buckets as a server is to nest them, with their places on the page. Time is the innermost: the greatest values are
    /// those of the whole time, not of each interval.
    pub fn nested(&self) -> impl Iterator<Item = (usize, &Bucket)> {
        let is_time = |(_, bucket): &(usize, &Bucket)| matches!(bucket, Bucket::Time(_));
        let all = || self.by.iter().enumerate();
        all().filter(move |bucket| !is_time(bucket)).chain(all().filter(is_time))
    }
}

impl TopBucket {
    /// `containing` as a regular expression of Lucene.
    pub fn include(&self) -> Option<String> {
        let escape = |c: char| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") };
        let text = self.containing.as_ref()?;
        Some(format!(".*{}.*", text.chars().map(escape).collect::<String>()))
    }
}

impl Bucket {
    pub fn field<'a>(&'a self, common: &'a Common) -> Option<&'a str> {
        match self {
            Self::Time(_) => Some(&common.data_view.time_field),
            Self::Top(bucket) => Some(&bucket.top),
            Self::Rare(bucket) => Some(&bucket.rare),
            Self::Filters(_) => None,
        }
    }

    pub fn label<'a>(&'a self, common: &'a Common) -> &'a str {
        match self {
            Self::Time(_) => "Time",
            Self::Filters(_) => "What",
            Self::Top(bucket) => common.label(&bucket.top),
            Self::Rare(bucket) => common.label(&bucket.rare),
        }
    }
}

impl Metric {
    pub fn label(&self, common: &Common) -> String {
        let own = || self.field.as_deref().map_or("Documents", |field| common.label(field)).to_owned();
        self.label.clone().unwrap_or_else(own)
    }

    /// A date, and not a number.
    pub fn is_date(&self) -> bool {
        matches!(self.field.as_deref(), Some("@timestamp" | "event.ingested"))
    }
}
