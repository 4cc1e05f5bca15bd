//! From `linux.cgroupsPath` to a directory in each hierarchy.
#![forbid(unsafe_code)]

use super::layout::OwnCgroup;
use crate::report::Diagnostic;

/// The JSON path of the setting.
const SETTING: &str = "linux.cgroupsPath";

/// Whether the container's cgroup is relative to the caller's own, so that `/proc/self/cgroup` and the roots of the mounts
/// matter; a path that begins with `/` is relative to the mount points instead (runtime-spec, config-linux, Cgroups Path).
#[must_use]
pub fn is_relative(cgroups_path: Option<&str>) -> bool {
    !cgroups_path.is_some_and(|path| path.starts_with('/'))
}

/// Whether the configuration leaves the choice of the cgroup to the runtime.
#[must_use]
pub(super) fn is_default(cgroups_path: Option<&str>) -> bool {
    cgroups_path.is_none_or(str::is_empty)
}

/// Where the container's cgroup is, before a hierarchy is chosen: `cgroupsPath` cleaned, or the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inner {
    /// Components without empty ones, `.` and `..`.
    pub(super) components: Vec<String>,
    /// Below the caller's own cgroup instead of the mount point.
    pub(super) relative: bool,
}

/// Checks `cgroupsPath` and cleans it. Without one (or with an empty one) the cgroup is called like the container and is
/// relative to the caller's, as in runc.
///
/// # Errors
/// `..`, a NUL byte, a newline, an over-long component, the root itself, or systemd's `slice:prefix:name` form.
pub(super) fn compile_path(cgroups_path: Option<&str>, id: &str) -> Result<Inner, Diagnostic> {
    let (path, setting) = match cgroups_path.filter(|path| !path.is_empty()) {
        Some(path) => (path, SETTING),
        None => (id, "id"),
    };
    if !path.contains('/') && path.matches(':').count() == 2 {
        let message =
            format!("{path:?} has systemd's form slice:prefix:name, and the systemd cgroup driver is not in use");
        return Err(Diagnostic::error(setting, message).hint("pass --systemd-cgroup, or a path such as /parent/name"));
    }
    let mut components = Vec::new();
    for component in path.split('/') {
        if component.contains(['\0', '\n']) {
            return Err(Diagnostic::error(setting, format!("bad sub cgroup path: {path:?}: a NUL byte or a newline")));
        }
        match component {
            "" | "." => {}
            ".." => {
                let message = format!("bad sub cgroup path: {path:?}: `..` may lead out of the hierarchy");
                return Err(Diagnostic::error(setting, message).hint("write the path without `..`"));
            }
            long if long.len() > 255 => {
                return Err(Diagnostic::error(setting, "bad sub cgroup path: a name is longer than 255 bytes"));
            }
            name => components.push(name.to_owned()),
        }
    }
    if components.is_empty() {
        let message = format!("bad sub cgroup path: {path:?} is the root of the hierarchy");
        return Err(Diagnostic::error(setting, message).hint("name a cgroup of the container's own"));
    }
    Ok(Inner { components, relative: is_relative(cgroups_path.filter(|path| !path.is_empty())) })
}

/// The directory of `inner` below the mount point of a version 2 tree whose mount shows `root`.
///
/// Relative paths start beside the caller's cgroup, not in it: a version 2 cgroup with processes cannot hand controllers to
/// its children (runc does the same).
///
/// # Errors
/// When the caller's own cgroup is outside what the mount shows.
pub(super) fn compile_v2(inner: &Inner, own: &OwnCgroup, root: &str) -> Result<String, Diagnostic> {
    let own = own.unified.as_deref().unwrap_or("/");
    let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = if strip_root(own, root) == Some("") { own } else { parent };
    join(inner, parent, root)
}

/// The directory of `inner` below the mount point of the version 1 hierarchy of `controller`, whose mount shows `root`.
///
/// # Errors
/// When the caller's own cgroup is outside what the mount shows.
pub(super) fn compile_v1(inner: &Inner, own: &OwnCgroup, controller: &str, root: &str) -> Result<String, Diagnostic> {
    join(inner, own.v1.get(controller).map_or("/", String::as_str), root)
}

