//! Arguments, and exit codes: 0 all is well, 1 findings, 2 a file cannot be read, 64 misuse.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{api_key, compile, explain, validate};

/// Checks, compiles and explains Portreeve's objects, without a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "portreeve",
    version,
    after_help = "Exit codes: 0 all is well, 1 findings, 2 a file cannot be read, 64 misuse."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes an API key: the manifest on standard output, the key itself on standard error, this once.
    ApiKey(api_key::ApiKeyArguments),
    /// Says what would be refused, with file, line and column. What only a running token service or cluster can tell
    /// (keys, Secrets) is a note.
    Validate {
        /// Manifests or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Form of the output.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Accept token services over http, as the operator does with --allow-http.
        #[arg(long)]
        allow_http: bool,
    },
    /// Prints the snapshot that a pod with these labels would run, as JSON; secrets by name only.
    Compile {
        /// Manifests or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Namespace of the pod.
        #[arg(long, default_value = "default")]
        namespace: String,
        /// Labels of the pod, e.g. app=orders.
        #[arg(long = "label", value_parser = key_value, required = true)]
        labels: Vec<(String, String)>,
        /// Accept token services over http, as the operator does with --allow-http.
        #[arg(long)]
        allow_http: bool,
    },
    /// Explains a decision in words, from the proxy's decision records.
    Explain {
        /// Decision id, as the answer carries it in portreeve-decision-id.
        id: String,
        /// File of decision records; - for standard input.
        #[arg(long, default_value = "-")]
        records: PathBuf,
    },
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// What a command leaves.
pub(crate) enum Outcome {
    /// All is well.
    Clean,
    /// There are findings.
    Findings,
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed pipe is nobody's concern here.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let out = &mut stdout().lock();
    let result = match arguments.command {
        Command::ApiKey(arguments) => api_key::run(&arguments, out, &mut stderr().lock()),
        Command::Validate { paths, output, allow_http } => validate::run(&paths, output, allow_http, out),
        Command::Compile { paths, namespace, labels, allow_http } => {
            compile::run(&paths, &namespace, labels.into_iter().collect(), allow_http, out)
        }
        Command::Explain { id, records } => explain::run(&id, &records, out),
    };
    match result {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Err(error) => {
            drop(writeln!(stderr(), "portreeve: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected key=value".to_owned())
}
