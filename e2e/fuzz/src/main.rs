//! One program for all targets; `PORTREEVE_FUZZ_TARGET` says which one, as `crate/target`.
#![no_main]

use std::sync::OnceLock;

type Run = fn(&[u8]);

static TARGET: OnceLock<Run> = OnceLock::new();

fn find() -> Run {
    let wanted = std::env::var("PORTREEVE_FUZZ_TARGET").expect("PORTREEVE_FUZZ_TARGET names a target");
    let crates: [(&str, &[(&str, Run)]); 5] = [
        ("compiler", &portreeve_compiler::fuzz::TARGETS),
        ("policy", &portreeve_policy::fuzz::TARGETS),
        ("proxy", &portreeve_proxy::fuzz::TARGETS),
        ("registration", &portreeve_registration::fuzz::TARGETS),
        ("wire", &portreeve_wire::fuzz::TARGETS),
    ];
    let mut all = crates.iter().flat_map(|(name, targets)| targets.iter().map(move |(target, run)| (format!("{name}/{target}"), *run)));
    all.find(|(name, _)| *name == wanted).map(|(_, run)| run).unwrap_or_else(|| panic!("no target {wanted}"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET.get_or_init(find)(data));