/// The directory of `inner` in the version 2 tree of a hybrid layout, which has no controllers to hand on: like version 1.
///
/// # Errors
/// When the caller's own cgroup is outside what the mount shows.
pub(super) fn compile_unified(inner: &Inner, own: &OwnCgroup, root: &str) -> Result<String, Diagnostic> {
    join(inner, own.unified.as_deref().unwrap_or("/"), root)
}

fn join(inner: &Inner, parent: &str, root: &str) -> Result<String, Diagnostic> {
    let tail = inner.components.join("/");
    if !inner.relative {
        return Ok(tail);
    }
    let outside = || {
        let message =
            format!("the caller's own cgroup {parent:?} is outside the mounted hierarchy, which shows {root:?}");
        Diagnostic::error(SETTING, message).hint("set linux.cgroupsPath to a path that begins with `/`")
    };
    let parent = strip_root(parent, root).ok_or_else(outside)?;
    if parent.split('/').any(|component| component == "..") {
        return Err(outside());
    }
    let parent = parent.trim_matches('/');
    Ok(if parent.is_empty() { tail } else { format!("{parent}/{tail}") })
}

/// `path` as seen from `root`: without its prefix; nothing when it is not below it.
fn strip_root<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let path = path.trim_end_matches('/');
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(unified: &str, memory: &str) -> OwnCgroup {
        OwnCgroup::parse(&format!("4:memory:{memory}\n0::{unified}\n"))
    }

    fn v2(path: Option<&str>, unified: &str) -> Result<String, String> {
        let inner = compile_path(path, "web").map_err(|found| found.to_string())?;
        compile_v2(&inner, &own(unified, "/"), "/").map_err(|found| found.to_string())
    }

    fn v1(path: Option<&str>, memory: &str, root: &str) -> Result<String, String> {
        let inner = compile_path(path, "web").map_err(|found| found.to_string())?;
        compile_v1(&inner, &own("/", memory), "memory", root).map_err(|found| found.to_string())
    }

    #[test]
    fn an_absolute_path_is_relative_to_the_mount() {
        assert_eq!(v2(Some("/default/web"), "/user.slice/session-1.scope").unwrap(), "default/web");
        assert_eq!(v1(Some("//kubepods/./pod1//web/"), "/docker/abc", "/docker/abc").unwrap(), "kubepods/pod1/web");
    }

    #[test]
    fn a_relative_path_starts_at_the_caller() {
        assert_eq!(v2(Some("a/b"), "/user.slice/session-1.scope").unwrap(), "user.slice/a/b");
        assert_eq!(v1(Some("a/b"), "/user.slice/session-1.scope", "/").unwrap(), "user.slice/session-1.scope/a/b");
    }

    #[test]
    fn without_a_path_the_id_is_the_name() {
        assert_eq!(v2(None, "/").unwrap(), "web");
        assert_eq!(v2(Some(""), "/init.scope").unwrap(), "web");
        assert_eq!(v1(None, "/session", "/").unwrap(), "session/web");
    }

    #[test]
    fn inside_a_container_the_root_of_the_mount_counts() {
        assert_eq!(v1(None, "/docker/abc", "/docker/abc").unwrap(), "web");
        assert_eq!(v1(None, "/docker/abc/x", "/docker/abc").unwrap(), "x/web");
        assert!(v1(None, "/docker/abcd", "/docker/abc").unwrap_err().contains("outside the mounted hierarchy"));
        assert!(v1(None, "/../other", "/").unwrap_err().contains("outside the mounted hierarchy"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["../x", "/a/../../b", "a/..", ".."] {
            assert!(v2(Some(path), "/").unwrap_err().contains("bad sub cgroup path"), "{path}");
        }
        for path in ["/", "//", "/.", "."] {
            assert!(v2(Some(path), "/").unwrap_err().contains("is the root"), "{path}");
        }
        assert!(v2(Some("/a\nb"), "/").unwrap_err().contains("newline"));
        assert!(v2(Some(&format!("/{}", "a".repeat(256))), "/").unwrap_err().contains("longer than 255"));
    }

    #[test]
    fn the_form_of_systemd_needs_its_driver() {
        assert!(v2(Some("system.slice:pent:web"), "/").unwrap_err().contains("slice:prefix:name"));
    }
}
