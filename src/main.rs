//! Entry point: reads the command line and the environment, once, and hands over.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use uni_api::app::{ConfigRefused, Signals, Startup, demo};
use uni_api::check::{Check, check};
use uni_api::cli::{Arguments, Command, completions, manual};
use uni_api::config::Environment;
use uni_api::config::source::SourceError;
use uni_api::doctor::doctor;
use uni_api::explain::command;
use uni_api::init::init;
use uni_api::telemetry::logging;
use uni_api::telemetry::output::Output;
use uni_api::telemetry::request_log::{Format, start};
use uni_api::telemetry::traces::Traces;
use uni_api::upstream::Fetcher;

/// A request makes and drops some fifty allocations, half a dozen of them of kilobytes: the system's
/// allocator keeps giving those back to the kernel and taking them again, and holds a fifth more
/// memory for open streams.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let env = match Environment::from_vars(std::env::vars()) {
        Ok(env) => Arc::new(env),
        Err(problems) => {
            eprint!("uni-api: {}", ConfigRefused { what: "the environment".to_owned(), problems });
            return ExitCode::FAILURE;
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
    let here = Path::new(".");
    // Named before the command it means the same.
    let named = arguments.source.config;
    let is_demo = matches!(arguments.command, Some(Command::Demo));
    let serving = match arguments.command {
        Some(Command::Demo) if named.is_some() => {
            return finished((
                "uni-api: the demo has a configuration of its own; leave --config away\n".to_owned(),
                2,
            ));
        }
        None | Some(Command::Demo) => named,
        Some(Command::Serve(source)) => source.config.or(named),
        Some(Command::Check(asked)) => {
            let config = asked.file.or(asked.source.config).or(named);
            let what = Check { config: config.as_deref(), strict: asked.strict, fragment: asked.fragment };
            return finished(check(what, &env, here, &Fetcher::new(None)).await);
        }
        Some(Command::Explain(mut asked)) => {
            asked.source.config = asked.source.config.or(named);
            return finished(command::explain(asked, &env, here).await);
        }
        Some(Command::Keys(mut asked)) => {
            asked.source.config = asked.source.config.or(named);
            return finished(command::keys(asked, &env, here).await);
        }
        Some(Command::Doctor(mut asked)) => {
            asked.source.config = asked.file.take().or(asked.source.config).or(named);
            return finished(doctor(asked, &env, here).await);
        }
        Some(Command::Init(asked)) => return finished(init(&asked.file, &env)),
        Some(Command::Completions { shell }) => return finished((completions(shell), 0)),
        Some(Command::Man { command }) => {
            return finished(match manual(command.as_deref()) {
                Ok(page) => (page, 0),
                Err(reason) => (format!("uni-api man: {reason}\n"), 2),
            });
        }
    };
    let output = match Output::open(env.log_file.as_deref()) {
        Ok(output) => output,
        Err(error) => {
            eprintln!("uni-api: LOG_FILE cannot be opened: {error}");
            return ExitCode::FAILURE;
        }
    };
    let format = Format::choose(env.var("LOG_FORMAT"), output.is_terminal());
    // Kept to the end: dropped, it writes what is left.
    let (log, _writing) = match start(format, output) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("uni-api: the log cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let traces = env.traces.clone().map(Traces::new);
    if let Err(error) = logging::init(env.var("RUST_LOG"), env.debug, &log, traces.as_ref()) {
        eprintln!("uni-api: the log cannot be started: {error}");
        return ExitCode::FAILURE;
    }
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("uni-api: signals cannot be received: {error}");
            return ExitCode::FAILURE;
        }
    };
    let found = match is_demo {
        true => Ok(demo(&env, log.clone(), traces)),
        false => tokio::select! {
            found = Startup::find(serving.as_deref(), env, log.clone(), traces) => found,
            // It may wait long for a configuration from a URL.
            () = signals.told_to_stop() => return ExitCode::SUCCESS,
        },
    };
    let served = match found {
        Ok(plan) => plan.serve(signals).await,
        Err(error) => Err(error),
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

/// Prints what a command has to say: where it answers its question, or where it cannot.
fn finished((report, code): (String, i32)) -> ExitCode {
    if code == 2 {
        eprint!("{report}");
    } else {
        print!("{report}");
    }
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
