//! `tidegate setup`: what must stand in Elasticsearch or OpenSearch before flows arrive.

use std::io::Write as _;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use super::{Exit, block_on, check, input};
use crate::config::{self, Config, Span, rooms};
use crate::net::product::Product;
use crate::setup::boards::install as kibana;
use crate::setup::{self, Choice, Part};

/// Install templates and lifecycle in Elasticsearch or OpenSearch
///
/// Can be repeated: a second run changes nothing. Objects of the same name that others manage, or a newer tidegate
/// installed, are left alone, unless forced. What the server has no room for is passed over and said. It wants other rights
/// than shipping does: deploy/docs/elasticsearch.md lists them, --only roles installs them.
///
/// Exit code 0 when all is as it should be, 1 when it could not be done, 3 when --diff found differences, 4 when a part was
/// passed over.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "Examples:\n  $ tidegate setup -c tidegate.yaml --dry-run\n  \
    $ tidegate setup --elasticsearch https://es:9200 --username elastic --password-file password --ca-file ca.crt\n  \
    $ tidegate setup --export templates --for opensearch@2.19 --lifecycle none\n  \
    $ tidegate setup -c tidegate.yaml --only dashboards --kibana https://kibana:5601 --rules\n  \
    $ tidegate setup verify -c tidegate.yaml"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    input: input::ConfigArgs,

    #[command(flatten)]
    chosen: Chosen,

    /// Show the requests, and change nothing
    #[arg(long, conflicts_with_all = ["diff", "export"])]
    dry_run: bool,

    /// Compare with what is installed, field by field, and change nothing
    #[arg(long, conflicts_with_all = ["export", "force"])]
    diff: bool,

    /// Write everything as files with a script that sends them; no server is asked
    #[arg(long, value_name = "DIR", conflicts_with = "force")]
    export: Option<PathBuf>,

    /// With --export: elasticsearch or opensearch, of which version
    #[arg(long = "for", value_name = "PRODUCT[@VERSION]", requires = "export", value_parser = setup::product, default_value = "elasticsearch")]
    product: Product,

    /// Only these parts; repeatable, or with commas
    ///
    /// Without it: all but roles, which want an administrator of security; --export writes roles, too. Transforms are the
    /// history's, and dashboards want --kibana.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = part())]
    only: Vec<Part>,

    /// Put everything, also over what others manage
    #[arg(long)]
    force: bool,

    /// Import the boards into this Kibana or OpenSearch Dashboards; a path such as /s/my-space stays
    ///
    /// With the credentials and certificates of sinks.elasticsearch. Without it, no boards are imported.
    #[arg(long, value_name = "URL", env = "TIDEGATE_KIBANA", conflicts_with_all = ["diff", "export"])]
    kibana: Option<String>,

    /// With --kibana: the detection rules too; they are off when imported
    #[arg(long, requires = "kibana")]
    rules: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Verify(Verify),
}

/// Write a probe document, read it back, look at its mapping, and remove it
///
/// It goes into a data stream of its own, logs-calico.flow-tidegate_verify_…, which is removed in any case. Exit code 0 when
/// all is good, 3 when something is not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate setup verify -c tidegate.yaml\n  \
    $ tidegate setup verify --elasticsearch https://es:9200 --api-key-file key --ca-file ca.crt")]
struct Verify {
    #[command(flatten)]
    input: input::ConfigArgs,
}

/// What stands above `sinks.elasticsearch.setup` of the file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is installed")]
struct Chosen {
    /// Who makes new indices and deletes old ones: auto, ilm, data_stream, ism or none
    #[arg(long, env = "TIDEGATE_LIFECYCLE", value_parser = ["auto", "ilm", "data_stream", "ism", "none"], hide_possible_values = true)]
    lifecycle: Option<String>,

    /// Age at which flows are deleted
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_RETENTION")]
    retention: Option<Span>,

    /// standard or logsdb
    #[arg(long, value_name = "MODE", env = "TIDEGATE_INDEX_MODE", value_parser = ["standard", "logsdb"], hide_possible_values = true)]
    index_mode: Option<String>,

    /// best_compression or default
    #[arg(long, env = "TIDEGATE_CODEC", value_parser = ["best_compression", "default"], hide_possible_values = true)]
    codec: Option<String>,

    /// true or false: use the failure store where there is one
    #[arg(long, value_name = "BOOLEAN", env = "TIDEGATE_FAILURE_STORE")]
    failure_store: Option<bool>,

    /// Keep an hourly summary for this long
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_HISTORY")]
    history: Option<Span>,
}

impl Chosen {
    fn overrides(&self, matches: &ArgMatches) -> Vec<config::Override> {
        let span = |span: &Option<Span>| span.map(|span| json!(span));
        [
            ("lifecycle", "sinks.elasticsearch.setup.lifecycle", self.lifecycle.as_ref().map(|text| json!(text))),
            ("retention", "sinks.elasticsearch.setup.retention", span(&self.retention)),
            ("index_mode", "sinks.elasticsearch.setup.index_mode", self.index_mode.as_ref().map(|text| json!(text))),
            ("codec", "sinks.elasticsearch.setup.codec", self.codec.as_ref().map(|text| json!(text))),
            ("failure_store", "sinks.elasticsearch.setup.failure_store", self.failure_store.map(|flag| json!(flag))),
            ("history", "sinks.elasticsearch.setup.history", span(&self.history)),
        ]
        .into_iter()
        .filter_map(|(id, path, value)| Some(input::above(matches, id, path, value?)))
        .collect()
    }
}

