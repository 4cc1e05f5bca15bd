//! What runs later: names that editors, shells, agents, version control and package managers take commands from by
//! themselves, as soon as somebody opens, enters or looks at the directory they are in.
//!
//! Not here is what somebody starts on purpose: files of builds ([`is_of_a_build`]), which are listed when they
//! changed.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;

/// At any depth of a tree. Where there are several parts, the last one is meant, wherever it is in directories so
/// named.
const ANYWHERE: &[&str] = &[
    // Editors.
    ".vscode",
    ".vscode-insiders",
    ".vscode-oss",
    ".vs",
    ".idea",
    ".run",
    ".fleet",
    ".zed",
    ".nova",
    ".theia",
    ".helix",
    ".kakrc",
    ".kak",
    ".vim",
    ".vimrc",
    ".gvimrc",
    "_vimrc",
    ".lvimrc",
    ".local.vimrc",
    ".exrc",
    ".nexrc",
    ".nvim",
    ".nvimrc",
    ".nvim.lua",
    ".neoconf.json",
    ".nlsp-settings",
    ".luarc.json",
    ".luarc.jsonc",
    ".emacs",
    ".emacs.d",
    ".dir-locals.el",
    ".dir-locals-2.el",
    ".projectile",
    ".ycm_extra_conf.py",
    ".devcontainer",
    ".devcontainer.json",
    ".gitpod.yml",
    ".bsp",
    "buildserver.json",
    ".sourcekit-lsp",
    ".externaltoolbuilders",
    ".idx",
    ".codesandbox",
    // Agents.
    ".claude",
    ".claude.json",
    ".claude-plugin",
    ".mcp.json",
    ".mcp",
    ".cursor",
    ".codex",
    ".gemini",
    ".qwen",
    ".windsurf",
    ".codeium",
    ".continue",
    ".continuerc.json",
    ".cline",
    ".clinerules",
    ".roo",
    ".roomodes",
    ".kilocode",
    ".kilocodemodes",
    ".kiro",
    ".amazonq",
    ".aws/amazonq",
    ".junie",
    ".opencode",
    "opencode.json",
    "opencode.jsonc",
    ".crush",
    ".crush.json",
    "crush.json",
    ".goose",
    ".aider*",
    ".augment",
    ".trae",
    ".factory",
    ".amp",
    ".agent",
    ".agents",
    ".antigravity",
    ".copilot",
    ".github/hooks",
    ".github/copilot",
    ".openhands",
    ".pi",
    ".void",
    ".zencoder",
    ".codebuddy",
    ".qoder",
    ".lingma",
    ".comate",
    ".marscode",
    ".cody",
    ".jules",
    ".devin",
    ".plandex",
    ".tabnine",
    // Directories that a shell prepares on entering.
    ".envrc*",
    ".direnv",
    ".autoenv",
    ".autoenv.zsh",
    ".autoenv_leave.zsh",
    ".shadowenv.d",
    ".bash_enter",
    ".bash_leave",
    ".mise",
    ".mise.toml",
    ".mise.local.toml",
    ".mise.*",
    "mise.toml",
    "mise.local.toml",
    ".mise/config.toml",
    ".config/mise",
    ".config/mise.toml",
    "mise/config.toml",
    "mise/conf.d",
    ".rtx.toml",
    // Version control.
    ".husky",
    ".githooks",
    ".git-hooks",
    ".lazygit.yml",
    ".gitconfig",
    ".config/git",
    ".hgrc",
    ".hg/hgrc",
    ".hg/hgrc-not-shared",
    ".hg/sharedpath",
    ".sl/config",
    ".jj/repo/config.toml",
    ".jj/workspace-config.toml",
    ".jj/config.toml",
    ".bzr/branch/branch.conf",
    ".bzr/branch/location",
    ".bazaar",
    ".pijul/config",
    // Package managers.
    ".cargo/config",
    ".cargo/config.toml",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".yarn/releases",
    ".yarn/plugins",
    ".yarn/sdks",
    ".pnpmfile.cjs",
    ".pnpmfile.mjs",
    ".pnpmfile.js",
    ".bundle/config",
    ".bazelrc",
    ".bazeliskrc",
    ".mvn/jvm.config",
    ".mvn/maven.config",
    ".mvn/extensions.xml",
    ".mvn/settings.xml",
    ".mvn/maven-user.properties",
    ".mvn/maven-project.properties",
    ".m2/settings.xml",
    ".gradle/init.d",
    ".gradle/init.gradle",
    ".gradle/init.gradle.kts",
    ".buildkite/hooks",
    ".pip/pip.conf",
    ".config/pip",
    // Tools that read a file of the directory they are started in.
    ".gdbinit",
    ".gdbearlyinit",
    ".lldbinit",
    ".pdbrc",
    ".pdbrc.py",
    ".pythonrc",
    ".pythonrc.py",
    ".pythonstartup",
    ".rprofile",
    ".renviron",
    ".rdata",
    ".radian_profile",
    ".irbrc",
    ".pryrc",
    ".byebugrc",
    ".rdbgrc",
    ".perldb",
    ".jdbrc",
    "jdb.ini",
    ".ghci",
    ".ocamlinit",
    ".ocamldebug",
    ".utoprc",
    ".octaverc",
    ".scilab",
    ".iex.exs",
    ".erlang",
    ".gforthrc",
    ".lintr",
    ".chef",
    "jupyter_config.py",
    "jupyter_config.json",
    "jupyter_server_config.py",
    "jupyter_server_config.json",
    "jupyter_server_config.d",
    "jupyter_notebook_config.py",
    "jupyter_notebook_config.json",
    "jupyter_notebook_config.d",
    "jupyter_lab_config.py",
    "jupyter_lab_config.json",
    "ipython_config.py",
    "ipython_config.json",
    "profile_default",
    ".rspec",
    ".guardfile",
    ".sqliterc",
    ".psqlrc",
    ".my.cnf",
    ".ripgreprc",
    ".ackrc",
    ".wgetrc",
    ".curlrc",
    ".inputrc",
    ".screenrc",
    ".tmux.conf",
    ".tmuxinator",
    ".tmuxp",
    ".ctags",
    ".ctags.d",
    ".terraformrc",
    ".ssh",
    ".rhosts",
    ".shosts",
    ".forward",
    ".procmailrc",
    ".mailcap",
    ".lessfilter",
    ".lesskey",
    // Shells, sessions and desktops.
    ".profile",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".bash_completion",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".zcompdump",
    ".oh-my-zsh",
    ".oh-my-bash",
    ".kshrc",
    ".mkshrc",
    ".shrc",
    ".cshrc",
    ".tcshrc",
    ".login",
    ".logout",
    ".xonshrc",
    ".xinitrc",
    ".xserverrc",
    ".xprofile",
    ".xsession",
    ".xsessionrc",
    ".xresources",
    ".pam_environment",
    ".config/autostart",
    ".config/autostart-scripts",
    ".config/plasma-workspace",
    ".config/systemd",
    ".config/environment.d",
    ".config/fish",
    ".config/nushell",
    ".config/elvish",
    ".config/powershell",
    ".config/zsh",
    ".config/bash",
    ".config/nvim",
    ".config/vim",
    ".config/emacs",
    ".config/helix",
    ".config/kak",
    ".config/zed",
    ".config/code",
    ".config/vscodium",
    ".config/cursor",
    ".config/jj",
    ".config/hg",
    ".config/tmux",
    ".config/direnv",
    ".config/gdb",
    ".config/ripgrep",
    ".config/gtk-3.0",
    ".config/i3",
    ".config/sway",
    ".config/hypr",
    ".config/awesome",
    ".config/openbox",
    ".local/share/applications",
    ".local/share/dbus-1",
    ".local/share/systemd",
    ".local/share/bash-completion",
    ".local/share/fish",
    ".local/share/nvim/site",
    ".local/bin",
];

