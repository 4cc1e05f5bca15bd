//! The administrator's choice of profiles: /etc/pent/config.toml.
//!
//! A container's creator never loosens it: an annotation chooses among what the file allows, or tightens further.
#![forbid(unsafe_code)]

use super::source::{Error, Text, is_absent, read_toml};
use super::values::Absolute;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the file is.
pub const CONFIG: &str = "/etc/pent/config.toml";

/// The annotation of config.json by which a container chooses its profile.
pub const ANNOTATION: &str = "run.pent.profile";

/// The name of no profile.
pub const NONE: &str = "none";

/// The file; all of it optional, as is the file itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    version: u32,
    #[serde(default)]
    profile: Choice,
}

/// `[profile]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// For every container; `none` is what there is without the key.
    #[serde(default)]
    default: Option<String>,
    /// In the place of the default for containers whose state is in this directory (`--root`) or below it.
    #[serde(default)]
    roots: BTreeMap<Absolute, String>,
    /// What the annotation may choose in the place of these two. Any other profile it names is applied beside them.
    #[serde(default)]
    choices: Vec<String>,
}

/// Why no profile could be chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A creator must not name files of the host.
    #[error("annotation {ANNOTATION}: {name:?} is a path, and only names of profiles can be chosen")]
    Path {
        /// What it says.
        name: String,
    },
    /// `none`, where the administrator wants a profile.
    #[error(
        "annotation {ANNOTATION}: {name:?} is asked for in the place of {instead:?}, and {CONFIG} does not allow that"
    )]
    Looser {
        /// What it says.
        name: String,
        /// What applies.
        instead: String,
    },
}

impl crate::report::Hint for Refused {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Path { .. } => "name a profile, or let the caller of pent pass --profile".into(),
            Self::Looser { name, .. } => format!("leave the annotation out, or add {name:?} to profile.choices"),
        })
    }
}

