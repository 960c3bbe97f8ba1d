//! `tidegate siem schema`: the keys that a SIEM's parsers and rules can rely on.

use std::io::Write as _;

use serde_json::json;

use crate::cli::Exit;
use crate::cli::dictionary::{self, Class, Field, Key, Kind};

/// Print the key dictionary of a format
///
/// Every key that a record may have, with its type, its longest value in octets and the flow-log field it comes from.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate siem schema --record leef\n  \
    $ tidegate siem schema --format csv > tidegate-cef.csv")]
pub struct Args {
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Form,

    /// Format of the records; ECS JSON has the fields of deploy/docs/fields.md
    #[arg(long, value_enum, default_value_t)]
    record: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Form {
    #[default]
    Markdown,
    Csv,
    Json,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let record = dictionary::record()?;
    let keys = dictionary::keys(args.record)?;
    let rows = rows(&keys, &record.fields);
    let classes: Vec<&Class> = record.classes.iter().chain(&record.own).collect();
    let text = match args.format {
        Form::Markdown => markdown(&rows, &classes),
        Form::Csv => csv(&rows),
        Form::Json => json(&rows, &classes)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// A key with the fact it has.
struct Row<'a> {
    key: &'a Key,
    field: &'a Field,
}

impl Row<'_> {
    fn kind(&self) -> &str {
        self.key.kind.as_deref().unwrap_or(&self.field.kind)
    }

    fn note(&self) -> String {
        let parts = [self.key.note.as_deref(), self.key.purpose.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn rows<'a>(keys: &'a [Key], fields: &'a [Field]) -> Vec<Row<'a>> {
    let field = |key: &Key| fields.iter().find(|field| field.field == key.field);
    keys.iter().filter_map(|key| Some(Row { key, field: field(key)? })).collect()
}

fn markdown(rows: &[Row<'_>], classes: &[&Class]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut out = String::from("| key | label | name | type | octets | from | note |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let octets = row.field.cut.map_or_else(String::new, |cut| cut.to_string());
        let cells = [
            &format!("`{}`", row.key.key),
            row.key.label.as_deref().unwrap_or_default(),
            row.key.name.as_deref().unwrap_or_default(),
            row.kind(),
            &octets,
            &row.field.from,
            &row.note(),
        ];
        out.push_str(&format!("| {} |\n", cells.map(cell).join(" | ")));
    }
    out.push_str("\n| class | meaning | severity |\n|---|---|---|\n");
    for class in classes {
        out.push_str(&format!("| `{}` | {} | {} |\n", class.id, cell(&class.name), class.severity));
    }
    out
}

/// RFC 4180.
fn csv(rows: &[Row<'_>]) -> String {
    let cell = |text: &str| match text.contains(['"', ',', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let mut out = String::from("key,label,name,type,octets,drop,field,from,note\r\n");
    for row in rows {
        let number = |number: Option<usize>| number.map_or_else(String::new, |number| number.to_string());
        let cells = [
            &row.key.key,
            row.key.label.as_deref().unwrap_or_default(),
            row.key.name.as_deref().unwrap_or_default(),
            row.kind(),
            &number(row.field.cut),
            &number(row.field.drop.map(usize::from)),
            &row.field.field,
            &row.field.from,
            &row.note(),
        ];
        out.push_str(&cells.map(cell).join(","));
        out.push_str("\r\n");
    }
    out
}

fn json(rows: &[Row<'_>], classes: &[&Class]) -> serde_json::Result<String> {
    let key = |row: &Row<'_>| {
        let mut object = json!({
            "key": row.key.key, "field": row.field.field, "type": row.kind(), "from": row.field.from,
        });
        let more = [
            ("label", json!(row.key.label)),
            ("name", json!(row.key.name)),
            ("max_characters", json!(row.key.max)),
            ("max_octets", json!(row.field.cut)),
            ("drop", json!(row.field.drop)),
            ("note", json!(row.key.note)),
            ("use", json!(row.key.purpose)),
        ];
        for (name, value) in more.into_iter().filter(|(_, value)| !value.is_null()) {
            object[name] = value;
        }
        object
    };
    let class = |class: &&Class| json!({"id": class.id, "name": class.name, "severity": class.severity});
    let all = json!({
        "keys": rows.iter().map(key).collect::<Vec<_>>(),
        "classes": classes.iter().map(class).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}
