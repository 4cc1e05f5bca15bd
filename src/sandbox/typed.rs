//! Whether a path that was typed leads where it says.
//!
//! What an earlier run could write, it could make a link of: `rmdir build; ln -s ~/.ssh build` is to make a later `--rw
//! build` a grant of keys. So a link is followed freely only where no earlier run can have put it; any other only as
//! long as it stays below the directory that it is in, and never into what is hidden. Pure: [`crate::walk`] goes the
//! way and remembers it.
#![forbid(unsafe_code)]

use super::Refusal;
use super::hidden::Hidden;
use super::surroundings::PRIVATE;
use crate::plan::op::Identity;
use crate::spelling::shown;
use crate::walk::{Link, Walked};
use std::path::{Path, PathBuf};

/// Which flag a path was typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `--ro`.
    Read,
    /// `--rw`.
    Write,
    /// `--image DIR`.
    Image,
    /// `--image FILE`: read by pent, and what is in it shown.
    Archive,
    /// A place inside: `--tmpfs`, `--workdir`, what follows the colon of a grant.
    Target,
}

/// What paths are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// What is hidden, under every name.
    pub hidden: &'a [Hidden],
    /// The homes of people, the caller's own with them.
    pub homes: &'a [PathBuf],
    /// The caller is root, whose programs are shown root's files where a flag says so.
    pub is_root: bool,
}

/// Judges the links of a path.
///
/// # Errors
/// The first link that leads where it may not.
pub fn judge(flag: &str, purpose: Purpose, walked: &Walked, ground: Ground<'_>) -> Result<(), Refusal> {
    for link in walked.links.iter().filter(|link| !link.of_system) {
        if let Some(why) = forbidden(link, purpose, ground) {
            return Err(refusal(flag, link, &why, walked, ground));
        }
    }
    Ok(())
}

/// Why a link is not followed.
fn forbidden(link: &Link, purpose: Purpose, ground: Ground<'_>) -> Option<String> {
    let to = &link.to;
    if let Some(hidden) = ground.hidden.iter().find(|hidden| to.starts_with(&hidden.path)) {
        return Some(format!("{} is hidden", shown(&hidden.path)));
    }
    if ground.homes.iter().any(|home| home.starts_with(to)) {
        return Some("that is a home, or above one".to_owned());
    }
    if link.at.parent().is_some_and(|directory| to.starts_with(directory)) {
        return None;
    }
    let reads = matches!(purpose, Purpose::Read | Purpose::Archive);
    if !reads || ground.is_root {
        return Some("an earlier run could have put the link there".to_owned());
    }
    if let Some(hidden) = ground.hidden.iter().find(|hidden| hidden.path.starts_with(to)) {
        return Some(format!("{} in it is hidden", shown(&hidden.path)));
    }
    let private = PRIVATE.iter().any(|place| to.starts_with(place) || Path::new(place).starts_with(to));
    private.then(|| "every sandbox has that for itself".to_owned())
}

fn refusal(flag: &str, link: &Link, why: &str, walked: &Walked, ground: Ground<'_>) -> Refusal {
    let message = format!("{flag}: cannot follow the link {} to {}: {why}", shown(&link.at), shown(&link.to));
    // What was meant is at the end of all links. A hidden thing is not advised to anybody who did not name it.
    let hint = match hides(&walked.path, ground) {
        Some(_) => "what it leads to is hidden because it holds credentials or is private: remove the link".to_owned(),
        None => format!("if it is meant, name the place itself: {flag} {}", shown(&walked.path)),
    };
    Refusal { message, hint }
}

/// What hides a path, or is hidden at it.
fn hides<'g>(path: &Path, ground: Ground<'g>) -> Option<&'g Hidden> {
    ground.hidden.iter().find(|hidden| path.starts_with(&hidden.path))
}