/// Files that builds, tests and deployments run or read anyway when somebody starts them, and what people and agents
/// are told to do.
const OF_BUILDS: &[&str] = &[
    "makefile",
    "gnumakefile",
    "bsdmakefile",
    "cmakelists.txt",
    "cmakepresets.json",
    "cmakeuserpresets.json",
    "configure",
    "configure.ac",
    "configure.in",
    "autogen.sh",
    "bootstrap.sh",
    "meson.build",
    "meson_options.txt",
    "meson.options",
    "sconstruct",
    "sconscript",
    "wscript",
    "waf",
    "build.ninja",
    "build",
    "build.bazel",
    "workspace",
    "workspace.bazel",
    "module.bazel",
    "buck",
    ".buckconfig",
    ".buckconfig.local",
    ".latexmkrc",
    "latexmkrc",
    "ansible.cfg",
    "directory.build.props",
    "directory.build.targets",
    "directory.build.rsp",
    "nuget.config",
    "global.json",
    "activate",
    "justfile",
    ".justfile",
    "taskfile.yml",
    "taskfile.yaml",
    "earthfile",
    "tiltfile",
    "dockerfile",
    "containerfile",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.hcl",
    "vagrantfile",
    "jenkinsfile",
    "procfile",
    "package.json",
    "pnpm-workspace.yaml",
    "lerna.json",
    "nx.json",
    "turbo.json",
    "bunfig.toml",
    "deno.json",
    "deno.jsonc",
    "gruntfile.js",
    "gulpfile.js",
    "gulpfile.mjs",
    "tsconfig.json",
    "binding.gyp",
    "cargo.toml",
    "build.rs",
    "rust-toolchain",
    "rust-toolchain.toml",
    "clippy.toml",
    "go.mod",
    "go.work",
    "magefile.go",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "conftest.py",
    "tox.ini",
    "noxfile.py",
    "pytest.ini",
    "manage.py",
    "tasks.py",
    "fabfile.py",
    "sitecustomize.py",
    "usercustomize.py",
    "requirements.txt",
    "pipfile",
    "rakefile",
    "gemfile",
    "guardfile",
    "fastfile",
    "podfile",
    "brewfile",
    "dangerfile",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
    "gradle.properties",
    "gradlew",
    "gradlew.bat",
    "gradle-wrapper.jar",
    "gradle-wrapper.properties",
    "maven-wrapper.jar",
    "maven-wrapper.properties",
    "pom.xml",
    "mvnw",
    "mvnw.cmd",
    "build.xml",
    "build.sbt",
    "build.sc",
    "build.mill",
    "plugins.sbt",
    ".jvmopts",
    ".sbtopts",
    "project.clj",
    "deps.edn",
    "mix.exs",
    "rebar.config",
    "dune-project",
    "stack.yaml",
    "cabal.project",
    "setup.hs",
    "package.swift",
    "project.toml",
    "composer.json",
    "flake.nix",
    "default.nix",
    "shell.nix",
    "devenv.nix",
    "devbox.json",
    "build.zig",
    "build.zig.zon",
    "makefile.pl",
    "build.pl",
    "cpanfile",
    "makefile.am",
    "makefile.in",
    ".gitlab-ci.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    ".drone.yml",
    ".woodpecker.yml",
    ".pre-commit-config.yaml",
    ".pre-commit-hooks.yaml",
    "lefthook.yml",
    "lefthook.yaml",
    ".lefthook.yml",
    "lefthook-local.yml",
    "lefthook.toml",
    "lefthook.json",
    ".lefthook.toml",
    ".lefthook.json",
    "captainhook.json",
    "grumphp.yml",
    "grumphp.yml.dist",
    ".overcommit.yml",
    ".lintstagedrc",
    ".simple-git-hooks.json",
    ".pnp.cjs",
    ".pnp.loader.mjs",
    ".env",
    ".env.local",
    ".user.ini",
    ".htaccess",
    ".clangd",
    "compile_commands.json",
    ".pylintrc",
    "pylintrc",
    ".luacheckrc",
    ".formatter.exs",
    ".credo.exs",
    ".gitattributes",
    ".lfsconfig",
    "claude.md",
    "claude.local.md",
    "agents.md",
    "agents.override.md",
    "gemini.md",
    "conventions.md",
    ".cursorrules",
    ".windsurfrules",
    ".goosehints",
    "copilot-instructions.md",
    "warp.md",
    ".rules",
];

