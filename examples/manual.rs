//! Writes the manual pages and the shells' completions, from the definition that reads the command line:
//! `cargo run --example manual -- DIRECTORY`, or `make manual`.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "writes only where it was told to, and no container is near")]

use clap_complete::{Shell, generate_to};
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("which directory is the manual to go to?"));
    };
    let mut command = pent::cli::command();
    // Subcommands are built when they are asked for; here all of them are.
    command.build();
    pages(&command, &directory.join("man/man8"))?;
    completions(command, &directory.join("completions"))
}

/// `pent.8`, and `pent-VERB.8` for each verb.
fn pages(command: &clap::Command, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let page = |command: clap::Command, name: String| {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).section("8").title(name.to_uppercase()).render(&mut text)?;
        std::fs::write(directory.join(format!("{name}.8")), text)
    };
    page(command.clone(), "pent".to_owned())?;
    for verb in command.get_subcommands() {
        let name = format!("pent-{}", verb.get_name());
        // clap wants names that live for ever, and this program ends next.
        let page_name: &'static str = name.clone().leak();
        page(verb.clone().name(page_name).version(env!("CARGO_PKG_VERSION")), name)?;
    }
    Ok(())
}

fn completions(mut command: clap::Command, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "pent", directory)?;
    }
    Ok(())
}
