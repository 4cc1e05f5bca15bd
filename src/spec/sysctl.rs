//! Names of kernel parameters: which file they are, and which namespace they belong to.
#![forbid(unsafe_code)]

/// The namespace a kernel parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The network namespace: everything below `net`.
    Network,
    /// The IPC namespace: System V IPC and POSIX message queues.
    Ipc,
    /// `kernel.hostname`, which has its own field in config.json.
    Hostname,
    /// `kernel.domainname`
    Domainname,
    /// The whole machine.
    Host,
}

/// The System V IPC parameters, which are per IPC namespace (`ipc/ipc_sysctl.c`); all others below `kernel` are not.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// The path below `/proc/sys` of a parameter in either spelling of sysctl(8), or `None` when the name is not one: whichever
/// of `.` and `/` comes first separates, the other stands for a dot in a name (`net/ipv4/conf/eno2.100/rp_filter` is
/// `net.ipv4.conf.eno2/100.rp_filter`). No component is empty, `.` or `..`, so the path stays below `/proc/sys`.
#[must_use]
pub fn path(name: &str) -> Option<String> {
    let first = name.find(['.', '/'])?;
    let path: String = if name.as_bytes()[first] == b'/' {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    };
    let good = |component: &str| {
        !matches!(component, "" | "." | "..") && component.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    path.split('/').all(good).then_some(path)
}

/// Which namespace a parameter given by its [`path`] belongs to.
#[must_use]
pub fn scope(path: &str) -> Scope {
    match path {
        "kernel/hostname" => Scope::Hostname,
        "kernel/domainname" => Scope::Domainname,
        _ if path.starts_with("net/") => Scope::Network,
        _ if path.starts_with("fs/mqueue/") || IPC.contains(&path) => Scope::Ipc,
        _ => Scope::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        assert_eq!(path("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path("net/ipv4/ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path("net.ipv4.conf.eno2/100.rp_filter").as_deref(), Some("net/ipv4/conf/eno2.100/rp_filter"));
        assert_eq!(path("net/ipv4/conf/eno2.100/rp_filter").as_deref(), Some("net/ipv4/conf/eno2.100/rp_filter"));
    }

    #[test]
    fn no_way_out_of_proc_sys() {
        for name in [
            "",
            "net",
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "/kernel/x",
            "net./",
            "net..x",
            "net/./x",
            "net.a b",
            "net.a\0",
            "net.a\n",
            "net.\u{e9}",
            "net/x/",
        ] {
            assert_eq!(path(name), None, "{name:?}");
        }
    }

    #[test]
    fn scopes() {
        assert_eq!(scope("net/core/somaxconn"), Scope::Network);
        assert_eq!(scope("kernel/shmmax"), Scope::Ipc);
        assert_eq!(scope("fs/mqueue/msg_max"), Scope::Ipc);
        assert_eq!(scope("kernel/core_pattern"), Scope::Host);
        assert_eq!(scope("network/x"), Scope::Host);
        assert_eq!(scope("kernel/domainname"), Scope::Domainname);
    }
}