/// Ends of names of such files.
const ENDS_OF_BUILDS: &[&str] = &[
    ".mk",
    ".mak",
    ".cmake",
    ".gemspec",
    ".bzl",
    ".pth",
    ".gradle",
    ".config.js",
    ".config.cjs",
    ".config.mjs",
    ".config.ts",
    ".config.mts",
    ".code-workspace",
    ".sublime-project",
    ".csproj",
    ".fsproj",
    ".vbproj",
    ".vcxproj",
    ".desktop",
    ".service",
    "rc.js",
    "rc.cjs",
    "rc.mjs",
];

/// What a part of a home is for.
#[derive(Debug, Clone, Copy)]
enum Use {
    /// What programs keep there runs nothing.
    Data,
    /// It is read at the next login, or run.
    Code,
    /// Some of it.
    Part(&'static Part),
}

/// A directory of a home.
#[derive(Debug)]
pub(super) struct Part {
    /// What is not named is code; at the home itself, where its name begins with a dot.
    others: bool,
    named: &'static [(&'static str, Use)],
}

/// A home: whatever begins with a dot belongs to some program, and most of these have settings that start others.
static HOME: Part = Part {
    others: true,
    named: &[
        (".cache", Use::Data),
        (".npm", Use::Data),
        (".pnpm-store", Use::Data),
        (".ccache", Use::Data),
        (".java", Use::Data),
        (".nv", Use::Data),
        (".local", Use::Part(&LOCAL)),
        (".cargo", Use::Part(&Part { others: true, named: CARGO })),
        (".m2", Use::Part(&Part { others: true, named: &[("repository", Use::Data), ("wrapper", Use::Code)] })),
        (".gradle", Use::Part(&Part { others: true, named: &[("caches", Use::Data), ("daemon", Use::Data)] })),
        (".nuget", Use::Part(&Part { others: true, named: &[("packages", Use::Data)] })),
        (".ivy2", Use::Part(&Part { others: true, named: &[("cache", Use::Data), ("local", Use::Data)] })),
        (".bash_history", Use::Data),
        (".zsh_history", Use::Data),
        (".histfile", Use::Data),
        (".python_history", Use::Data),
        (".node_repl_history", Use::Data),
        (".sqlite_history", Use::Data),
        (".psql_history", Use::Data),
        (".mysql_history", Use::Data),
        (".lesshst", Use::Data),
        (".viminfo", Use::Data),
        (".wget-hsts", Use::Data),
        (".sudo_as_admin_successful", Use::Data),
        ("bin", Use::Code),
        ("go", Use::Part(&Part { others: false, named: &[("bin", Use::Code)] })),
    ],
};

