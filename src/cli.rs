//! The command line: its words, its help, and which of them stand together.

mod pages;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::pages::{completions, manual};

/// The version, with the commit where the build knew it.
const VERSION: &str = match option_env!("UNI_API_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

const SHORT: &str =
    "Without a command it serves. `uni-api --help` has the environment, exit codes and examples.";

const LONG: &str = "\
Environment (docs/operating.md has all of it):
  HOST, PORT           where it listens: 0.0.0.0 and 8000
  API_YAML_CONTENT     the configuration itself
  CONFIG_URL           where it is: a path, file:// or http(s)://
  DEBUG, RUST_LOG      more in the log; LOG_FORMAT=json or text
  DB_PATH              the database of statistics: ./data/stats.db; DISABLE_DATABASE=true for none
  METRICS_ADDR         where /metrics is: 127.0.0.1:9464, or off

Exit codes:
  0  it served until it was told to stop; for `check` and `doctor` nothing is wrong
  1  problems, in the configuration or the environment; for `explain` a request that is refused, for
     `doctor` a channel that does not answer
  2  no configuration is there, or the command line is not understood

Examples:
  uni-api demo                          try it without any configuration
  uni-api init && uni-api               write a first api.yaml, and serve it
  uni-api check --strict api.yaml       say all that is wrong with a file
  uni-api doctor                        ask every channel whether it answers; costs nothing
  uni-api explain --key sk-… --model gpt-5.2 --url http://127.0.0.1:8000";

/// LLM API gateway: one api.yaml in front of every model provider.
///
/// Without a command it serves what the configuration says, at http://0.0.0.0:8000. The
/// configuration is the first of these that is there: --config, API_YAML_CONTENT, ./api.yaml,
/// CONFIG_URL. A saved change takes effect at once.
#[derive(Debug, Parser)]
#[command(name = "uni-api", version = VERSION, after_help = SHORT, after_long_help = LONG)]
pub struct Arguments {
    /// The configuration, for serving.
    #[command(flatten)]
    pub source: SourceArgument,
    /// What to do; serving when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The argument that names the configuration.
#[derive(Debug, Default, Args)]
pub struct SourceArgument {
    /// The configuration file; otherwise API_YAML_CONTENT, ./api.yaml or CONFIG_URL.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves; so does `uni-api` alone.
    #[command(visible_alias = "run")]
    Serve(SourceArgument),
    /// Says everything that is wrong with the configuration, and serves nothing.
    Check(CheckArguments),
    /// Says where a request would go and why, and sends nothing.
    ///
    /// Without a model: all models of the key, where each would go, and what rests.
    Explain(ExplainArguments),
    /// Lists all keys with what stands for them in logs and statistics.
    ///
    /// Each with its channel or role, its place there, its fingerprint and its last four characters;
    /// with --url also whether it can be used now.
    Keys(KeysArguments),
    /// Asks every channel whether it answers, and tells what stands in the way.
    ///
    /// Each provider key is asked which models it has, which costs nothing; a channel without a
    /// list of models is only reached. With --paid each channel answers one short question. It is a
    /// process of its own: nothing cools in a running gateway, and nothing is booked.
    Doctor(DoctorArguments),
    /// Writes a first api.yaml, with the provider keys that the environment has.
    Init(InitArguments),
    /// Serves a built-in mock model on this machine, without any configuration.
    Demo,
    /// Prints what a shell needs to complete this command line.
    ///
    /// For bash: uni-api completions bash > ~/.local/share/bash-completion/completions/uni-api
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Prints the manual in the form that `man` reads.
    ///
    /// To read it: uni-api man > uni-api.1; man ./uni-api.1
    Man {
        /// The command that it is about; all of them when absent.
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

/// Arguments of `uni-api check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The file; otherwise what would be served.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The same.
    #[command(flatten)]
    pub source: SourceArgument,
    /// Warnings count as errors.
    #[arg(long)]
    pub strict: bool,
    /// The file is a part of a whole one, and may lack providers or client keys.
    #[arg(long)]
    pub fragment: bool,
}

/// Arguments of `uni-api explain`.
#[derive(Debug, Default, Args)]
pub struct ExplainArguments {
    /// Whose request: the client key, its fingerprint, or the name that logs show.
    #[arg(long, value_name = "KEY")]
    pub key: String,
    /// The model that is asked for; otherwise the one in the body.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The path of the request; /v1/chat/completions when absent.
    #[arg(long, value_name = "PATH")]
    pub endpoint: Option<String>,
    /// A file with the body of the request; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Who is asked.
    #[command(flatten)]
    pub running: RunningArguments,
    /// Which configuration, without a running gateway.
    #[command(flatten)]
    pub source: SourceArgument,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments that name a running gateway.
#[derive(Debug, Default, Args)]
pub struct RunningArguments {
    /// A running gateway, such as http://127.0.0.1:8000, to be asked for its state of this moment.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The admin key that the running gateway is asked with.
    #[arg(long, value_name = "KEY", requires = "url")]
    pub admin_key: Option<String>,
}

/// Arguments of `uni-api keys`.
#[derive(Debug, Default, Args)]
pub struct KeysArguments {
    /// Who is asked for their state.
    #[command(flatten)]
    pub running: RunningArguments,
    /// Which configuration has them.
    #[command(flatten)]
    pub source: SourceArgument,
}

/// Arguments of `uni-api doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// The file; otherwise what would be served.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The same.
    #[command(flatten)]
    pub source: SourceArgument,
    /// Only this channel; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub channel: Vec<String>,
    /// Has each channel answer one short question, which costs money.
    #[arg(long)]
    pub paid: bool,
    /// The model that is asked, of the channels that have it, and at --url; otherwise each channel's
    /// first one.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Seconds after which a channel counts as silent.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
    /// Where clients reach a gateway: whether it answers there, and whether streams arrive piece by
    /// piece.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The client key for --url; otherwise the first one of the configuration.
    #[arg(long, value_name = "KEY", requires = "url")]
    pub key: Option<String>,
}

/// Arguments of `uni-api init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Where to write it.
    #[arg(value_name = "FILE", default_value = "api.yaml")]
    pub file: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    fn help(short: bool, command: Option<&str>) -> String {
        let mut program = Arguments::command();
        program.build();
        let program = match command {
            Some(name) => program.find_subcommand_mut(name).unwrap(),
            None => &mut program,
        };
        if short { program.render_help() } else { program.render_long_help() }.to_string()
    }

    #[test]
    fn the_words_of_the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_says_what_happens_without_a_command_and_where() {
        let long = help(false, None);

        for told in [
            "Without a command it serves",
            "http://0.0.0.0:8000",
            "Environment",
            "CONFIG_URL",
            "Exit codes",
            "Examples",
            "uni-api demo",
            "uni-api init",
        ] {
            assert!(long.contains(told), "{told:?} is missing:\n{long}");
        }
        let short = help(true, None);
        assert!(short.contains("Without a command it serves") && !short.contains("Exit codes"), "{short}");
        assert!(short.lines().count() < 30, "{short}");
    }

    #[test]
    fn the_demo_takes_no_configuration_and_offers_none() {
        assert!(!help(false, Some("demo")).contains("--config"));
        assert!(read("uni-api demo --config x").is_err());
        assert!(help(true, Some("check")).contains("--config"));
    }

    #[test]
    fn a_file_is_checked_by_its_name_alone() {
        let check = |line: &str| match read(line).unwrap().command {
            Some(Command::Check(arguments)) => arguments,
            other => panic!("{other:?}"),
        };

        assert_eq!(check("uni-api check a.yaml --strict").file, Some("a.yaml".into()));
        assert_eq!(check("uni-api check --config a.yaml").source.config, Some("a.yaml".into()));
        assert!(check("uni-api check --fragment a.yaml").fragment);
        assert!(read("uni-api check a.yaml --config b.yaml").is_err());
    }

    #[test]
    fn serving_has_three_names() {
        for line in ["uni-api serve --config a.yaml", "uni-api run --config a.yaml"] {
            let command = read(line).unwrap().command;
            let Some(Command::Serve(source)) = command else { panic!("{line}: {command:?}") };
            assert_eq!(source.config, Some("a.yaml".into()));
        }
        let alone = read("uni-api --config a.yaml").unwrap();
        assert!(alone.command.is_none() && alone.source.config.is_some());
    }

    #[test]
    fn the_version_begins_with_the_package_s() {
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
