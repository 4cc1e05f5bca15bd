//! Values of flags, in the forms Go programs send them.
#![forbid(unsafe_code)]

use super::{Rootless, Tmpfs, User};
use std::path::PathBuf;
use std::time::Duration;

/// Go's `strconv.ParseBool`.
pub(super) fn bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `--rootless`: a boolean or `auto`.
pub(super) fn rootless(text: &str) -> Result<Rootless, String> {
    match (text, bool(text)) {
        ("auto", _) => Ok(Rootless::Auto),
        (_, Some(true)) => Ok(Rootless::Yes),
        (_, Some(false)) => Ok(Rootless::No),
        (_, None) => Err("want true, false or auto".into()),
    }
}

/// A user or group id: decimal digits only, since `+0`, `0x0` or a wrapped number must never become somebody else.
/// 4294967295 is excluded: to the kernel it means "leave unchanged".
pub(super) fn id(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text:?} is not a decimal id"));
    }
    match text.parse() {
        Ok(u32::MAX) | Err(_) => Err(format!("{text} is not an id: the largest is {}", u32::MAX - 1)),
        Ok(id) => Ok(id),
    }
}

/// `UID[:GID]`.
pub(super) fn user(text: &str) -> Result<User, String> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok(User { uid: id(uid)?, gid: Some(id(gid)?) }),
        None => Ok(User { uid: id(text)?, gid: None }),
    }
}

/// Names of the signals of signal(7), with their aliases; the numbers are the platform's.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The user-visible real-time signals: 34 to 64, as every libc and container image counts them.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// `KILL`, `SIGKILL`, `sigkill`, `9`, `RTMIN+3`. 0 only asks whether the process exists (kill(2)).
pub(super) fn signal(text: &str) -> Result<i32, String> {
    let unknown = || format!("unknown signal {text:?}");
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=SIGRTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(SIGRTMIN),
        (_, Some("")) => Some(SIGRTMAX),
        (Some(more), _) => more.strip_prefix('+').and_then(|n| n.parse::<u8>().ok()).map(|n| SIGRTMIN + i32::from(n)),
        (_, Some(less)) => less.strip_prefix('-').and_then(|n| n.parse::<u8>().ok()).map(|n| SIGRTMAX - i32::from(n)),
        (None, None) => None,
    };
    number.filter(|n| (SIGRTMIN..=SIGRTMAX).contains(n)).ok_or_else(unknown)
}

/// Bytes, as docker's go-units reads them: a number, perhaps with a fraction, then perhaps a space, then perhaps one
/// of k, m, g, t, p (powers of 1024, any case), perhaps followed by `b` or `ib`. `-1` is unlimited.
pub(super) fn size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let invalid = || format!("invalid size: {text:?}");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit == "ib" => return Err(invalid()),
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let scale = 1i64 << (10 * power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(invalid());
    }
    let whole: i64 = whole.parse().map_err(|_| invalid())?;
    let mut bytes = whole.checked_mul(scale).ok_or_else(invalid)?;
    // The fraction digit by digit in integers: each is worth scale / 10^n, rounded down at the end.
    let (mut numerator, mut denominator) = (0i128, 1i128);
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + i128::from(digit - b'0');
        denominator *= 10;
    }
    let part = numerator * i128::from(scale) / denominator;
    bytes = bytes.checked_add(i64::try_from(part).map_err(|_| invalid())?).ok_or_else(invalid)?;
    Ok(bytes)
}

/// Reads the value of `--tmpfs`, whose path may be any bytes.
#[derive(Clone)]
pub(super) struct TmpfsParser;

impl clap::builder::TypedValueParser for TmpfsParser {
    type Value = Tmpfs;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Tmpfs, clap::Error> {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = value.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
        let options = String::from_utf8_lossy(bytes.get(end + 1..).unwrap_or_default()).into_owned();
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes[..end]));
        // As any other value that cannot be read is told of.
        let parser = clap::builder::StringValueParser::new().try_map(move |options| tmpfs(path.clone(), &options));
        clap::builder::TypedValueParser::parse_ref(&parser, command, arg, options.as_ref())
    }
}

/// `--tmpfs`: a path, then options after a colon.
fn tmpfs(path: PathBuf, options: &str) -> Result<Tmpfs, String> {
    let mut tmpfs = Tmpfs { path, size: None, mode: None, exec: false };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("size", bytes) => {
                let bytes = size(bytes)?;
                tmpfs.size = Some(u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or("a size is more than 0")?);
            }
            ("mode", mode) => {
                let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
                tmpfs.mode = Some(bits.ok_or_else(|| format!("{mode:?} is not a mode in octal"))?);
            }
            ("exec", "") => tmpfs.exec = true,
            _ => return Err(format!("unknown option {option:?}: size=SIZE, mode=OCTAL or exec")),
        }
    }
    Ok(tmpfs)
}