const CARGO: &[(&str, Use)] = &[
    ("registry", Use::Data),
    ("git", Use::Data),
    (".package-cache", Use::Data),
    (".package-cache-mutate", Use::Data),
    (".global-cache", Use::Data),
];

static LOCAL: Part = Part {
    others: true,
    named: &[
        ("state", Use::Data),
        (
            "share",
            Use::Part(&Part {
                others: false,
                named: &[
                    ("applications", Use::Code),
                    ("bash-completion", Use::Code),
                    ("dbus-1", Use::Code),
                    ("fish", Use::Code),
                    ("gnome-shell", Use::Code),
                    ("jupyter", Use::Code),
                    ("kio", Use::Code),
                    ("kservices5", Use::Code),
                    ("kservices6", Use::Code),
                    ("nautilus", Use::Code),
                    ("nautilus-python", Use::Code),
                    ("nemo", Use::Code),
                    ("nvim", Use::Code),
                    ("pipx", Use::Code),
                    ("plasma", Use::Code),
                    ("pnpm", Use::Code),
                    ("systemd", Use::Code),
                    ("uv", Use::Code),
                    ("zsh", Use::Code),
                ],
            }),
        ),
    ],
};

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It runs, or names what runs.
    Code,
    /// `.git`: a directory with its own rules, a file or a link that leads to one.
    Git,
    /// `.gitmodules`: judged by its keys; a part of the tree that git changes.
    Gitmodules,
    /// Settings of Mercurial and its kin, which a clone writes: judged by what they say.
    Hgrc,
    /// Code unless it is a directory: `.jj/repo`, which as a file leads elsewhere.
    Leads,
    /// A directory of code and other things: code as a link, which leads to one that has another name.
    Above,
}

/// A part of the names: what is below a directory of a certain name.
#[derive(Debug, Default)]
pub(super) struct Node {
    class: Option<Class>,
    below: HashMap<&'static [u8], Node>,
    /// Of names that begin like these.
    beginnings: Vec<&'static [u8]>,
}

impl Node {
    fn add(&mut self, path: &'static str, class: Class) {
        let mut node = self;
        for part in path.split('/') {
            if let Some(beginning) = part.strip_suffix('*') {
                node.beginnings.push(beginning.as_bytes());
                return;
            }
            node = node.below.entry(part.as_bytes()).or_default();
        }
        node.class = Some(class);
    }

    fn class_of(&self, folded: &[u8]) -> Option<Class> {
        let node = self.below.get(folded);
        let above = |node: &Node| (!node.below.is_empty()).then_some(Class::Above);
        let by_name = node.and_then(|node| node.class.or_else(|| above(node)));
        let begins = || self.beginnings.iter().any(|beginning| folded.starts_with(beginning));
        by_name.or_else(|| begins().then_some(Class::Code))
    }
}

