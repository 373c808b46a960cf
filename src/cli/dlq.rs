//! `binlogfs dlq`: the files that were put aside, and another try at them.

use super::agent::{open_store, resolved, settings, state_dir};
use super::exit::Exit;
use super::{Global, config_check, output, reading};
use crate::config::StreamConfig;
use crate::model::{Seq, StoreUrl};
use crate::source::Source;
use crate::sync::dead_letter::DeadLetter;
use crate::sync::fill::{Retried, retry};
use crate::sync::journal::{JOURNAL_NAME, Journal, Uninterrupted};
use crate::sync::place::Consent;
use crate::sync::read_batch_with;
use crate::telemetry;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Subcommand, Debug)]
pub enum DlqCommand {
    /// Names the files that were put aside.
    List(ListArgs),
    /// Says all that is known of one.
    Show(ShowArgs),
    /// Tries them again: what can be read now fills its hole.
    Retry(RetryArgs),
}

#[derive(clap::Args, Debug)]
pub struct ListArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
}

#[derive(clap::Args, Debug)]
pub struct ShowArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// The file's name.
    file: String,
}

#[derive(clap::Args, Debug)]
pub struct RetryArgs {
    /// The name of the stream in the configuration.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["source", "to"])]
    stream: Option<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config_check::CONFIG_PATH)]
    config: PathBuf,
    /// The server's data directory or binlog index file, instead of a configuration.
    #[arg(long, value_name = "DATADIR|BASENAME.index", requires = "to")]
    source: Option<PathBuf>,
    /// The stream, instead of a configuration.
    #[arg(long, value_name = "URL", requires = "source")]
    to: Option<StoreUrl>,
    /// Public key to encrypt to, instead of a configuration; may be repeated.
    #[arg(long, value_name = "age1...")]
    recipient: Vec<String>,
    /// Only this file.
    file: Option<String>,
}

pub async fn run(global: &Global, command: &DlqCommand) -> Result<Exit> {
    match command {
        DlqCommand::List(args) => list(global, &args.url),
        DlqCommand::Show(args) => show(global, args),
        DlqCommand::Retry(args) => retry_all(global, args).await,
    }
}

fn letters(state_dir: &Path) -> Result<(Option<Journal>, Vec<DeadLetter>)> {
    if !state_dir.join(JOURNAL_NAME).exists() {
        bail!(
            "{} has no {JOURNAL_NAME}: dead letters are kept on the host that archives; run this there, or pass --state-dir",
            state_dir.display()
        );
    }
    let journal = Journal::open(state_dir, Arc::new(Uninterrupted))?;
    let letters = journal.dead_letters()?;
    Ok((Some(journal), letters))
}

fn list(global: &Global, url: &StoreUrl) -> Result<Exit> {
    let (_, letters) = letters(&reading::state_dir(global, url))?;
    let exit = match letters.is_empty() {
        true => Exit::Done,
        false => Exit::Findings,
    };
    if global.json {
        output::print_json(&letters)?;
        return Ok(exit);
    }
    if letters.is_empty() {
        output::print("no file was put aside\n")?;
        return Ok(exit);
    }
    let rows = letters.iter().map(|letter| {
        vec![
            letter.file.clone(),
            output::time(letter.put_aside_at),
            letter.failed_runs.to_string(),
            letter.reason.clone(),
        ]
    });
    output::print(&output::table(
        &["FILE", "PUT ASIDE", "TRIES", "REASON"],
        &[2],
        rows,
    ))?;
    Ok(exit)
}

fn show(global: &Global, args: &ShowArgs) -> Result<Exit> {
    let (_, letters) = letters(&reading::state_dir(global, &args.url))?;
    let letter = letters.iter().find(|letter| letter.file == args.file);
    let letter = letter.with_context(|| {
        format!(
            "{} is not put aside, and {} {}: see 'binlogfs dlq list'",
            args.file,
            output::count(letters.len() as u64, "other file"),
            output::of_number(letters.len() as u64, "is", "are")
        )
    })?;
    if global.json {
        output::print_json(letter)?;
        return Ok(Exit::Findings);
    }
    output::print(&format!(
        "file          {}\npath          {}\nreason        {}\ntries         {}\nfailing since {}\nput aside     {}\n",
        letter.file,
        letter.path.display(),
        letter.reason,
        letter.failed_runs,
        output::time(Some(letter.first_failed_at)),
        output::time(letter.put_aside_at),
    ))?;
    Ok(Exit::Findings)
}

