//! `pent list`: the containers below the state directory.
#![forbid(unsafe_code)]

use super::{Explained, Session, print};
use crate::cli::{List, TableFormat};
use crate::state::{Dir, Error, Maker, State, Status};
use anyhow::Result;
use std::fmt::Write;

/// Prints the ids, runc's table or runc's JSON array. A container deleted meanwhile is not there; one that cannot be read
/// is warned about, since the others still can.
pub(super) fn run(session: &Session<'_>, args: &List) -> Result<u8> {
    let root = session.root()?;
    let mut found: Vec<(State, Status)> = Vec::new();
    let mut others: Vec<(Maker, usize)> = Vec::new();
    for id in Dir::list(&root).explained()? {
        let Ok(dir) = Dir::open(&root, &id) else { continue };
        match dir.load() {
            Ok(Some(state)) => {
                let status = state.status(&dir).explained()?;
                found.push((state, status));
            }
            // Being created, or being deleted.
            Ok(None) if dir.is_locked_by_another().unwrap_or(true) => {}
            Ok(None) => session.report.warn(format!(
                "container {id} was not completely created; `pent delete --force {id}` removes what is left"
            )),
            Err(Error::Foreign { maker, .. }) => match others.iter_mut().find(|(other, _)| *other == maker) {
                Some((_, count)) => *count += 1,
                None => others.push((maker, 1)),
            },
            Err(error) => session.report.warn(format!("container {id}: {error}")),
        }
    }
    // One line for each, however many: engines keep them by the hundred.
    for (maker, count) in others {
        session.report.warn(format!("{count} in {} left out: of {maker}, not of pent", root.path().display()));
    }
    let text = match (args.quiet, args.format) {
        (true, _) => found.iter().fold(String::new(), |text, (state, _)| text + &state.id + "\n"),
        (false, TableFormat::Table) => table(&found),
        (false, TableFormat::Json) => {
            let reports: Vec<_> = found.iter().map(|(state, status)| state.report(*status)).collect();
            serde_json::to_string(&reports)? + "\n"
        }
    };
    print(&text)
}

/// Columns as wide as their widest cell and three spaces, at least twelve, as runc's tabwriter makes them.
fn table(found: &[(State, Status)]) -> String {
    const HEAD: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(found.iter().map(|(state, status)| {
        let report = state.report(*status);
        let bundle = report.bundle.display().to_string();
        let (id, created) = (report.id.to_owned(), report.created.to_owned());
        [id, report.pid.to_string(), status.to_string(), bundle, created, report.owner]
    }));
    let mut widths = [12; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (cell.chars().count() + 3).max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let (last, cells) = row.split_last().map_or(("", &row[..]), |(last, cells)| (last.as_str(), cells));
        for (cell, width) in cells.iter().zip(widths) {
            let written = write!(text, "{cell:<width$}");
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Cgroup;
    use crate::state::Process;

    #[test]
    fn the_table_is_runc_s() {
        let state = State {
            oci_version: "1.3.0".into(),
            config_version: "1.0.2".into(),
            id: "t1".into(),
            init: Process { pid: 2901, start_time: 1 },
            bundle: "/tmp/rt".into(),
            rootfs: "/tmp/rt/rootfs".into(),
            created: "2026-11-23T20:05:09.504989602Z".into(),
            annotations: std::collections::BTreeMap::new(),
            owner: 0,
            cgroup: Cgroup::default(),
            namespaces: Vec::new(),
            terminal: false,
            poststop: false,
            rdt: false,
            hardened: false,
            own_init: false,
            spelled: false,
            profiles: Vec::new(),
            landlock: None,
        };
        assert_eq!(
            table(&[(state, Status::Running)]),
            "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             t1          2901        running     /tmp/rt     2026-11-23T20:05:09.504989602Z   root\n"
        );
    }
}