/// All names.
#[derive(Debug)]
pub(super) struct Names {
    root: Node,
}

/// Where in the names a directory is.
#[derive(Debug, Clone, Default)]
pub(super) struct Place<'n> {
    nodes: Vec<&'n Node>,
    home: Option<&'static Part>,
    is_home: bool,
}

impl Place<'_> {
    /// Where names mean nothing.
    pub(super) const NOWHERE: Self = Self { nodes: Vec::new(), home: None, is_home: false };

    /// That of a home directory.
    pub(super) fn at_home(mut self) -> Self {
        self.home = Some(&HOME);
        self.is_home = true;
        self
    }
}

impl Names {
    pub(super) fn new() -> Self {
        let mut root = Node::default();
        for path in ANYWHERE {
            root.add(path, Class::Code);
        }
        for (path, class) in [
            (".git", Class::Git),
            (".gitmodules", Class::Gitmodules),
            (".hg/hgrc", Class::Hgrc),
            (".hg/hgrc-not-shared", Class::Hgrc),
            (".sl/config", Class::Hgrc),
            (".jj/repo", Class::Leads),
        ] {
            root.add(path, class);
        }
        Self { root }
    }

    /// What a name in a directory is.
    pub(super) fn class(&self, place: &Place<'_>, name: &[u8]) -> Option<Class> {
        let folded = fold(name);
        let of_home = || match of_part(place.home?, &folded) {
            Some(Use::Code) => Some(Class::Code),
            Some(Use::Part(_)) => Some(Class::Above),
            Some(Use::Data) => None,
            None => (place.home?.others && (!place.is_home || folded.starts_with(b"."))).then_some(Class::Code),
        };
        let all = [self.root.class_of(&folded), of_home()];
        let below = place.nodes.iter().map(|node| node.class_of(&folded));
        // What is code in one way is no less so because it may have other things in it in another.
        all.into_iter().chain(below).flatten().min_by_key(|class| *class == Class::Above)
    }

    /// Where a directory of this name is.
    pub(super) fn below<'n>(&'n self, place: &Place<'n>, name: &[u8]) -> Place<'n> {
        let folded = fold(name);
        let mut nodes = Vec::new();
        for node in std::iter::once(&self.root).chain(place.nodes.iter().copied()) {
            nodes.extend(node.below.get(folded.as_ref()).filter(|node| !node.below.is_empty()));
        }
        let home = place.home.and_then(|part| match of_part(part, &folded) {
            Some(Use::Part(part)) => Some(part),
            _ => None,
        });
        Place { nodes, home, is_home: false }
    }

    /// Whether something of this name could be kept: the last parts of a path.
    pub(super) fn knows(&self, parts: &[Vec<u8>]) -> bool {
        let in_git = |parts: &[Vec<u8>]| parts.iter().any(|part| fold(part).as_ref() == b".git");
        let mut place = Place::default();
        for part in parts {
            let is_code = |class: Option<Class>| class.is_some_and(|class| class != Class::Above);
            if is_code(self.class(&place, part)) || is_code(self.class(&place.clone().at_home(), part)) {
                return true;
            }
            place = self.below(&place, part);
        }
        let of_git = ["hooks", "config", "config.worktree", "commondir", "gitdir"];
        in_git(parts) || parts.last().is_some_and(|last| of_git.iter().any(|name| name.as_bytes() == last))
    }
}

fn of_part(part: &'static Part, folded: &[u8]) -> Option<Use> {
    part.named.iter().find(|(name, _)| name.as_bytes() == folded).map(|(_, what)| *what)
}

/// Whether builds, tests or people read or run a file of this name, in this directory.
pub(super) fn is_of_a_build(parent: &[u8], name: &[u8]) -> bool {
    let folded = fold(name);
    let text = folded.as_ref();
    OF_BUILDS.iter().any(|known| known.as_bytes() == text)
        || ENDS_OF_BUILDS.iter().any(|end| text.ends_with(end.as_bytes()))
        || text.starts_with(b"dockerfile.")
        || (text.starts_with(b"makefile.") && ![&b".py"[..], b".pyc", b".md"].iter().any(|end| text.ends_with(end)))
        || (matches!(fold(parent).as_ref(), b"workflows" | b".circleci" | b".buildkite" | b".woodpecker")
            && (text.ends_with(b".yml") || text.ends_with(b".yaml")))
}

