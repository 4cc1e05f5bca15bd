//! The options of one mount, from the strings of config.json to what the kernel's mount API is told.
//!
//! One table holds every option that is understood: it is what the parser looks up and what `pent features` prints.
//! Anything else is data for the file system, as the specification says (config.md, Mounts).
#![forbid(unsafe_code)]

use serde::Serialize;

/// Mount attributes of `mount_setattr(2)`, from `linux/mount.h`.
pub mod attr {
    /// `MOUNT_ATTR_RDONLY`
    pub const RDONLY: u64 = 0x1;
    /// `MOUNT_ATTR_NOSUID`
    pub const NOSUID: u64 = 0x2;
    /// `MOUNT_ATTR_NODEV`
    pub const NODEV: u64 = 0x4;
    /// `MOUNT_ATTR_NOEXEC`
    pub const NOEXEC: u64 = 0x8;
    /// `MOUNT_ATTR__ATIME`: the mask of the access-time modes below, which are an enumeration and not flags.
    pub const ATIME: u64 = 0x70;
    /// `MOUNT_ATTR_RELATIME`: the mode that is no bit.
    pub const RELATIME: u64 = 0x0;
    /// `MOUNT_ATTR_NOATIME`
    pub const NOATIME: u64 = 0x10;
    /// `MOUNT_ATTR_STRICTATIME`
    pub const STRICTATIME: u64 = 0x20;
    /// `MOUNT_ATTR_NODIRATIME`
    pub const NODIRATIME: u64 = 0x80;
    /// `MOUNT_ATTR_NOSYMFOLLOW` (Linux 5.14)
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// Attributes to set and to clear in one `mount_setattr(2)`; the two may overlap only in [`attr::ATIME`], which the
/// kernel wants in `clear` whenever `set` names a mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// `attr_set`
    pub set: u64,
    /// `attr_clr`
    pub clear: u64,
}

impl Attributes {
    /// Both, one after the other.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self { set: self.set & !later.clear | later.set, clear: self.clear & !later.set | later.clear }
    }

    /// Whether the kernel has nothing to do.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }

    fn turn_on(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn turn_off(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    fn access_time(&mut self, mode: u64) {
        self.set = self.set & !attr::ATIME | mode;
        self.clear |= attr::ATIME;
    }

    /// Takes one access-time mode back, if it is the one asked for so far.
    fn not_access_time(&mut self, mode: u64) {
        if self.clear & attr::ATIME == 0 || self.set & attr::ATIME == mode {
            self.access_time(attr::RELATIME);
        }
    }
}

/// How mount events spread (`mount_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// `MS_PRIVATE`
    Private,
    /// `MS_SHARED`
    Shared,
    /// `MS_SLAVE`
    Slave,
    /// `MS_UNBINDABLE`
    Unbindable,
}

/// One change of propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// The new propagation.
    pub spread: Spread,
    /// Whether it goes for the mounts below as well (`rprivate`).
    pub recursive: bool,
}

/// A bind mount or an id-mapping: of one mount, or of the whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Whether the mounts below are included (`rbind`, `ridmap`).
    pub recursive: bool,
}

/// What the options of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MountOptions {
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and every mount below it (`rro`, `rnosuid` …).
    pub recursive: Attributes,
    /// Superblock flags by the names `fsconfig(2)` `FSCONFIG_SET_FLAG` takes (`ro`, `sync`, `dirsync`, `lazytime`, `mand`);
    /// they concern new file systems only. `ro` stands both here and in [`Self::attributes`], as `mount(2)` does it.
    pub superblock: Vec<&'static str>,
    /// Bind mount instead of a new file system.
    pub bind: Option<Reach>,
    /// Changes of propagation, in the order given: `slave` then `shared` is not `shared` then `slave`.
    pub propagation: Vec<Propagation>,
    /// Copy what the image has at the destination into the new tmpfs.
    pub tmpcopyup: bool,
    /// Map the ids of the mount (`idmap`, `ridmap`).
    pub idmap: Option<Reach>,
    /// The ids of the mapping, when the option says them itself: `idmap=uids=0-1000-1;gids=0-1000-1` (crun(1)).
    pub idmap_ids: Option<String>,
    /// A source that is a symbolic link is made again at the destination (crun's `copy-symlink`).
    pub copy_symlink: bool,
    /// A source that is a symbolic link is itself mounted, not what it leads to (crun's `src-nofollow`).
    pub src_nofollow: bool,
    /// A destination that is a symbolic link is itself mounted on, not what it leads to (crun's `dest-nofollow`).
    pub dest_nofollow: bool,
    /// Change an existing mount instead of making one.
    pub remount: bool,
    /// Options that are understood and change nothing: `defaults`, `silent` and `loud`, `iversion` (the file systems that
    /// have it keep it on), `norelatime` (relatime is what the kernel does without a mode).
    pub inert: Vec<&'static str>,
    /// Everything else, for the file system: name, and value when there was a `=`.
    pub data: Vec<(String, Option<String>)>,
}

