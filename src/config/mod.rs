//! The shape users write, and the way from it to each room's own configuration.
//!
//! A value comes from a flag, else the environment, else the file, else its default; [`Loaded::origin`] says which.
//! [`Input::load`] judges everything at once: a file with five mistakes gives five problems, each with its place and
//! what to write instead. It reads nothing but the configuration file: whether certificates, secrets and zones are where
//! it says is for those to find out who open them, because a configuration is also checked where it does not run.
//!
//! Secrets never stand in the configuration, only where to find them; so nothing here needs to be hidden when printed.

#[cfg(test)]
mod example_tests;
mod expression;
mod load;
mod origin;
mod overrides;
mod print;
mod profile;
pub mod rooms;
mod rules;
mod scalar;
mod schema;
pub mod shape;
mod url;
mod zones;

pub use expression::Expression;
pub use load::{Input, Loaded, Surroundings};
pub use origin::{Located, Origin};
pub use overrides::{Override, What};
pub use profile::presets;
pub use scalar::{Listen, Size, Span};
pub use schema::published as schema;
pub use shape::Config;
pub use url::{HttpUrl, SiemUrl, Transport};
pub use zones::{load_zones, missing_zone};

/// The documented example, as it stands in the repository.
pub const EXAMPLE: &str = include_str!("../../deploy/tidegate.example.yaml");
