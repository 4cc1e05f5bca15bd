//! `pent cache`: the unpacked images.
#![forbid(unsafe_code)]

use super::{Explained, Session, hinted, print};
use crate::cli::{self, CacheAction, TableFormat};
use crate::image::{Cache, Entry, Error};
use crate::time;
use anyhow::Result;
use std::time::{Duration, UNIX_EPOCH};

/// As much of an id as tells images apart.
const SHORT: usize = 12;

/// Lists or removes.
pub(super) fn run(session: &Session<'_>, args: &cli::Cache) -> Result<u8> {
    let cache = Cache::of_caller().explained()?;
    match args.action {
        CacheAction::Ls if args.all || !args.ids.is_empty() => {
            Err(hinted("cache ls takes no id and no --all", "it lists all images"))
        }
        CacheAction::Ls => list(&cache, args),
        CacheAction::Rm if args.all != args.ids.is_empty() => {
            Err(hinted("cache rm takes ids or --all", "pent cache ls shows the ids"))
        }
        CacheAction::Rm if args.all => remove_all(session, &cache),
        CacheAction::Rm => {
            let mut text = String::new();
            for id in &args.ids {
                text += &(cache.remove(id).explained()? + "\n");
            }
            print(&text)
        }
    }
}

fn list(cache: &Cache, args: &cli::Cache) -> Result<u8> {
    let entries = cache.entries().explained()?;
    let text = match (args.quiet, args.format) {
        (true, _) => entries.iter().fold(String::new(), |text, entry| text + &entry.id + "\n"),
        (false, TableFormat::Json) => serde_json::to_string_pretty(&entries)? + "\n",
        (false, TableFormat::Table) => entries.iter().map(row).fold(head(), |text, row| text + &row),
    };
    print(&text)
}

fn head() -> String {
    format!("{:<SHORT$}  {:>10}  {:>8}  {:<20}  SOURCE\n", "ID", "SIZE", "FILES", "CREATED")
}

fn row(entry: &Entry) -> String {
    let created = time::rfc3339(UNIX_EPOCH + Duration::from_secs(entry.created));
    let (id, size) = (&entry.id[..SHORT.min(entry.id.len())], megabytes(entry.size));
    format!("{id}  {size:>10}  {:>8}  {created:<20}  {}\n", entry.files, entry.source.escape_debug())
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn remove_all(session: &Session<'_>, cache: &Cache) -> Result<u8> {
    let mut text = String::new();
    for entry in cache.entries().explained()? {
        match cache.remove(&entry.id) {
            Ok(id) => text += &(id + "\n"),
            Err(error @ Error::InUse { .. }) => session.report.warn(error.to_string()),
            // Somebody else was faster.
            Err(Error::NoEntry { .. }) => {}
            Err(error) => Err(error).explained()?,
        }
    }
    print(&text)
}
