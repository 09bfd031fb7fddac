//! Every bound on what a peer may hold or keep waiting, from the constants that are in force. `docs/limits.md` holds the
//! table; a test compares them, and another one finds the test of each row.

mod rows;

/// A state of a connection or of an exchange, and what bounds it.
#[derive(Debug, Default)]
pub struct Bound {
    /// Where one is.
    pub state: &'static str,
    /// Clock or amount, in words, with the figure that is in force.
    pub bound: String,
    /// What of it one peer may have.
    pub share: &'static str,
    /// What changes it.
    pub setting: &'static str,
    /// What the peer gets beyond it.
    pub beyond: &'static str,
    /// What counts it.
    pub metric: &'static str,
    /// The hostile client that reaches it.
    pub test: &'static str,
}

/// Every bound.
pub fn all() -> Vec<Bound> {
    let mut all = rows::all();
    all.push(crate::pipeline::interim_bound());
    all.push(crate::limits::bound());
    all
}

/// The table of `docs/limits.md`.
pub fn table() -> String {
    let mut text = String::from(
        "| state | clock or bound | share of a peer | setting | beyond it | metric |\n|---|---|---|---|---|---|\n",
    );
    for row in all() {
        let Bound { state, bound, share, setting, beyond, metric, test: _ } = row;
        text.push_str(&format!("| {state} | {bound} | {share} | {setting} | {beyond} | {metric} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn the_table_of_the_docs_is_that_of_the_code() {
        let file = Path::new(ROOT).join("../docs/limits.md");
        let text = fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("| state |").unwrap();
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        let fresh = format!("{before}{}\n{after}", table());
        if std::env::var_os("PORTREEVE_GOLDEN").is_some() {
            fs::write(&file, fresh).unwrap();
        } else {
            assert!(text == fresh, "docs/limits.md is not fresh: run `make golden`");
        }
    }

    #[test]
    fn every_bound_has_the_test_that_it_names() {
        fn read(folder: &Path, all: &mut String) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, all);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    all.push_str(&fs::read_to_string(path).unwrap());
                }
            }
        }
        let mut all = String::new();
        for folder in ["src", "tests"] {
            read(&Path::new(ROOT).join(folder), &mut all);
        }
        for bound in super::all() {
            assert!(all.contains(&format!("fn {}(", bound.test)), "{}: no test {}", bound.state, bound.test);
        }
    }
}
