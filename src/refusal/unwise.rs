//! What is never advised to be opened. A program decides what it is refused, and so what a report is about: a line that
//! only has to be pasted must not open what is hidden, nor let the program write what is started later, outside of the
//! sandbox.
#![forbid(unsafe_code)]

use super::facts::is_below;
use super::remedy::Flags;

/// Parts of the system, with all that is below.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/boot",
    "/efi",
    "/nix",
    "/gnu",
    "/snap",
    "/root",
    "/run",
    "/var/run",
    "/var/lib",
    "/var/spool",
    "/var/log",
];

/// File systems of the kernel's, which nothing is mounted on.
const KERNEL: &[&str] = &["/proc", "/sys", "/dev"];

/// Names that begin with a dot and hold nothing but what a program can make again. All others are of what is read, and
/// mostly obeyed, by somebody else's programs: shells, editors, version control, agents, package managers, services of
/// the desktop.
const CACHES: &[&str] = &[
    ".cache",
    ".eggs",
    ".hypothesis",
    ".mypy_cache",
    ".next",
    ".nox",
    ".nuxt",
    ".nyc_output",
    ".parcel-cache",
    ".pytest_cache",
    ".ruff_cache",
    ".svelte-kit",
    ".tox",
    ".turbo",
];

/// Names in a home without a dot whose content is started, or decides what is.
const OF_A_HOME: &[&str] = &["bin", "go/bin", "Desktop", "Library", "snap"];

/// Why it is not advised to let the program write there; nothing where it may be.
pub(super) fn to_write(path: &[u8], flags: &Flags) -> Option<&'static str> {
    let Some(path) = cleaned(path) else { return Some("no path that says where it leads") };
    let path = path.as_slice();
    let is_in = |place: &Vec<u8>| cleaned(place).is_some_and(|place| is_below(path, &place));
    let in_any = |places: &[Vec<u8>]| places.iter().any(is_in);
    if in_any(&flags.secret) || in_any(&flags.hidden) {
        return Some("hidden: holds credentials, or is somebody else's");
    }
    if KERNEL.iter().any(|place| is_below(path, place.as_bytes())) {
        return Some("the kernel's own settings");
    }
    let is_top = !path.get(1..).is_some_and(|rest| rest.contains(&b'/'));
    if is_top || SYSTEM.iter().any(|place| is_below(path, place.as_bytes())) {
        return Some("part of the system: programs outside of the sandbox start from it");
    }
    if !flags.home.is_empty() && is_below(&flags.home, path) {
        return Some("the whole home: programs are started from it later");
    }
    (starts_later(path, flags) || in_any(&flags.starts)).then_some("starts programs later, outside of the sandbox")
}

/// The same path as it is compared: absolute, and without empty components; nothing with `..`, which may lead anywhere.
fn cleaned(path: &[u8]) -> Option<Vec<u8>> {
    path.strip_prefix(b"/")?;
    let mut clean = Vec::new();
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && part != b".") {
        if part == b".." {
            return None;
        }
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    Some(if clean.is_empty() { b"/".to_vec() } else { clean })
}

/// Whether programs that are started later read their orders there.
fn starts_later(path: &[u8], flags: &Flags) -> bool {
    let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let is_dotted = |part: &[u8]| part.starts_with(b".");
    if let Some(below) = path.strip_prefix(flags.home.as_slice()).and_then(|rest| rest.strip_prefix(b"/"))
        && !flags.home.is_empty()
    {
        let named = OF_A_HOME.iter().any(|name| is_below(below, name.as_bytes()));
        if named || is_dotted(below) {
            return true;
        }
    }
    parts(path).iter().any(|part| is_dotted(part) && !CACHES.iter().any(|cache| part == cache.as_bytes()))
}

/// Why it is not advised to show what is hidden.
pub(super) fn to_show(path: &[u8], flags: &Flags) -> &'static str {
    let is_private = |place: &&str| is_below(path, place.as_bytes());
    let cleaned = cleaned(path).unwrap_or_default();
    let path = cleaned.as_slice();
    let is_secret = flags.secret.iter().any(|secret| is_below(path, secret));
    if !is_secret && ["/tmp", "/var/tmp", "/run", "/dev"].iter().any(is_private) {
        return "private in a sandbox: what you know to be harmless can be shown with --ro";
    }
    "hidden: holds credentials, or is somebody else's; --ro shows what you know to be harmless"
}

/// Profiles that hold a program to next to nothing.
pub(super) fn is_weak(profile: &str) -> bool {
    ["none", "baseline"].contains(&profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        let bytes = |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        Flags {
            home: b"/home/u".to_vec(),
            own: b"/home/u/code".to_vec(),
            secret: bytes(&["/home/u/keys", "/home/v", "/data/state"]),
            starts: bytes(&["/home/u/tools", "/srv/bin"]),
            ..Flags::default()
        }
    }

    #[test]
    fn what_starts_later_or_is_hidden_is_not_to_be_written() {
        for path in [
            "/",
            "/usr",
            "/etc/cron.d/x",
            "/var",
            "/home",
            "/home/u",
            "/srv",
            "/var/spool/cron",
            "/var/lib/x",
            "/run/x",
            "/proc/sys/kernel/core_pattern",
            "/sys/fs/cgroup/x",
            "/dev/sda",
            "/home/u/.bashrc",
            "/home/u/.config/autostart",
            "/home/u/.cache/pip",
            "/home/u/.ssh",
            "/home/u/code/.git/hooks",
            "/home/u/code/.git",
            "/home/u/code/sub/.envrc",
            "/home/u/code/.vscode/settings.json",
            "/srv/app/.github/workflows/x.yml",
            "/home/u/bin/x",
            "/home/u/go/bin",
            "/home/u/tools/x",
            "/srv/bin",
            "/home/u/keys",
            "/home/u/keys/a",
            "/home/v",
            "/home/v/code",
            "/data/state/x",
            "//etc/x",
            "/home/u//.cache/x",
            "/home/u/code/../.bashrc",
            "/./usr",
            "relative",
            "/home/u/.",
            "",
        ] {
            assert!(to_write(path.as_bytes(), &flags()).is_some(), "{path}");
        }
        for path in [
            "/home/u/code",
            "/home/u/code/out",
            "/home/u/f",
            "/srv/app",
            "/var/cache/app",
            "/home/u/code/.pytest_cache/v",
            "/home/u/code/.tox",
            "/data/states",
            "/home/user/x",
            "/home/u/binary",
        ] {
            assert_eq!(to_write(path.as_bytes(), &flags()), None, "{path}");
        }
    }
}
