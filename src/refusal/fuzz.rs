//! The fuzz target of names in reports.
#![forbid(unsafe_code)]

use super::record::{About, Layer, Record, Refusal, Registers};
use super::remedy::{Asker, Flags, Remedy};
use super::text::Report;
use super::{caller, network};
use crate::report;
use std::net::Ipv4Addr;

/// Which kind of refusal, and then the name that the program has made up. Two bytes choose, the rest is the name.
///
/// # Panics
/// When the report holds what a terminal or a reader of JSON does not take as text, or advises what it must not.
pub fn names(data: &[u8]) {
    let Some((&[layer, about], subject)) = data.split_first_chunk() else { return };
    drop((network::parse(subject), caller::strip(subject, b"/root")));
    network::reach(Ipv4Addr::LOCALHOST.into(), &String::from_utf8_lossy(subject), &String::from_utf8_lossy(subject));
    let refusal = Refusal {
        action: ["write", "read", "remove", "connect", "execute", "change"][usize::from(about >> 4) % 6].into(),
        subject: subject.to_vec(),
        layer: Layer::ALL[usize::from(layer) % Layer::ALL.len()],
        // What the proxy says, and names in profiles.
        detail: if layer & 0x80 == 0 { String::new() } else { String::from_utf8_lossy(subject).into_owned() },
        errno: i32::from(layer),
        call: "openat",
        about: about_of(about),
    };
    let mut record = Record::default();
    record.add(refusal);
    let flags = Flags {
        tmpfs: vec![b"/tmp".to_vec(), subject.to_vec()],
        hidden: if about & 8 == 0 { Vec::new() } else { vec![subject.to_vec()] },
        own: b"/home/u/code".to_vec(),
        home: b"/home/u".to_vec(),
        single_hosts: about & 0x80 == 0,
        image: layer & 0x40 != 0,
        is_private: Some(crate::sandbox::net::is_private),
        ..Flags::default()
    };
    let spec = oci_spec::runtime::Spec::default();
    for asker in [Asker::Sandbox(&flags), Asker::Bundle(&spec), Asker::Held("restricted")] {
        let report = Report::new("id", 1, &record, asker, vec![String::from_utf8_lossy(subject).into_owned()]);
        let texts = [report.full(), report.short("more"), report.json()];
        for text in &texts {
            assert!(!text.chars().any(|c| c != '\n' && report::is_unseen(c)), "{text:?}");
        }
        // A name cannot begin a line of its own.
        let lines = texts[0].lines().all(|line| line.starts_with("denied  ") || line.starts_with("note    "));
        assert!(lines, "{:?}", texts[0]);
        let json: serde_json::Value = serde_json::from_str(&texts[2]).expect("JSON");
        let line = &json["refusals"][0];
        match std::str::from_utf8(&subject[..subject.len().min(4096)]) {
            Ok(text) if !text.is_empty() => assert_eq!(line["subject"], text),
            _ => {}
        }
    }
    advice(&record, &flags);
}

fn advice(record: &Record, flags: &Flags) {
    let refusal = &record.all()[0].refusal;
    let Remedy::Flags { flags: advised, .. } = Asker::Sandbox(flags).remedy(refusal) else { return };
    let words = advised.split(' ').next().unwrap_or_default();
    assert!(advised.starts_with("--") && !advised.contains('\n'), "{advised:?}");
    if ["--ro", "--rw"].contains(&words) {
        // All of /sys is the one thing that is: it tells of the machine, and holds nobody's secret.
        let is_hidden = flags.hidden.contains(&refusal.subject) && advised != "--ro /sys";
        assert!(!is_hidden, "hidden, and advised: {advised}");
        for never in ["/.ssh", "/.bashrc", "/.git/hooks"] {
            assert!(!advised.contains(never), "{advised}");
        }
        for never in ["--rw /etc/", "--rw //etc/", "--ro /home"] {
            assert!(!advised.starts_with(never), "{advised}");
        }
    }
}

fn about_of(byte: u8) -> About {
    let (one, two) = (byte & 8 != 0, byte & 16 != 0);
    match byte & 7 {
        0 => About::Directory { empty: one, permitted: two },
        1 => About::File { permitted: one },
        2 => About::Address(std::net::SocketAddr::from(([192, 0, 2, byte], 443))),
        3 => About::Place { could_be_asked: one },
        4 => About::Limit(one.then_some(u64::MAX)),
        5 => About::Capability(byte % 41, one),
        6 => {
            About::Call { arch: 0xc000_003e, nr: 41, args: Registers::default(), profile: one.then(|| "build".into()) }
        }
        _ => About::Nothing,
    }
}
