//! `portreeve-operator`.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use clap::Parser;
use portreeve_operator::{app, args::Args, telemetry};

/// Compiles come and go on changing threads; the system's allocator keeps what each of them freed (measured with 1,000
/// routes: 110 MB resident instead of under 60).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Settings that cannot be used (sysexits `EX_USAGE`).
const MISUSE: u8 = 64;

/// Sockets, files or the API server cannot be reached (sysexits `EX_OSERR`).
const NO_RESOURCES: u8 = 71;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(fault) if fault.use_stderr() => {
            drop(write!(stderr(), "{fault}"));
            return ExitCode::from(MISUSE);
        }
        Err(help) => {
            drop(write!(stdout(), "{help}"));
            return ExitCode::SUCCESS;
        }
    };
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(faults) => {
            drop(writeln!(stderr(), "{faults}\nportreeve-operator --help lists every setting"));
            return ExitCode::from(MISUSE);
        }
    };
    telemetry::start_log(settings.log_format);
    match app::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            drop(writeln!(stderr(), "portreeve-operator: {fault:#}"));
            ExitCode::from(NO_RESOURCES)
        }
    }
}
