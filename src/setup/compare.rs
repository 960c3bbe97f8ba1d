//! What is installed, held against what we would install, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::What;

/// One field that is not as we would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `template.settings.index.codec`; members of lists by their number.
    pub field: String,
    pub ours: Option<String>,
    pub installed: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.installed, &self.ours) {
            (Some(installed), Some(ours)) => write!(f, "{}: {installed}, should be {ours}", self.field),
            (None, Some(ours)) => write!(f, "{}: missing, should be {ours}", self.field),
            (Some(installed), None) => write!(f, "{}: {installed}, should not be there", self.field),
            (None, None) => f.write_str(&self.field),
        }
    }
}

/// What the servers write into templates of themselves.
const ADDED: [(&str, &str); 4] = [
    ("data_stream.hidden", "false"),
    ("data_stream.allow_custom_routing", "false"),
    ("data_stream.timestamp_field.name", "@timestamp"),
    ("template.lifecycle.enabled", "true"),
];

/// And when they did, from Elasticsearch 9.2 on.
const DATES: [&str; 4] = ["created_date", "created_date_millis", "modified_date", "modified_date_millis"];

/// Every difference, in the order of the fields' names. Our mark (`_meta`) is none.
pub fn differences(what: What, ours: &Value, installed: &Value) -> Vec<Difference> {
    let (ours, installed) = (leaves(ours), leaves(installed));
    let mut names: Vec<&String> = ours.keys().chain(installed.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let difference = |name: &String| {
        let (ours, installed) = (ours.get(name), installed.get(name));
        Difference { field: name.clone(), ours: ours.cloned(), installed: installed.cloned() }
    };
    let differs = |difference: &Difference| match (&difference.ours, &difference.installed) {
        (None, Some(value)) => !is_the_servers(what, &difference.field, value, &ours),
        (ours, installed) => ours != installed,
    };
    names.into_iter().map(difference).filter(differs).collect()
}

/// Whether a field that we did not put is of the server's own making.
fn is_the_servers(what: What, field: &str, value: &str, ours: &BTreeMap<String, String>) -> bool {
    match what {
        What::Component | What::Index => ADDED.contains(&(field, value)) || DATES.contains(&field),
        // A phase or an action of somebody else's is a difference, a default inside of an action of ours is not.
        What::Ilm => action(field).is_none_or(|action| ours.keys().any(|name| name.starts_with(action))),
        What::Ism | What::Pipeline | What::Transform | What::ElasticRole | What::OpenRole => true,
    }
}

/// `phases.warm.actions.forcemerge.` of `phases.warm.actions.forcemerge.max_num_segments`.
fn action(field: &str) -> Option<&str> {
    let end = field.match_indices('.').nth(3).map_or(field.len(), |(dot, _)| dot + 1);
    field.starts_with("phases.").then(|| &field[..end])
}

/// Every value by its whole name, as text: a server gives back settings as strings. Empty objects and lists are nothing.
fn leaves(value: &Value) -> BTreeMap<String, String> {
    fn walk(name: &str, value: &Value, out: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members.iter().filter(|(key, _)| *key != "_meta" && *key != "metadata") {
                    walk(&if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, out);
                }
            }
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    walk(&format!("{name}[{number}]"), item, out);
                }
            }
            Value::Null => {}
            Value::String(text) => drop(out.insert(name.to_owned(), text.clone())),
            scalar => drop(out.insert(name.to_owned(), scalar.to_string())),
        }
    }
    let mut out = BTreeMap::new();
    walk("", value, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(what: What, ours: &Value, installed: &Value, expected: &[&str]) {
        let found: Vec<String> = differences(what, ours, installed).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn templates_are_compared_both_ways() {
        let ours = json!({"priority": 500, "data_stream": {}, "composed_of": ["a", "b"], "_meta": {"version": "2"},
            "template": {"settings": {"index": {"codec": "best_compression", "limit": 500}}}});
        let same = json!({"priority": 500, "data_stream": {"hidden": false, "allow_custom_routing": false},
            "composed_of": ["a", "b"], "_meta": {"version": "1"}, "modified_date_millis": 1_795_637_781_003_u64,
            "template": {"settings": {"index": {"codec": "best_compression", "limit": "500"}}}});
        check(What::Index, &ours, &same, &[]);
        let mut other = same.clone();
        other["composed_of"] = json!(["a"]);
        other["template"]["settings"]["index"]["codec"] = json!("default");
        other["data_stream"]["hidden"] = json!(true);
        let expected = [
            "composed_of[1]: missing, should be b",
            "data_stream.hidden: true, should not be there",
            "template.settings.index.codec: default, should be best_compression",
        ];
        check(What::Index, &ours, &other, &expected);
    }

    #[test]
    fn what_a_server_adds_to_a_policy_is_no_difference() {
        let ours = json!({"phases": {"hot": {"min_age": "0ms", "actions": {"rollover": {"max_age": "1d"}}}}});
        let mut installed = ours.clone();
        installed["phases"]["hot"]["actions"]["rollover"]["min_docs"] = json!(1);
        check(What::Ilm, &ours, &installed, &[]);
        installed["phases"]["cold"] = json!({"min_age": "3d", "actions": {"readonly": {}}});
        check(What::Ilm, &ours, &installed, &["phases.cold.min_age: 3d, should not be there"]);
        installed["phases"] = json!({"hot": {"min_age": "0ms", "actions": {"rollover": {"max_age": "2d"}}}});
        check(What::Ilm, &ours, &installed, &["phases.hot.actions.rollover.max_age: 2d, should be 1d"]);
        let states = json!({"states": [{"name": "hot", "transitions": []}]});
        let grown = json!({"states": [{"name": "hot", "transitions": [], "retry": {"count": 3}}], "schema_version": 1});
        check(What::Ism, &states, &grown, &[]);
        check(
            What::Ism,
            &grown,
            &states,
            &["schema_version: missing, should be 1", "states[0].retry.count: missing, should be 3"],
        );
    }
}
