//! Effect of a hostile client, which may push to the queue, on other clients.

pub mod flood;
pub mod memory;

use std::path::Path;

use crate::Options;
use crate::table::Table;

pub fn run(options: &Options, workdir: &Path, table: &mut Table) {
    memory::run(options, workdir, table);
    flood::run(options, workdir, table);
}
