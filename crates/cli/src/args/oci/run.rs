//! The options about how containers of an image are run, and what is told about it.

use clap::Args as ClapArgs;
use vcontainer_build::config::Port;
use vcontainer_build::file::duration;

use super::content::pair;

/// How containers of an image are run.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Configuration")]
pub struct RunArgs {
    /// The program that always runs; words are split as a shell does it
    #[arg(long, value_name = "WORDS")]
    pub entrypoint: Option<String>,

    /// The entrypoint's arguments, which `docker run IMAGE WORDS` replaces; goes before --cmd
    #[arg(long, value_name = "WORDS")]
    pub entrypoint_args: Option<String>,

    /// The command, or with an entrypoint its arguments, which `docker run IMAGE WORDS` replaces
    #[arg(long, value_name = "WORDS")]
    pub cmd: Option<String>,

    /// A variable of the environment (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,

    /// A label (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub label: Vec<(String, String)>,

    /// An annotation of the manifest (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub annotation: Vec<(String, String)>,

    /// A port that it listens on, such as 80 or 53/udp (may be repeated)
    #[arg(long, value_name = "PORT")]
    pub port: Vec<Port>,

    /// A directory that holds data (may be repeated)
    #[arg(long, value_name = "PATH")]
    pub volume: Vec<String>,

    /// The user that programs run as: `user[:group]`, by name or number
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// Where programs start
    #[arg(long, value_name = "PATH")]
    pub working_dir: Option<String>,

    /// The signal that tells the program to end, such as SIGTERM
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,

    /// Who made it
    #[arg(long, value_name = "TEXT")]
    pub author: Option<String>,

    /// Run this by the image's shell from time to time: it tells whether the container is well
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,

    /// Between two runs of the health command, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "health_cmd")]
    pub health_interval: Option<u64>,

    /// How long one run of the health command may take
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "health_cmd")]
    pub health_timeout: Option<u64>,

    /// How long failures of the health command do not count at first
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "health_cmd")]
    pub health_start_period: Option<u64>,

    /// How many failures in a row mean that the container is not well
    #[arg(long, value_name = "NUMBER", requires = "health_cmd")]
    pub health_retries: Option<u32>,

    /// Take the base's health command away
    #[arg(long, conflicts_with = "health_cmd")]
    pub no_healthcheck: bool,

    /// Add the labels org.opencontainers.image.revision and .ref.name from the git repository that this directory is in,
    /// and .created from SOURCE_DATE_EPOCH
    #[arg(long)]
    pub auto_labels: bool,

    /// The label org.opencontainers.image.revision; `none` for none
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// The label org.opencontainers.image.ref.name: the branch; `none` for none
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
}