fn stream_of(global: &Global, args: &RetryArgs) -> Result<StreamConfig> {
    if let (Some(source), Some(to)) = (&args.source, &args.to) {
        return Ok(StreamConfig {
            source: source.clone(),
            to: Some(to.clone()),
            recipients: args.recipient.clone(),
            ..StreamConfig::default()
        });
    }
    let config = config_check::load(&args.config)?;
    let names: Vec<_> = config.streams.iter().map(|s| s.name.clone()).collect();
    let mut streams = config.streams.into_iter();
    let found = match &args.stream {
        Some(name) => streams.find(|stream| stream.name == *name),
        None if names.len() == 1 => streams.next(),
        None => None,
    };
    let found = found.with_context(|| {
        format!(
            "name one of the streams of {} with --stream: {}",
            args.config.display(),
            names.join(", ")
        )
    })?;
    let mut stream = resolved(&found)?;
    stream.state_dir = Some(state_dir(global, &stream)?);
    Ok(stream)
}

async fn retry_all(global: &Global, args: &RetryArgs) -> Result<Exit> {
    let stream = stream_of(global, args)?;
    let settings = settings(global, &stream, &Consent::default())?;
    let (_, mut letters) = letters(&settings.state_dir)?;
    if let Some(wanted) = &args.file {
        letters.retain(|letter| letter.file == *wanted);
        if letters.is_empty() {
            bail!("{wanted} was not put aside; 'binlogfs dlq list' names what was");
        }
    }
    let source = Source::open(&stream.source)?;
    let store = open_store(&stream, &settings).await?;
    let (mut exit, mut told) = (Exit::Done, Vec::new());
    for letter in &letters {
        let batch = read_batch_with(&source, &mut Default::default(), &letters);
        let done = match batch {
            Ok(batch) => retry(&source, &batch, Arc::clone(&store), &settings, letter).await,
            Err(error) => Err(error),
        };
        let outcome = Told::of(letter.file.clone(), &done);
        exit = match (exit, outcome.exit) {
            (Exit::Failed, _) | (_, Exit::Done) => exit,
            (_, worse) => worse,
        };
        if !global.json {
            output::print(&format!("{}  {}\n", outcome.file, outcome.text))?;
        }
        told.push(outcome);
    }
    match (global.json, told.is_empty()) {
        (true, _) => output::print_json(&told)?,
        (false, true) => output::print("no file was put aside\n")?,
        (false, false) => {}
    }
    Ok(exit)
}

/// What came of one file.
#[derive(serde::Serialize)]
struct Told {
    file: String,
    /// For programs.
    outcome: &'static str,
    /// The record that fills its hole.
    record: Option<Seq>,
    /// For people.
    text: String,
    #[serde(skip)]
    exit: Exit,
}

impl Told {
    fn of(file: String, done: &Result<Retried>) -> Told {
        let (outcome, text, exit) = match done {
            Ok(Retried::Filled(seq)) => (
                "filled",
                format!("archived: record {seq} fills its hole"),
                Exit::Done,
            ),
            Ok(Retried::Released) => (
                "released",
                "released: the next run archives it".to_owned(),
                Exit::Done,
            ),
            Ok(Retried::Gone) => (
                "gone",
                "gone from the server: its hole stays".to_owned(),
                Exit::Findings,
            ),
            Err(error) => (
                "failed",
                format!("still fails: {}", telemetry::message(error)),
                Exit::Failed,
            ),
        };
        let record = match done {
            Ok(Retried::Filled(seq)) => Some(*seq),
            _ => None,
        };
        Told {
            file,
            outcome,
            record,
            text,
            exit,
        }
    }
}