/// `--hostname`: what sethostname(2) takes, and nothing that a terminal would act on.
pub(super) fn hostname(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let is_good = is_plain && (1..=64).contains(&text.len());
    is_good.then(|| text.to_owned()).ok_or_else(|| "want 1 to 64 letters, digits, `-`, `_` or `.`".into())
}

/// `--port`: outside and inside.
pub(super) fn publish(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("{text:?} is not a port: want 8080, or 8080:80 for another one inside"))
    };
    match text.split_once(':') {
        Some((outside, inside)) => Ok((port(outside)?, port(inside)?)),
        None => port(text).map(|port| (port, port)),
    }
}

/// `--cpus`: a number of processors with a fraction, in thousandths.
pub(super) fn thousandths(text: &str) -> Result<u64, String> {
    let invalid = || format!("{text:?} is not a number of processors: want something like 2 or .5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) || fraction.len() > 3 {
        return Err(invalid());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let fraction: u64 = format!("{fraction:0<3}").parse().map_err(|_| invalid())?;
    let all = whole.checked_mul(1000).and_then(|whole| whole.checked_add(fraction)).ok_or_else(invalid)?;
    // The kernel's smallest quota is 1 of 100 ms.
    if all < 10 { Err(format!("{text} is less than the kernel can give: 0.01")) } else { Ok(all) }
}

/// `--interval`: a Go duration greater than zero.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Some(Duration::ZERO) => Err("duration interval must be greater than 0".into()),
        Some(interval) => Ok(interval),
        None => Err(format!("invalid duration {text:?}, want something like 5s, 1m30s or 500ms")),
    }
}

/// Go's `time.ParseDuration` for values that are not negative: `0`, `5s`, `1.5h`, `1m30s`, `300ms`, `7us`, `7µs`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(scale)?)?;
        let mut worth = scale;
        for digit in fraction.bytes() {
            worth /= 10;
            nanos = nanos.checked_add(u128::from(digit - b'0') * worth)?;
        }
        rest = after;
    }
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        let ms = Duration::from_millis;
        for (text, want) in [
            ("5s", Some(ms(5_000))),
            ("1m30s", Some(ms(90_000))),
            ("500ms", Some(ms(500))),
            ("1.5h", Some(ms(5_400_000))),
            (".5s", Some(ms(500))),
            ("1.s", Some(ms(1_000))),
            ("0", Some(ms(0))),
            ("0s", Some(ms(0))),
            ("1us", Some(Duration::from_micros(1))),
            ("1µs", Some(Duration::from_micros(1))),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("-5s", None),
            ("5x", None),
            ("1.2.3s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text), want, "{text:?}");
        }
        assert!(interval("0").is_err());
    }

    #[test]
    fn sizes_are_go_units() {
        for (text, want) in [
            ("512M", Some(512 << 20)),
            ("512m", Some(512 << 20)),
            ("512MB", Some(512 << 20)),
            ("512MiB", Some(512 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("1.5k", Some(1536)),
            ("4096", Some(4096)),
            ("10b", Some(10)),
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("-2", None),
            ("", None),
            ("M", None),
            ("1x", None),
            ("1ib", None),
            ("1.", None),
            ("1..5k", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("8192P", None),
            ("١", None),
        ] {
            assert_eq!(size(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, want) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("kill", Some(9)),
            ("sigterm", Some(15)),
            ("0", Some(0)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("RTMIN3", None),
            ("65", None),
            ("-9", None),
            ("SIG", None),
            ("SIGSIGKILL", None),
            ("FOO", None),
            ("", None),
        ] {
            assert_eq!(signal(text).ok(), want, "{text:?}");
        }
        assert_eq!(signal("FOO").unwrap_err(), "unknown signal \"FOO\"");
    }

    #[test]
    fn nobody_becomes_somebody_else() {
        assert_eq!(user("0"), Ok(User { uid: 0, gid: None }));
        assert_eq!(user("1000:100"), Ok(User { uid: 1000, gid: Some(100) }));
        assert_eq!(user("4294967294"), Ok(User { uid: 4_294_967_294, gid: None }));
        for text in
            ["4294967296", "4294967295", "0x0", "1000:", ":0", "+0", "-1", "", " 0", "root", "1:2:3", "0:-1", "٣"]
        {
            assert!(user(text).is_err(), "{text:?}");
        }
    }
}
