//! `portreeve-proxy`.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use portreeve_proxy::{
    app,
    bootstrap::{Bootstrap, HELP},
    telemetry,
};

/// What a burst took goes back to the system some seconds after it; the system's own allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Settings that cannot be used (sysexits `EX_USAGE`).
const MISUSE: u8 = 64;

/// Sockets or files that cannot be opened (sysexits `EX_OSERR`).
const NO_RESOURCES: u8 = 71;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--version") {
        drop(writeln!(stdout(), "portreeve-proxy {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    if !arguments.is_empty() {
        let help = arguments.iter().all(|argument| argument == "--help" || argument == "-h");
        drop(if help { write!(stdout(), "{HELP}") } else { write!(stderr(), "{HELP}") });
        return if help { ExitCode::SUCCESS } else { ExitCode::from(MISUSE) };
    }
    let bootstrap = match Bootstrap::read(&|name| std::env::var(name).ok()) {
        Ok(bootstrap) => bootstrap,
        Err(fault) => {
            drop(writeln!(stderr(), "{fault}\nportreeve-proxy --help lists every setting"));
            return ExitCode::from(MISUSE);
        }
    };
    telemetry::start(&bootstrap.log);
    match app::run(&bootstrap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            drop(writeln!(stderr(), "{fault}"));
            ExitCode::from(NO_RESOURCES)
        }
    }
}