impl Config {
    /// Reads [`CONFIG`]; without the file there is nothing in it.
    ///
    /// # Errors
    /// See [`Error`]; also when others than root could change the file.
    pub fn load() -> Result<Self, Error> {
        match Text::open(Path::new(CONFIG), true) {
            Ok(text) => Self::parse(CONFIG, &text.text),
            Err(Error::Read { .. }) if is_absent(Path::new(CONFIG)) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// With the directories of `roots` as `real` has them, for a root that is given likewise: links and other spellings lead round
    /// no rule. Of two that are one, the one without links counts.
    #[must_use]
    pub fn led_by(mut self, real: impl Fn(&Path) -> PathBuf) -> Self {
        for (path, name) in self.profile.roots.clone() {
            if let Some(led) = real(path.path()).to_str().and_then(|led| led.parse::<Absolute>().ok()) {
                self.profile.roots.entry(led).or_insert(name);
            }
        }
        self
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Version`].
    pub fn parse(origin: &str, text: &str) -> Result<Self, Error> {
        let config: Self = read_toml(origin, text)?;
        if config.version != super::VERSION {
            return Err(Error::Version { origin: origin.to_owned(), version: config.version });
        }
        Ok(config)
    }

    /// The profiles of a container, in the order in which they are applied: each tightens further.
    ///
    /// `asked` is the caller's own choice (`--profile`, `pent-NAME`), which stands in the place of the file's; `root` is the directory
    /// of the containers' states, `annotation` what the configuration says.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn choose(&self, asked: Option<&str>, root: &Path, annotation: Option<&str>) -> Result<Vec<String>, Refused> {
        let by_root = self.profile.roots.iter().filter(|(path, _)| path.contains(root));
        let by_root = by_root.max_by_key(|(path, _)| path.path().as_os_str().len()).map(|(_, name)| name.as_str());
        let own = by_root.or(self.profile.default.as_deref());
        let given = asked.or(own).filter(|name| *name != NONE);
        let mut chosen: Vec<String> = given.map(str::to_owned).into_iter().collect();
        if let Some(name) = annotation.filter(|name| !name.is_empty()) {
            if name.contains('/') {
                return Err(Refused::Path { name: name.to_owned() });
            }
            // What the caller of pent chose is not the file's to give away.
            if asked.is_none() && self.profile.choices.iter().any(|choice| choice == name) {
                chosen.clear();
            } else if name == NONE
                && let Some(instead) = given
            {
                return Err(Refused::Looser { name: name.to_owned(), instead: instead.to_owned() });
            }
            if name != NONE && !chosen.iter().any(|known| known == name) {
                chosen.push(name.to_owned());
            }
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        version = 1
        [profile]
        default = "restricted"
        choices = ["python", "baseline"]
        [profile.roots]
        "/run/containerd" = "baseline"
        "/run/containerd/runc/moby" = "none"
    "#;

    fn choose(asked: Option<&str>, root: &str, annotation: Option<&str>) -> Result<Vec<String>, Refused> {
        Config::parse("file", FILE).expect("a configuration").choose(asked, Path::new(root), annotation)
    }

    #[test]
    fn the_longest_root_counts_and_the_caller_comes_first() {
        assert_eq!(choose(None, "/run/pent", None).expect("chosen"), ["restricted"]);
        assert_eq!(choose(None, "/run/containerd/runc/k8s.io", None).expect("chosen"), ["baseline"]);
        assert_eq!(choose(None, "/run/containerd-other", None).expect("chosen"), ["restricted"]);
        assert!(choose(None, "/run/containerd/runc/moby", None).expect("chosen").is_empty());
        assert_eq!(choose(Some("build"), "/run/containerd/runc/moby", None).expect("chosen"), ["build"]);
        assert!(choose(Some("none"), "/run/pent", None).expect("chosen").is_empty());
    }

    #[test]
    fn an_annotation_chooses_what_the_file_allows_and_else_only_tightens() {
        assert_eq!(choose(None, "/run/pent", Some("python")).expect("chosen"), ["python"]);
        assert_eq!(choose(None, "/run/pent", Some("build")).expect("chosen"), ["restricted", "build"]);
        assert_eq!(choose(None, "/run/pent", Some("restricted")).expect("chosen"), ["restricted"]);
        assert_eq!(
            choose(Some("restricted"), "/run/pent", Some("baseline")).expect("chosen"),
            ["restricted", "baseline"]
        );
        assert!(matches!(choose(None, "/run/pent", Some("none")), Err(Refused::Looser { .. })));
        assert!(matches!(choose(None, "/run/pent", Some("/tmp/mine.toml")), Err(Refused::Path { .. })));
        assert!(choose(None, "/run/containerd/runc/moby", Some("none")).expect("chosen").is_empty());
        let without = Config::default();
        assert!(without.choose(None, Path::new("/run/pent"), None).expect("chosen").is_empty());
        assert_eq!(without.choose(None, Path::new("/run/pent"), Some("build")).expect("chosen"), ["build"]);
    }

    #[test]
    fn a_root_by_another_spelling_is_the_same() {
        let real = |path: &Path| match path.strip_prefix("/run") {
            Ok(below) => Path::new("/mnt/run").join(below),
            Err(_) => path.to_owned(),
        };
        let led = Config::parse("file", FILE).expect("a configuration").led_by(real);
        let choose = |root: &str| led.choose(None, &real(Path::new(root)), None).expect("chosen");
        assert_eq!(choose("/run/containerd/runc/k8s.io"), ["baseline"]);
        assert_eq!(choose("/mnt/run/containerd/runc/k8s.io"), ["baseline"]);
        assert!(choose("/mnt/run/containerd/runc/moby").is_empty());
    }

    #[test]
    fn mistakes_are_named_with_key_and_line() {
        let said = |text: &str| Config::parse("/etc/pent/config.toml", text).expect_err(text).to_string();
        insta::assert_snapshot!(
            [
                said("version = 1\n[profile]\ndefalt = \"restricted\"\n"),
                said("version = 1\n[profile.roots]\nrun = \"restricted\"\n"),
                said("version = 2\n"),
                said("[profile]\n"),
            ]
            .join("\n")
        );
    }
}
