//! The zones' own file, read for whoever needs the table, and held against what the configuration says of zones.

use std::path::Path;

use super::shape::ClassRule;
use super::{Expression, Loaded, Located};
use crate::model::event::UNKNOWN_ZONE;
use crate::yaml::{Problem, Severity, nearest};
use crate::zone;

/// The zone table and its warnings, or all that is wrong; that the file cannot be read is a problem like any other.
pub fn load_zones(path: &Path) -> Result<(zone::Table, Vec<Located>), Vec<Located>> {
    let name = path.display().to_string();
    let locate = |problems: Vec<Problem>| -> Vec<Located> {
        problems.into_iter().map(|problem| Located::in_file(name.clone(), problem)).collect()
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        locate(vec![Problem::error(None, "", format!("cannot read the zones: {error}; check the path"))])
    })?;
    match zone::Table::load(&text) {
        Ok((table, warnings)) => Ok((table, locate(warnings))),
        Err(problems) => Err(locate(problems)),
    }
}

/// What is to be said of a zone that is named and is not in the table; `None` if it is.
///
/// A warning, never an error: zones are another file, which changes by itself, and what names none of them just never fits.
pub fn missing_zone(name: &str, table: &zone::Table) -> Option<String> {
    let mut known = table.zones().map(|zone| zone.name).chain([UNKNOWN_ZONE]);
    if name.contains('*') || known.any(|zone| zone == name) {
        return None;
    }
    Some(match nearest(name, table.zones().map(|zone| zone.name)) {
        Some(near) => format!("there is no zone {name:?}, so this never fits; did you mean {near:?}?"),
        None => format!(
            "there is no zone {name:?}, so this never fits; `tidegate zones which` says which zones take a flow"
        ),
    })
}

impl Loaded {
    /// Zones that filters and classes name and the table has not, each with its place.
    pub fn zone_problems(&self, table: &zone::Table) -> Vec<Located> {
        let mut problems = Vec::new();
        for (index, siem) in self.config.sinks.siem.iter().enumerate() {
            let at = format!("sinks.siem[{index}]");
            self.zones_within(&format!("{at}.filter"), siem.filter.as_ref(), table, &mut problems);
            for (number, rule) in siem.classes.iter().enumerate() {
                let at = format!("{at}.classes[{number}]");
                self.zones_within(&format!("{at}.when"), rule.when.as_ref(), table, &mut problems);
                for (key, zone) in [("from", &rule.from), ("to", &rule.to)] {
                    let zone = zone.as_deref().filter(|zone| !ClassRule::is_any_zone(zone));
                    if let Some(message) = zone.and_then(|zone| missing_zone(zone, table)) {
                        problems.push(self.layers.locate(Severity::Warning, format!("{at}.{key}"), message));
                    }
                }
            }
        }
        problems
    }

    fn zones_within(&self, path: &str, filter: Option<&Expression>, table: &zone::Table, problems: &mut Vec<Located>) {
        let Some(query) = filter.map(|filter| &filter.0) else { return };
        for zone in query.zones() {
            if let Some(message) = missing_zone(&zone.name, table) {
                let place = (query.text(), zone.offset);
                problems.push(self.layers.locate_in(Severity::Warning, path, place, message));
            }
        }
    }
}
