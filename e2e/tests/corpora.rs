//! What fuzzers found so far, replayed without one (B15). Each target has a corpus: `CRATE/fuzz/corpus/TARGET/`.
#![cfg(test)]

use std::{fs, path::Path};

type Run = fn(&[u8]);

#[test]
fn b15_every_corpus_is_replayed() {
    let crates: [(&str, &[(&str, Run)]); 5] = [
        ("compiler", &portreeve_compiler::fuzz::TARGETS),
        ("policy", &portreeve_policy::fuzz::TARGETS),
        ("proxy", &portreeve_proxy::fuzz::TARGETS),
        ("registration", &portreeve_registration::fuzz::TARGETS),
        ("wire", &portreeve_wire::fuzz::TARGETS),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut targets = 0;
    for (name, list) in crates {
        for (target, run) in list {
            let folder = root.join(name).join("fuzz/corpus").join(target);
            let files: Vec<_> =
                fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is missing", folder.display())).collect();
            assert!(files.len() >= 3, "{}: only {} inputs", folder.display(), files.len());
            for file in files {
                let path = file.unwrap().path();
                eprintln!("{}", path.display());
                run(&fs::read(path).unwrap());
            }
            targets += 1;
        }
    }
    assert!(targets >= 10, "only {targets} targets");
}
