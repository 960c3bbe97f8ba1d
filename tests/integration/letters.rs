//! Dead letters, replay and backfill, as an operator meets them: the built program.

mod backfill;
mod place;
mod real;
mod replay;