enum Effect {
    On(u64),
    Off(u64),
    AccessTime(u64),
    NotAccessTime(u64),
    RecursiveOn(u64),
    RecursiveOff(u64),
    RecursiveAccessTime(u64),
    RecursiveNotAccessTime(u64),
    ReadOnly,
    ReadWrite,
    Superblock(&'static str),
    NotSuperblock(&'static str),
    Bind { recursive: bool },
    Spread(Spread, bool),
    CopyUp,
    CopySymlink,
    SrcNofollow,
    DestNofollow,
    IdMap { recursive: bool },
    Remount,
    Inert,
}

/// Sorted by name: looked up by binary search, and printed as it stands.
const OPTIONS: &[(&str, Effect)] = &[
    ("async", Effect::NotSuperblock("sync")),
    ("atime", Effect::NotAccessTime(attr::NOATIME)),
    ("bind", Effect::Bind { recursive: false }),
    ("copy-symlink", Effect::CopySymlink),
    ("defaults", Effect::Inert),
    ("dest-nofollow", Effect::DestNofollow),
    ("dev", Effect::Off(attr::NODEV)),
    ("diratime", Effect::Off(attr::NODIRATIME)),
    ("dirsync", Effect::Superblock("dirsync")),
    ("exec", Effect::Off(attr::NOEXEC)),
    ("idmap", Effect::IdMap { recursive: false }),
    ("iversion", Effect::Inert),
    ("lazytime", Effect::Superblock("lazytime")),
    ("loud", Effect::Inert),
    ("mand", Effect::Superblock("mand")),
    ("noatime", Effect::AccessTime(attr::NOATIME)),
    ("nodev", Effect::On(attr::NODEV)),
    ("nodiratime", Effect::On(attr::NODIRATIME)),
    ("noexec", Effect::On(attr::NOEXEC)),
    ("noiversion", Effect::Inert),
    ("nolazytime", Effect::NotSuperblock("lazytime")),
    ("nomand", Effect::NotSuperblock("mand")),
    ("norelatime", Effect::Inert),
    ("nostrictatime", Effect::NotAccessTime(attr::STRICTATIME)),
    ("nosuid", Effect::On(attr::NOSUID)),
    ("nosymfollow", Effect::On(attr::NOSYMFOLLOW)),
    ("private", Effect::Spread(Spread::Private, false)),
    ("ratime", Effect::RecursiveNotAccessTime(attr::NOATIME)),
    ("rbind", Effect::Bind { recursive: true }),
    ("rdev", Effect::RecursiveOff(attr::NODEV)),
    ("rdiratime", Effect::RecursiveOff(attr::NODIRATIME)),
    ("relatime", Effect::AccessTime(attr::RELATIME)),
    ("remount", Effect::Remount),
    ("rexec", Effect::RecursiveOff(attr::NOEXEC)),
    ("ridmap", Effect::IdMap { recursive: true }),
    ("rnoatime", Effect::RecursiveAccessTime(attr::NOATIME)),
    ("rnodev", Effect::RecursiveOn(attr::NODEV)),
    ("rnodiratime", Effect::RecursiveOn(attr::NODIRATIME)),
    ("rnoexec", Effect::RecursiveOn(attr::NOEXEC)),
    ("rnorelatime", Effect::Inert),
    ("rnostrictatime", Effect::RecursiveNotAccessTime(attr::STRICTATIME)),
    ("rnosuid", Effect::RecursiveOn(attr::NOSUID)),
    ("rnosymfollow", Effect::RecursiveOn(attr::NOSYMFOLLOW)),
    ("ro", Effect::ReadOnly),
    ("rprivate", Effect::Spread(Spread::Private, true)),
    ("rrelatime", Effect::RecursiveAccessTime(attr::RELATIME)),
    ("rro", Effect::RecursiveOn(attr::RDONLY)),
    ("rrw", Effect::RecursiveOff(attr::RDONLY)),
    ("rshared", Effect::Spread(Spread::Shared, true)),
    ("rslave", Effect::Spread(Spread::Slave, true)),
    ("rstrictatime", Effect::RecursiveAccessTime(attr::STRICTATIME)),
    ("rsuid", Effect::RecursiveOff(attr::NOSUID)),
    ("rsymfollow", Effect::RecursiveOff(attr::NOSYMFOLLOW)),
    ("runbindable", Effect::Spread(Spread::Unbindable, true)),
    ("rw", Effect::ReadWrite),
    ("shared", Effect::Spread(Spread::Shared, false)),
    ("silent", Effect::Inert),
    ("slave", Effect::Spread(Spread::Slave, false)),
    ("src-nofollow", Effect::SrcNofollow),
    ("strictatime", Effect::AccessTime(attr::STRICTATIME)),
    ("suid", Effect::Off(attr::NOSUID)),
    ("symfollow", Effect::Off(attr::NOSYMFOLLOW)),
    ("sync", Effect::Superblock("sync")),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Effect::Spread(Spread::Unbindable, false)),
];

/// The names of all options that are understood, sorted: the `mountOptions` of the features document.
pub fn supported() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

impl MountOptions {
    /// Reads the options of one mount. The last of two that contradict each other wins, as with `mount(8)`. Never fails:
    /// what is not in the table is data.
    #[must_use]
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            let option = option.as_ref();
            match OPTIONS.binary_search_by(|(name, _)| (*name).cmp(option)) {
                Ok(index) => parsed.apply(OPTIONS[index].0, &OPTIONS[index].1),
                Err(_) => match option.split_once('=') {
                    Some((name @ ("idmap" | "ridmap"), ids)) => {
                        parsed.idmap = Some(Reach { recursive: name == "ridmap" });
                        parsed.idmap_ids = Some(ids.to_owned());
                    }
                    _ => parsed.data.extend(split_data(option)),
                },
            }
        }
        parsed
    }

    fn apply(&mut self, name: &'static str, effect: &Effect) {
        match *effect {
            Effect::On(bits) => self.attributes.turn_on(bits),
            Effect::Off(bits) => self.attributes.turn_off(bits),
            Effect::AccessTime(mode) => self.attributes.access_time(mode),
            Effect::NotAccessTime(mode) => self.attributes.not_access_time(mode),
            Effect::RecursiveOn(bits) => self.recursive.turn_on(bits),
            Effect::RecursiveOff(bits) => self.recursive.turn_off(bits),
            Effect::RecursiveAccessTime(mode) => self.recursive.access_time(mode),
            Effect::RecursiveNotAccessTime(mode) => self.recursive.not_access_time(mode),
            Effect::ReadOnly => {
                self.attributes.turn_on(attr::RDONLY);
                self.superblock_on("ro");
            }
            Effect::ReadWrite => {
                self.attributes.turn_off(attr::RDONLY);
                self.superblock_off("ro");
            }
            Effect::Superblock(flag) => self.superblock_on(flag),
            Effect::NotSuperblock(flag) => self.superblock_off(flag),
            Effect::Bind { recursive } => self.bind = Some(Reach { recursive }),
            Effect::Spread(spread, recursive) => self.propagation.push(Propagation { spread, recursive }),
            Effect::CopyUp => self.tmpcopyup = true,
            Effect::CopySymlink => self.copy_symlink = true,
            Effect::SrcNofollow => self.src_nofollow = true,
            Effect::DestNofollow => self.dest_nofollow = true,
            Effect::IdMap { recursive } => self.idmap = Some(Reach { recursive }),
            Effect::Remount => self.remount = true,
            Effect::Inert => self.inert.push(name),
        }
    }

    fn superblock_on(&mut self, flag: &'static str) {
        if !self.superblock.contains(&flag) {
            self.superblock.push(flag);
        }
    }

    fn superblock_off(&mut self, flag: &'static str) {
        self.superblock.retain(|set| *set != flag);
    }
}