/// Judges a directory that is to be a sandbox's whole root: there, nothing is the host's.
///
/// # Errors
/// The host's own root, a home, what is above one, and what is hidden.
pub fn judge_image(path: &Path, identity: Identity, root: Identity, ground: Ground<'_>) -> Result<(), Refusal> {
    let refused = |why: &str, hint: &str| {
        Err(Refusal { message: format!("--image {}: {why}", shown(path)), hint: hint.to_owned() })
    };
    let hint = "leave --image out to run on the host's files, or name a directory that holds an image only";
    if path.parent().is_none() || identity == root {
        return refused("it is the host's own root, and nothing would be hidden", hint);
    }
    if let Some(hidden) = hides(path, ground) {
        let why = format!("{} is hidden because it holds credentials or is private", shown(&hidden.path));
        return refused(&why, "name a directory that holds an image only");
    }
    if ground.homes.iter().any(|home| home.starts_with(path)) {
        return refused("it is a home, or above one", hint);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "/home/ann";

    fn hidden() -> Vec<Hidden> {
        [
            ("/home/ann/.ssh", true),
            ("/home/ann/project/.env", false),
            ("/etc/ssl/private", true),
            ("/etc/shadow", false),
        ]
        .map(|(path, directory)| Hidden { path: path.into(), directory })
        .into()
    }

    fn judged(purpose: Purpose, is_root: bool, at: &str, to: &str) -> Result<(), Refusal> {
        let homes = [PathBuf::from(HOME), PathBuf::from("/root")];
        let hidden = hidden();
        let link = Link { at: at.into(), to: to.into(), of_system: false };
        let walked = Walked { path: to.into(), links: vec![link], found: None };
        judge("--flag", purpose, &walked, Ground { hidden: &hidden, homes: &homes, is_root })
    }

    const ALL: [Purpose; 5] = [Purpose::Read, Purpose::Write, Purpose::Image, Purpose::Archive, Purpose::Target];

    #[test]
    fn no_link_leads_into_what_is_hidden_or_to_a_home() {
        for purpose in ALL {
            for is_root in [false, true] {
                for to in [
                    "/home/ann/.ssh",
                    "/home/ann/.ssh/id_rsa",
                    "/etc/shadow",
                    "/home/ann/project/.env",
                    HOME,
                    "/home",
                    "/",
                    "/root",
                ] {
                    judged(purpose, is_root, "/home/ann/project/build", to).expect_err(to);
                }
            }
        }
    }

    #[test]
    fn a_link_stays_below_its_directory() {
        for purpose in ALL {
            judged(purpose, true, "/srv/app/current", "/srv/app/releases/1").expect("below");
            judged(purpose, false, "/srv/app/current", "/srv/app").expect("the directory itself");
        }
        for to in ["/srv/other", "/srv", "/opt/data"] {
            for purpose in [Purpose::Write, Purpose::Image, Purpose::Target] {
                judged(purpose, false, "/srv/app/current", to).expect_err(to);
            }
            for purpose in [Purpose::Read, Purpose::Archive] {
                judged(purpose, true, "/srv/app/current", to).expect_err(to);
                judged(purpose, false, "/srv/app/current", to).expect("a user's to read");
            }
        }
    }

    #[test]
    fn reading_leads_neither_above_what_is_hidden_nor_into_private_places() {
        for to in ["/etc", "/etc/ssl", "/run/user/1000", "/tmp/x", "/dev", "/var", "/sys/class"] {
            judged(Purpose::Read, false, "/srv/app/data", to).expect_err(to);
        }
    }

    #[test]
    fn the_hint_names_the_place_but_nothing_hidden() {
        let elsewhere = judged(Purpose::Write, false, "/srv/app/out", "/opt/data").expect_err("elsewhere");
        assert_eq!(
            elsewhere.message,
            "--flag: cannot follow the link /srv/app/out to /opt/data: an earlier run could have put the link there"
        );
        assert_eq!(elsewhere.hint, "if it is meant, name the place itself: --flag /opt/data");
        let keys = judged(Purpose::Write, false, "/srv/app/out", "/home/ann/.ssh").expect_err("keys");
        assert!(keys.message.contains("/home/ann/.ssh is hidden") && !keys.hint.contains(".ssh"), "{keys:?}");
    }

    #[test]
    fn an_image_is_nothing_of_the_host() {
        let (hidden, homes) = (hidden(), [PathBuf::from(HOME)]);
        let ground = Ground { hidden: &hidden, homes: &homes, is_root: false };
        let (root, other) = (Identity { device: 1, inode: 2 }, Identity { device: 1, inode: 3 });
        for (path, identity) in
            [("/", root), ("/mnt/again", root), (HOME, other), ("/home", other), ("/home/ann/.ssh/x", other)]
        {
            judge_image(Path::new(path), identity, root, ground).expect_err(path);
        }
        judge_image(Path::new("/home/ann/rootfs"), other, root, ground).expect("an image");
        judge_image(Path::new("/srv"), other, root, ground).expect("an image");
    }
}