/// A name as file systems compare it that do not tell cases apart: ext4 and f2fs with casefold, and those of other
/// systems that this tree may be shared with. What Unicode ignores is left out, and the two letters beyond ASCII that
/// fold to one of it are that one.
pub(super) fn fold(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        return if name.iter().any(u8::is_ascii_uppercase) { name.to_ascii_lowercase().into() } else { name.into() };
    }
    let Ok(text) = std::str::from_utf8(name) else { return name.to_ascii_lowercase().into() };
    let kept = text.chars().filter(|c| !is_ignorable(*c)).map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    kept.collect::<String>().into_bytes().into()
}

/// Default_Ignorable_Code_Point of Unicode.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(path: &str) -> Option<Class> {
        let names = Names::new();
        let (mut place, mut class) = (Place::default(), None);
        for part in path.split('/') {
            class = names.class(&place, part.as_bytes());
            place = names.below(&place, part.as_bytes());
        }
        class
    }

    #[test]
    fn lists_are_written_as_they_are_compared() {
        for name in ANYWHERE.iter().chain(OF_BUILDS).chain(ENDS_OF_BUILDS) {
            assert_eq!(fold(name.as_bytes()).as_ref(), name.as_bytes(), "{name}");
        }
    }

    #[test]
    fn names_at_any_depth() {
        for path in [
            ".envrc",
            ".envrc.local",
            "a/.perldb",
            ".ocamlinit",
            ".iex.exs",
            "a/b/.vscode",
            "x/.cargo/config.toml",
            ".cargo/config",
            ".aider.conf.yml",
            "a/.yarn/plugins",
            ".VSCode",
            "a/.Envrc",
            ".\u{17f}sh",
            ".\u{200b}envrc",
            ".github/hooks",
            "dotfiles/.config/fish",
            ".mise.dev.toml",
            "mise/config.toml",
            "x/.bsp",
        ] {
            assert_eq!(class(path), Some(Class::Code), "{path}");
        }
        for path in [".git", "a/.GIT", ".g\u{200c}it"] {
            assert_eq!(class(path), Some(Class::Git), "{path}");
        }
        for path in ["config.toml", "cargo/config.toml", ".cargo/registry", ".gitignore", ".git ", "src"] {
            assert_eq!(class(path), None, "{path}");
        }
        assert_eq!((class(".config"), class("a/.github")), (Some(Class::Above), Some(Class::Above)));
        assert_eq!(class("x/.hg/hgrc"), Some(Class::Hgrc));
        assert_eq!(class(".jj/repo"), Some(Class::Leads));
    }

    #[test]
    fn a_home_is_code_but_for_its_data() {
        let names = Names::new();
        let class = |path: &str| {
            let (mut place, mut class) = (Place::default().at_home(), None);
            for part in path.split('/') {
                class = names.class(&place, part.as_bytes());
                place = names.below(&place, part.as_bytes());
            }
            class
        };
        for path in [
            ".anything",
            ".config",
            ".foorc",
            "bin",
            ".cargo/bin",
            ".cargo/env",
            ".local/bin",
            ".local/lib",
            ".local/share/applications",
            ".rustup",
            "go/bin",
            "project/.vscode",
        ] {
            assert_eq!(class(path), Some(Class::Code), "{path}");
        }
        assert_eq!((class(".cargo"), class(".local")), (Some(Class::Above), Some(Class::Above)));
        for path in [
            ".cache",
            ".npm",
            ".cargo/registry",
            ".local/share/data",
            ".local/state",
            "Documents",
            "go/src",
            "project/.anything",
            ".cache/.anything",
        ] {
            assert_eq!(class(path), None, "{path}");
        }
    }

    #[test]
    fn flags_name_something() {
        let names = Names::new();
        let knows = |path: &str| names.knows(&path.split('/').map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>());
        for path in
            [".vscode", "a/.vscode/tasks.json", ".git/hooks", ".git/config", "hooks", ".bashrc", "bare.git/hooks"]
        {
            assert!(knows(path), "{path}");
        }
        assert!(!knows("src/main.rs"));
    }

    #[test]
    fn files_of_builds() {
        for (parent, name) in
            [("", "Makefile"), ("a", "package.json"), ("x", "lib.mk"), ("workflows", "ci.yml"), ("", "Dockerfile.dev")]
        {
            assert!(is_of_a_build(parent.as_bytes(), name.as_bytes()), "{name}");
        }
        assert!(!is_of_a_build(b"src", b"main.rs") && !is_of_a_build(b"x", b"ci.yml"));
    }
}