/// A part by its word.
fn part() -> impl TypedValueParser<Value = Part> {
    PossibleValuesParser::new(Part::ALL.map(Part::word))
        .try_map(|word| Part::ALL.into_iter().find(|part| part.word() == word).ok_or("no such part"))
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    if let Some(Verb::Verify(verify)) = &args.verb {
        return self::verify(verify, matches);
    }
    let mut input = input::without_sources(args.input.input(matches))?;
    input.overrides.extend(args.chosen.overrides(matches));
    if let Some(dir) = &args.export {
        return export(args, input, dir);
    }
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let (server, choice) = (server(&loaded.config)?, rooms::choice(&loaded.config));
    let mut parts = parts(args, &Part::USUAL);
    let boards = args.only.is_empty() || parts.contains(&Part::Dashboards);
    if !args.only.is_empty() && boards && args.kibana.is_none() {
        anyhow::bail!(
            "--only dashboards needs --kibana URL; --export DIR writes the boards as files to import by hand"
        );
    }
    parts.retain(|part| *part != Part::Dashboards);
    let mut out = std::io::stdout().lock();
    let mut exit = Exit::Done;
    if !parts.is_empty() {
        exit = block_on(install(args, &server, &choice, &parts, &mut out))??;
    }
    if let Some(url) = args.kibana.as_ref().filter(|_| boards) {
        block_on(import(args, &server, url, &mut out))??;
    }
    out.flush()?;
    Ok(exit)
}

async fn import(args: &Args, server: &setup::Config, url: &str, out: &mut dyn std::io::Write) -> anyhow::Result<()> {
    let config = kibana::Config { host: url.to_owned(), auth: server.auth.clone(), tls: server.tls.clone() };
    let options = kibana::Options { dry_run: args.dry_run, rules: args.rules };
    let summary = kibana::run(&config, options, out).await?;
    if !args.dry_run {
        eprintln!("imported {} objects of boards, {} detection rules", summary.objects, summary.rules);
    }
    Ok(())
}

fn server(config: &Config) -> anyhow::Result<setup::Config> {
    rooms::setup(config).ok_or_else(|| {
        anyhow::anyhow!("no Elasticsearch is configured; give --elasticsearch URL, or -c FILE with sinks.elasticsearch")
    })
}

fn parts(args: &Args, usual: &[Part]) -> Vec<Part> {
    if args.only.is_empty() { usual.to_vec() } else { args.only.clone() }
}

async fn install(
    args: &Args,
    server: &setup::Config,
    choice: &Choice,
    parts: &[Part],
    out: &mut dyn std::io::Write,
) -> anyhow::Result<Exit> {
    let (wire, product) = setup::connect(server).await?;
    let objects = setup::chosen(&wire, product, choice, parts, out).await?;
    if args.diff {
        let compared = setup::diff(&wire, &objects, out).await?;
        eprintln!("equal {}, different {}, impossible here {}", compared.equal, compared.different, compared.lacking);
        return Ok(exit(compared.different > 0, compared.lacking > 0));
    }
    let options = setup::Options { dry_run: args.dry_run, force: args.force };
    let summary = setup::apply(&wire, &objects, options, out).await?;
    let would = if args.dry_run { "would be " } else { "" };
    eprintln!(
        "{would}created {}, {would}updated {}, unchanged {}, passed over {}",
        summary.created, summary.updated, summary.unchanged, summary.lacking
    );
    Ok(exit(false, summary.lacking > 0))
}

fn exit(different: bool, lacking: bool) -> Exit {
    match (different, lacking) {
        (true, _) => Exit::CheckFailed,
        (_, true) => Exit::Partial,
        _ => Exit::Done,
    }
}

/// Needs neither a server nor a configuration: a host that nobody is asked at stands in for one.
fn export(args: &Args, mut input: config::Input, dir: &std::path::Path) -> anyhow::Result<Exit> {
    let asked = config::Origin::Flag("--export".to_owned());
    if input.file.is_none() {
        input.overrides.push(config::Override::set(
            "sinks.elasticsearch.hosts",
            json!(["http://127.0.0.1:9200"]),
            asked,
        ));
    }
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let (choice, parts) = (rooms::choice(&loaded.config), parts(args, &Part::ALL));
    let files = setup::files(args.product, &choice, &parts)?;
    setup::export(dir, &files)?;
    let mut out = std::io::stdout().lock();
    for (name, _) in &files {
        writeln!(out, "{}", dir.join(name).display())?;
    }
    eprintln!("written for {}: {} files", args.product, files.len());
    if let Some(word) = choice.without_effect(args.product).filter(|_| parts.contains(&Part::Templates)) {
        eprintln!("{word}");
    }
    Ok(Exit::Done)
}

fn verify(args: &Verify, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let input = input::without_sources(args.input.input(matches))?;
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let server = server(&loaded.config)?;
    let mut out = std::io::stdout().lock();
    let checks = block_on(async {
        let (wire, product) = setup::connect(&server).await?;
        setup::verify(&wire, product, &mut out).await
    })??;
    out.flush()?;
    Ok(if checks.iter().all(|check| check.good) { Exit::Done } else { Exit::CheckFailed })
}
