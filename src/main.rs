//! Entry point: reads the command line and the environment, once, and hands over.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use uni_api::app::{ConfigRefused, Startup, demo};
use uni_api::check::{Check, check};
use uni_api::config::Environment;
use uni_api::config::source::SourceError;
use uni_api::explain::command::ExplainArguments;
use uni_api::telemetry::request_log::{Format, start};
use uni_api::upstream::Fetcher;

/// A request makes and drops some fifty allocations, half a dozen of them of kilobytes: the system's
/// allocator keeps giving those back to the kernel and taking them again, and holds a fifth more
/// memory for open streams.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// LLM API gateway: one api.yaml in front of every model provider.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; otherwise API_YAML_CONTENT, ./api.yaml or CONFIG_URL.
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Says everything that is wrong with the configuration, and serves nothing.
    Check {
        /// Warnings count as errors.
        #[arg(long)]
        strict: bool,
    },
    /// Says where a request would go and why, and sends nothing.
    Explain {
        /// Whose request: the client key, its fingerprint, or the name that logs show.
        #[arg(long, value_name = "KEY")]
        key: String,
        /// The model that is asked for; otherwise the one in the body.
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        /// The path of the request; /v1/chat/completions when absent.
        #[arg(long, value_name = "PATH")]
        endpoint: Option<String>,
        /// A file with the body of the request; `-` for standard input.
        #[arg(long, value_name = "FILE")]
        body: Option<PathBuf>,
        /// A running gateway, such as http://127.0.0.1:8000, to be asked for its state of this moment.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// The admin key that the running gateway is asked with; otherwise KEY itself.
        #[arg(long, value_name = "KEY", requires = "url")]
        admin_key: Option<String>,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Serves a built-in mock model on this machine, without any configuration.
    Demo,
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let env = match Environment::from_vars(std::env::vars()) {
        Ok(env) => Arc::new(env),
        Err(problems) => {
            eprint!("{}", ConfigRefused(problems));
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(arguments, env)),
        Err(error) => {
            eprintln!("uni-api: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments, env: Arc<Environment>) -> ExitCode {
    if let Some(Command::Check { strict }) = arguments.command {
        let what = Check { config: arguments.config.as_deref(), strict, fragment: false };
        let (report, code) = check(what, &env, Path::new("."), &Fetcher::new(None)).await;
        print!("{report}");
        return u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    if let Some(Command::Explain { key, model, endpoint, body, url, admin_key, json }) = arguments.command {
        let asked =
            ExplainArguments { key, model, endpoint, body, url, admin_key, config: arguments.config, json };
        let (report, code) = uni_api::explain::command::run(asked, &env, Path::new(".")).await;
        if code == 2 {
            eprint!("{report}");
        } else {
            print!("{report}");
        }
        return u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    let format = Format::choose(env.var("LOG_FORMAT"), std::io::stderr().is_terminal());
    // Kept to the end: dropped, it writes what is left.
    let (log, _writing) = match start(format, std::io::stderr()) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("uni-api: the log cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = uni_api::telemetry::logging::init(env.var("RUST_LOG"), env.debug, &log) {
        eprintln!("uni-api: the log cannot be started: {error}");
        return ExitCode::FAILURE;
    }
    let served = match arguments.command {
        Some(Command::Demo) => demo(&env, log.clone()).serve().await,
        _ => match Startup::find(arguments.config.as_deref(), env, log.clone()).await {
            Ok(plan) => plan.serve().await,
            Err(error) => Err(error),
        },
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("uni-api: {error:#}");
            let nothing_to_serve = error.is::<SourceError>();
            if nothing_to_serve { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
