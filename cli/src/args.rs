//! Arguments, and exit codes: 0 all is well, 1 findings, 2 a file cannot be read, 10 and 11 of `diff`, 64 misuse, 141 a
//! closed pipe.

use std::{
    io::{self, Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{api_key, compile, diff, explain, test, validate};

/// Validate, compile, test and explain Portreeve objects without a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "portreeve",
    version,
    after_help = "Exit codes: 0 success, 1 findings, 2 a file cannot be read, 10 changed, 11 more open (diff), 64 wrong usage, 141 closed \
                  pipe."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an API key: print its manifest to standard output and the key itself, once, to standard error.
    ApiKey(api_key::ApiKeyArguments),
    /// Validate manifests and report errors with file, line and column. What only a cluster or a token service can
    /// provide (keys, Secrets) is a note.
    Validate {
        /// Manifests, folders of manifests, or - for standard input.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Fail when no Portreeve object is found.
        #[arg(long)]
        require_objects: bool,
        /// Which settings of the operator to assume.
        #[arg(long, value_enum, default_value_t = Profile::Production)]
        profile: Profile,
        /// Output format.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Accept token services over http, as the operator does with --allow-http.
        #[arg(long)]
        allow_http: bool,
    },
    /// Print the snapshot of a pod with these labels as JSON; secrets by name only.
    Compile {
        /// Manifests, folders of manifests, or - for standard input.
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
    /// Say what a change of manifests means for requests: which rules become more open, more closed or other. The exit code
    /// is 0 for no change, 10 for a change that opens nothing, and 11 for one that may.
    Diff(diff::DiffArguments),
    /// Run the cases of PolicyTest documents against the manifests, by the pipeline of the proxy and without a network.
    Test(test::TestArguments),
    /// Explain a decision in words: one of the proxy's decision records, or one that a request would meet.
    Explain(explain::ExplainArguments),
}

/// Settings of the operator that decide what is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// https only.
    Production,
    /// Also http, as with --allow-http and --allow-private-addresses of the operator.
    Development,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Workflow commands of GitHub Actions, shown beside the lines of a change.
    Github,
    /// For machines.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// For people.
    Text,
}

/// What a command leaves.
pub(crate) enum Outcome {
    /// All is well.
    Clean,
    /// There are findings.
    Findings,
    /// A file cannot be read; the others were looked at.
    Unreadable,
    /// Something changed, and no request passes that did not before.
    Changed,
    /// A request may pass that did not before.
    MoreOpen,
}

/// An argument that means nothing here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

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
        Command::Validate { paths, require_objects, profile, output, allow_http } => {
            let allow_http = allow_http || profile == Profile::Development;
            validate::run(&paths, &validate::Settings { output, allow_http, require_objects }, out)
        }
        Command::Compile { paths, namespace, labels, allow_http } => {
            compile::run(&paths, &namespace, labels.into_iter().collect(), allow_http, out)
        }
        Command::Diff(arguments) => diff::run(&arguments, out),
        Command::Test(arguments) => test::run(&arguments, out),
        Command::Explain(arguments) => explain::run(&arguments, out),
    };
    match result {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Ok(Outcome::Unreadable) => ExitCode::from(2),
        Ok(Outcome::Changed) => ExitCode::from(10),
        Ok(Outcome::MoreOpen) => ExitCode::from(11),
        // Whoever read the output has seen enough. 128 and SIGPIPE, as of any other program.
        Err(error) if is_closed_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            drop(writeln!(stderr(), "portreeve: {error:#}"));
            ExitCode::from(if error.is::<Misuse>() { 64 } else { 2 })
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected key=value".to_owned())
}