/// A range of ids of an id-mapped mount, as an option says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id on the file system.
    pub from: u32,
    /// What it becomes.
    pub to: u32,
    /// How many.
    pub size: u32,
    /// `to` is an id of the container, not of the host (`@`).
    pub in_container: bool,
}

/// The ranges of `uids=FROM-TO-SIZE#…;gids=…` (crun(1), idmap), user ids first; none where that is not how it is written.
#[must_use]
pub fn id_ranges(text: &str) -> Option<(Vec<IdRange>, Vec<IdRange>)> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, ranges) = part.split_once('=')?;
        let found = match name {
            "uids" => &mut uids,
            "gids" => &mut gids,
            _ => return None,
        };
        for range in ranges.split('#') {
            let (in_container, range) = range.strip_prefix('@').map_or((false, range), |rest| (true, rest));
            let mut numbers = range.split('-').map(str::parse);
            let (from, to, size) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
            if numbers.next().is_some() || size == 0 {
                return None;
            }
            found.push(IdRange { from, to, size, in_container });
        }
    }
    (!uids.is_empty() && !gids.is_empty()).then_some((uids, gids))
}

/// Splits one string into what `mount(2)` would see as several: at commas that are neither escaped (overlay's `\,`) nor
/// inside double quotes (an SELinux context), because `fsconfig(2)` takes one option at a time.
fn split_data(option: &str) -> Vec<(String, Option<String>)> {
    let mut parts = vec![String::new()];
    let (mut escaped, mut quoted) = (false, false);
    for c in option.chars() {
        if c == ',' && !escaped && !quoted {
            parts.push(String::new());
            continue;
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (part, None),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> MountOptions {
        MountOptions::parse(&options.split(' ').filter(|o| !o.is_empty()).collect::<Vec<_>>())
    }

    #[test]
    fn table_is_sorted_and_complete() {
        assert!(OPTIONS.windows(2).all(|pair| pair[0].0 < pair[1].0), "binary search needs a sorted table");
        // The list in the specification's features document (features.md, mountOptions), which callers look into.
        for name in ["rro", "ridmap", "idmap", "tmpcopyup", "nosymfollow", "rsymfollow", "runbindable", "nolazytime"] {
            assert!(supported().any(|known| known == name), "{name}");
        }
        assert_eq!(supported().count(), OPTIONS.len());
    }

    #[test]
    fn every_option_of_the_table_is_understood_and_has_an_effect() {
        for (name, effect) in OPTIONS {
            let parsed = MountOptions::parse(&[name]);
            assert!(parsed.data.is_empty(), "{name} became data");
            // Turning off what is off is the one option that rightly leaves nothing behind.
            if !matches!(effect, Effect::NotSuperblock(_)) {
                assert_ne!(parsed, MountOptions::default(), "{name}");
            }
        }
    }

    #[test]
    fn runc_default_mounts() {
        let dev = parse("nosuid strictatime mode=755 size=65536k");
        assert_eq!(dev.attributes.set, attr::NOSUID | attr::STRICTATIME);
        assert_eq!(dev.attributes.clear, attr::ATIME);
        assert_eq!(dev.data, [("mode".into(), Some("755".into())), ("size".into(), Some("65536k".into()))]);
        let cgroup = parse("nosuid noexec nodev relatime ro");
        assert_eq!(cgroup.attributes.set, attr::NOSUID | attr::NOEXEC | attr::NODEV | attr::RDONLY);
        assert_eq!(cgroup.attributes.clear, attr::ATIME);
        assert_eq!(cgroup.superblock, ["ro"]);
    }

    #[test]
    fn ids_of_a_mapping() {
        let range = |from, to, size, in_container| IdRange { from, to, size, in_container };
        assert_eq!(
            id_ranges("uids=0-1-10#10-100-1;gids=@0-5-2"),
            Some((vec![range(0, 1, 10, false), range(10, 100, 1, false)], vec![range(0, 5, 2, true)]))
        );
        for wrong in ["", "uids=0-1-10", "uids=0-1;gids=0-1-2", "uids=0-1-0;gids=0-1-1", "uids=-1-1-1;gids=0-0-1"] {
            assert_eq!(id_ranges(wrong), None, "{wrong}");
        }
        let parsed = parse("rbind idmap=uids=0-1-10;gids=0-1-10");
        assert_eq!(parsed.idmap, Some(Reach { recursive: false }));
        assert_eq!(parsed.idmap_ids.as_deref(), Some("uids=0-1-10;gids=0-1-10"));
        assert!(parsed.data.is_empty());
        assert_eq!(parse("bind ridmap=x").idmap, Some(Reach { recursive: true }));
    }

    #[test]
    fn the_last_one_wins() {
        assert_eq!(parse("ro rw").attributes, Attributes { set: 0, clear: attr::RDONLY });
        assert!(parse("ro rw").superblock.is_empty());
        assert_eq!(parse("rw ro").attributes, Attributes { set: attr::RDONLY, clear: 0 });
        assert!(parse("sync async").superblock.is_empty());
        assert_eq!(parse("bind rbind").bind, Some(Reach { recursive: true }));
        assert_eq!(parse("rrw rro").recursive, Attributes { set: attr::RDONLY, clear: 0 });
    }

    #[test]
    fn access_times_are_an_enumeration() {
        assert_eq!(parse("noatime strictatime").attributes, Attributes { set: attr::STRICTATIME, clear: attr::ATIME });
        assert_eq!(parse("noatime atime").attributes, Attributes { set: 0, clear: attr::ATIME });
        assert_eq!(parse("strictatime atime").attributes.set, attr::STRICTATIME, "atime undoes noatime only");
        assert_eq!(parse("noatime nostrictatime").attributes.set, attr::NOATIME);
        assert_eq!(parse("nodiratime rnoatime").recursive, Attributes { set: attr::NOATIME, clear: attr::ATIME });
        assert_eq!(parse("rrelatime").recursive, Attributes { set: 0, clear: attr::ATIME });
        assert_eq!(parse("rnodiratime").recursive, Attributes { set: attr::NODIRATIME, clear: 0 });
    }

    #[test]
    fn propagation_keeps_its_order() {
        assert_eq!(
            parse("rslave shared").propagation,
            [
                Propagation { spread: Spread::Slave, recursive: true },
                Propagation { spread: Spread::Shared, recursive: false }
            ]
        );
    }

    #[test]
    fn data_is_split_as_the_kernel_splits_it() {
        let overlay = parse(r"lowerdir=/a\,b:/c,upperdir=/u index=off xino");
        assert_eq!(
            overlay.data,
            [
                ("lowerdir".into(), Some(r"/a\,b:/c".into())),
                ("upperdir".into(), Some("/u".into())),
                ("index".into(), Some("off".into())),
                ("xino".into(), None)
            ]
        );
        let labelled = parse(r#"context="u:r:t:s0:c1,c2",size=1k"#);
        assert_eq!(labelled.data[0].1.as_deref(), Some(r#""u:r:t:s0:c1,c2""#));
        assert_eq!(labelled.data[1], ("size".into(), Some("1k".into())));
        assert_eq!(parse("key=a=b").data, [("key".into(), Some("a=b".into()))]);
        assert!(MountOptions::parse(&["", ","]).data.is_empty());
    }

    proptest::proptest! {
        /// Whatever is given: no panic, no attribute both set and cleared but the access times, and every mode named.
        #[test]
        fn attributes_never_contradict(options in proptest::collection::vec("[a-z,=\\\\\"]{0,12}|rro|ro|rw|rnoatime|ratime|strictatime|atime", 0..12)) {
            let parsed = MountOptions::parse(&options);
            for attributes in [parsed.attributes, parsed.recursive] {
                proptest::prop_assert_eq!(attributes.set & attributes.clear & !attr::ATIME, 0);
                if attributes.set & attr::ATIME != 0 {
                    proptest::prop_assert_eq!(attributes.clear & attr::ATIME, attr::ATIME);
                }
            }
        }
    }
}
