//! The zones' own file, read for whoever needs the table.

use std::path::Path;

use super::Located;
use crate::yaml::Problem;
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
