//! `portreeve`: the compiler at the command line, and decisions explained. Also `kubectl-portreeve`.

mod args;
mod commands;
mod printable;

use std::process::ExitCode;

fn main() -> ExitCode {
    args::run()
}
