//! `binlogfs completions`: a script with which a shell completes commands and options.

use super::exit::Exit;
use super::output;
use anyhow::Result;

#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell. Try it with: source <(binlogfs completions bash).
    shell: Shell,
}

/// The shells in which the scripts are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub fn run(args: &CompletionsArgs) -> Result<Exit> {
    output::print(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut crate::cli::offered(), "binlogfs", &mut script);
    String::from_utf8(script).expect("names and help are text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_is_told_every_command_and_none_that_is_hidden() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in crate::cli::offered().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell:?}: {name}");
                for option in command.get_opts().filter(|option| !option.is_hide_set()) {
                    let long = option.get_long().unwrap_or_default();
                    assert!(script.contains(long), "{shell:?}: {name} --{long}");
                }
            }
            assert!(!script.contains("generate-man"), "{shell:?}");
        }
    }
}
