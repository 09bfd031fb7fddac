//! `portreeve`: the compiler at the command line, and decisions explained. Also `kubectl-portreeve`.

mod args;
mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    args::run()
}
