//! Writes the public items of each given rustdoc JSON file into a `.txt` file beside it, one line per item. For
//! `scripts/public-api`.
//!
//! Implementations of auto traits and blanket implementations are left out: they would be most of the lines, and say
//! little.

#![forbid(unsafe_code)]

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    for json in env::args_os().skip(1).map(PathBuf::from) {
        let api = public_api::Builder::from_rustdoc_json(&json)
            .omit_auto_trait_impls(true)
            .omit_blanket_impls(true)
            .include_function_parameter_names(true)
            .build()
            .map_err(|error| format!("{}: {error}", json.display()))?;
        let mut lines = String::new();
        for item in api.items() {
            writeln!(lines, "{item}")?;
        }
        fs::write(json.with_extension("txt"), lines)?;
    }
    Ok(())
}
