//! `pent plan`: the ordered operations of a bundle, without doing them.
#![forbid(unsafe_code)]

use super::make::Bundle;
use super::{Session, print};
use crate::cli::{Make, Plan};

pub(super) fn run(session: &Session<'_>, args: &Plan) -> anyhow::Result<u8> {
    let make = Make { bundle: args.bundle.clone(), no_pivot: args.no_pivot, ..Make::default() };
    let plan = Bundle::load(session, &make, "ID", None)?.plan;
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&plan)?));
    }
    print(&plan.to_string())
}
