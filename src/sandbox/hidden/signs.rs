//! What names and texts say of credentials: words, endings, and the beginnings of files. Pure.
#![forbid(unsafe_code)]

/// Words that a file's name has for what is in it.
const WORDS: &[&str] = &[
    "accesstoken",
    "apikey",
    "apikeys",
    "apitoken",
    "auth",
    "authinfo",
    "authtoken",
    "cookie",
    "cookies",
    "cred",
    "creds",
    "htpasswd",
    "identity",
    "keyring",
    "keystore",
    "login",
    "logins",
    "netrc",
    "oauth",
    "oauth2",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "pat",
    "privatekey",
    "privkey",
    "refreshtoken",
    "secret",
    "secrets",
    "session",
    "sessions",
    "token",
    "tokens",
    "vault",
    "wallet",
];
/// Endings of what is a program's or a person's to read.
const CODE: &[&str] = &[
    "bash", "c", "cc", "cpp", "css", "el", "elc", "fish", "go", "h", "hpp", "html", "jar", "java", "js", "jsx", "lua",
    "map", "md", "mjs", "cjs", "mo", "php", "pl", "pm", "png", "po", "ps1", "py", "pyc", "pyi", "rb", "rs", "rst",
    "scss", "sh", "so", "svg", "swift", "theme", "ts", "tsx", "vim", "vue", "zsh", "desktop", "ttf", "gz", "xz", "zip",
    "crate",
];

/// Whether a name is that of a program's source: what is assigned there need not be a value.
pub(super) fn is_source(name: &[u8]) -> bool {
    let ending = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    !matches!(ending, b"bash" | b"fish" | b"sh" | b"zsh") && CODE.iter().any(|known| known.as_bytes() == ending)
}

/// Whether a name speaks of credentials: one of its words does, and it is no program.
#[must_use]
pub(super) fn speaks_of_credentials(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    if CODE.contains(&ending.as_str()) {
        return false;
    }
    words(&name).iter().any(|word| WORDS.contains(&word.as_str()) || word.starts_with("credential"))
        || is_key_material(name.as_bytes())
}

/// `access_tokens.db`, `accessTokens`: the words of a name, in small letters; those that follow each other, together as well.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for each in name.chars() {
        let begins = before.is_ascii_lowercase() && each.is_ascii_uppercase();
        if (!each.is_ascii_alphanumeric() || begins) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if each.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(each.to_ascii_lowercase());
        }
        before = each;
    }
    let pairs: Vec<String> = words.windows(2).map(<[String]>::concat).collect();
    words.extend(pairs);
    words
}

/// Stores of keys, by their endings.
fn is_key_material(name: &[u8]) -> bool {
    const ENDINGS: &[&[u8]] = &[
        b".agekey",
        b".age-key",
        b".bks",
        b".jceks",
        b".jks",
        b".kdb",
        b".kdbx",
        b".keystore",
        b".keytab",
        b".opvault",
        b".ovpn",
        b".p12",
        b".pfx",
        b".pkcs12",
        b".ppk",
        b".psafe3",
        b".keychain",
        b".keychain-db",
        b".wallet",
    ];
    ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

/// What a name in a tree says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It holds credentials.
    Secret,
    /// It holds keys, in an encoding of its own; among tests and examples, where everybody may read it, those are nobody's.
    Keys,
    /// It is a private key if it says so.
    PrivateKey,
    /// It holds settings, and credentials if there are some among them.
    Settings,
}

/// Files that are secret by their names, wherever they are.
const SECRET: &[&str] = &[
    ".age-identity",
    ".ansible_vault_pass",
    ".authinfo",
    ".boto",
    ".credentials",
    ".dev.vars",
    ".dockercfg",
    ".dockerconfigjson",
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".mylogin.cnf",
    ".netrc",
    ".passwd-s3fs",
    ".pgpass",
    ".pypirc",
    ".s3cfg",
    ".secret",
    ".secrets",
    ".sentryclirc",
    ".smbcredentials",
    ".token",
    ".vault-password",
    ".vault-token",
    ".vault_pass",
    ".vault_pass.txt",
    ".vault_password",
    "_netrc",
    "access_tokens.db",
    "accesstokens.json",
    "api_key.txt",
    "apikey.txt",
    "application_default_credentials.json",
    "authinfo",
    "azureprofile.json",
    "client_secret.json",
    "client_secrets.json",
    "cookies.sqlite",
    "cookies.txt",
    "credentials",
    "credentials.csv",
    "credentials.db",
    "credentials.ini",
    "credentials.json",
    "credentials.toml",
    "credentials.tfrc.json",
    "credentials.txt",
    "credentials.xml",
    "credentials.yaml",
    "credentials.yml",
    "creds.json",
    "gcp-key.json",
    "htpasswd",
    "key4.db",
    "keyfile.json",
    "kubeconfig",
    "kubeconfig.yaml",
    "kubeconfig.yml",
    "local.settings.json",
    "login.keyring",
    "logins.json",
    "master.key",
    "oauth_creds.json",
    "passwd.txt",
    "password.txt",
    "passwords.csv",
    "passwords.txt",
    "pgpass.conf",
    "rootkey.csv",
    "secret.env",
    "secret.json",
    "secret.key",
    "secret.toml",
    "secret.txt",
    "secret.yaml",
    "secret.yml",
    "secrets",
    "secrets.env",
    "secrets.ini",
    "secrets.json",
    "secrets.properties",
    "secrets.toml",
    "secrets.txt",
    "secrets.xml",
    "secrets.yaml",
    "secrets.yml",
    "service-account.json",
    "service_account.json",
    "serviceaccount.json",
    "settings-security.xml",
    "token",
    "token.json",
    "token.pickle",
    "token.txt",
    "tokens.json",
    "vault-password.txt",
    "vault_pass.txt",
    "vault_password.txt",
    "vault-keys.json",
    "wallet.dat",
    "wp-config.php",
];

/// Files with settings, some of which may be credentials.
const SETTINGS: &[&str] = &[
    ".bunfig.toml",
    ".curlrc",
    ".envrc",
    ".hgrc",
    ".npmrc",
    ".wgetrc",
    ".yarnrc",
    ".yarnrc.yml",
    "auth.json",
    "auth.toml",
    "auth.yaml",
    "auth.yml",
    "bunfig.toml",
    "nuget.config",
    "pip.conf",
    "settings.xml",
    "rclone.conf",
    "gradle.properties",
    ".mcp.json",
    "mcp.json",
    ".gitconfig",
    ".flaskenv",
    "database.yml",
    "config.json.secret",
];

/// Directories of keys, as they are in homes.
const SECRET_DIRECTORIES: &[&str] = &[".aws", ".azure", ".gnupg", ".kube", ".password-store", ".secrets", ".ssh"];

/// Whether a directory is one of keys, wherever it is.
pub(super) fn is_secret_directory(name: &[u8]) -> bool {
    SECRET_DIRECTORIES.iter().any(|known| known.as_bytes() == name)
}

/// What a file in a tree is, by its name. Names that begin differently are told by a byte: this is asked of every file.
pub(super) fn sign(name: &[u8]) -> Option<Sign> {
    const EXAMPLES: &[&[u8]] =
        &[b".example", b".sample", b".template", b".tmpl", b".dist", b".defaults", b".schema", b".tpl", b".d.ts"];
    if name.len() > 200 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let ends = |ending: &[u8]| lower.len() > ending.len() && lower.ends_with(ending);
    if EXAMPLES.iter().any(|ending| ends(ending)) || ends(b".pub") {
        return None;
    }
    let is = |known: &&str| known.as_bytes() == lower;
    if lower == b".env" || lower.starts_with(b".env.") || ends(b".env") || lower.starts_with(b".env_") {
        let code = [&b".js"[..], b".ts", b".py", b".md", b".rb"].iter().any(|ending| ends(ending));
        return (!code).then_some(Sign::Secret);
    }
    if SECRET.iter().any(is) {
        return Some(Sign::Secret);
    }
    let json = ends(b".json");
    let begins = |start: &[u8]| lower.starts_with(start);
    let account = begins(b"service-account") || begins(b"service_account") || begins(b"serviceaccount");
    let google = begins(b"client_secret") || begins(b"gha-creds-") || contains(&lower, b"firebase-adminsdk");
    if json && (account || google) || contains(&lower, b".tfstate") || ends(b".kubeconfig") || begins(b"utc--") {
        return Some(Sign::Secret);
    }
    if is_key_material(&lower) {
        return Some(Sign::Keys);
    }
    if begins(b"id_") && !lower.contains(&b'.')
        || ends(b".pem")
        || ends(b".key")
        || ends(b".pk8")
        || ends(b".asc")
        || begins(b"ssh_host_")
    {
        return Some(Sign::PrivateKey);
    }
    (SETTINGS.iter().any(is) || ends(b".tfvars") || ends(b".tfvars.json")).then_some(Sign::Settings)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether the beginning of a file says that a private key is in it.
pub(super) fn is_private_key(text: &[u8]) -> bool {
    [&b"PRIVATE KEY"[..], b"PuTTY-User-Key-File", b"AGE-SECRET-KEY-", b"openssh-key-v1"]
        .iter()
        .any(|mark| contains(text, mark))
}

/// Whether settings hold credentials: a key that speaks of them has a value, or an address a password.
pub(super) fn holds_credentials(text: &[u8]) -> bool {
    const KEYS: &[&str] = &[
        "accesskey",
        "apikey",
        "apisecret",
        "apitoken",
        "authorization",
        "authtoken",
        "accesstokens",
        "authtokens",
        "clearpass",
        "clientsecret",
        "extraheader",
        "passphrase",
        "passwd",
        "password",
        "privatekey",
        "proxypass",
        "secret",
        "smtppass",
        "token",
        "userpass",
    ];
    let text = String::from_utf8_lossy(text);
    text.lines().any(|line| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return false;
        }
        if has_password(line) || has_token(line) || sets_variable(line) {
            return true;
        }
        let separators = line.match_indices([':', '=', '>']).map(|(at, _)| at).take(4);
        line.find(' ').into_iter().chain(separators).any(|at| {
            let (key, value) = line.split_at(at);
            let plain: String =
                key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
            let value = value.trim_start_matches(|each: char| !each.is_ascii_alphanumeric() && each != '$');
            let named = key.ends_with("_auth") || KEYS.iter().any(|known| plain.ends_with(known));
            named && !value.is_empty() && !value.starts_with('$') && !matches!(value, "true" | "false" | "null")
        })
    })
}

/// Whether a text holds a token of a known form, or an address a password, whatever language it is in.
pub(super) fn holds_tokens(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).lines().any(|line| has_password(line) || has_token(line))
}

/// Tokens that say themselves what they are, with how many letters and digits follow at least.
const TOKENS: &[(&str, usize)] = &[
    ("sk-", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("gldt-", 16),
    ("glrt-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("xoxs-", 16),
    ("xapp-", 16),
    ("npm_", 30),
    ("pypi-", 30),
    ("hf_", 24),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("dop_v1_", 30),
    ("hvs.", 20),
    ("SG.", 30),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("lin_api_", 16),
    ("ntn_", 30),
    ("dckr_pat_", 16),
    ("tskey-", 16),
    ("r8_", 30),
    ("gsk_", 30),
    ("xai-", 30),
    ("pplx-", 30),
    ("eyJhbGciOi", 20),
    ("AGE-SECRET-KEY-", 20),
    ("Bearer ", 20),
    ("Basic ", 20),
];

/// At the beginning of a word, with both letters and digits: prose and names have seldom twenty of these on end.
fn has_token(line: &str) -> bool {
    let of_token = |each: &char| each.is_ascii_alphanumeric() || "-_.+/=".contains(*each);
    TOKENS.iter().any(|(start, least)| {
        line.match_indices(start).any(|(at, _)| {
            let begins = !line[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_');
            let token: String = line[at + start.len()..].chars().take_while(of_token).collect();
            let mixed = token.contains(|each: char| each.is_ascii_digit())
                && token.contains(|each: char| each.is_ascii_alphabetic());
            begins && mixed && token.len() >= *least
        })
    })
}

/// `set -gx API_KEY abc`, `setenv TOKEN abc`, `set-environment -g TOKEN abc`: a variable's name in capitals, and a value.
/// `export GH_PAT=abc`: endings that only such a name has.
fn sets_variable(line: &str) -> bool {
    const ENDINGS: &[&str] = &["APIKEY", "API_KEY", "ACCESS_KEY", "PASSWORD", "PASSWD", "SECRET", "TOKEN"];
    const SHORT: &[&str] = &["_AUTH", "_PASS", "_PAT", "_PWD"];
    let is_name = |word: &str| {
        let plain = |each: char| each.is_ascii_uppercase() || each.is_ascii_digit() || each == '_';
        word.len() > 4 && word.chars().all(plain)
    };
    let ends = |name: &str, endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let has_value = |value: &str| {
        let value = value.trim_start_matches(['"', '\'']);
        value.starts_with(|each: char| each.is_ascii_alphanumeric())
    };
    let sets = ["set ", "setenv ", "setenv\t", "set-environment ", "setw ", "env "];
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let set = sets.iter().any(|word| line.starts_with(word))
        && words.windows(2).any(|pair| {
            let named = is_name(pair[0]) && (ends(pair[0], ENDINGS) || ends(pair[0], SHORT));
            named && has_value(pair[1])
        });
    let assigned = words.iter().any(|word| {
        let name_and_value = word.split_once('=');
        name_and_value.is_some_and(|(name, value)| is_name(name) && ends(name, SHORT) && has_value(value))
    });
    set || assigned
}

/// `scheme://user:password@host`.
fn has_password(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let rest = &line[at + 3..];
        let authority = rest.split(['/', '"', '\'', ' ']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user).unwrap_or_default();
        user.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
    })
}

/// Directories of packages and of builds: looked at last.
pub(super) fn is_of_packages(name: &[u8]) -> bool {
    const LAST: &[&str] = &[
        ".cargo",
        ".git",
        ".gradle",
        ".hg",
        ".m2",
        ".mypy_cache",
        ".next",
        ".nox",
        ".nuxt",
        ".pytest_cache",
        ".rustup",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "bower_components",
        "build",
        "dist",
        "node_modules",
        "site-packages",
        "target",
        "vendor",
        "venv",
    ];
    LAST.iter().any(|known| known.as_bytes() == name)
}

/// Whether keys in a directory of this name are there to try programs with.
pub(super) fn is_of_tests(name: &[u8]) -> bool {
    const TESTS: &[&str] = &[
        "__fixtures__",
        "__tests__",
        "bower_components",
        "example",
        "examples",
        "fixtures",
        "node_modules",
        "samples",
        "site-packages",
        "spec",
        "test",
        "testdata",
        "tests",
        "vendor",
    ];
    TESTS.iter().any(|known| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials() {
        for name in [
            "credentials",
            "access_tokens.db",
            "accessToken.json",
            "auth.json",
            "Cookies-journal",
            "api_key",
            "vault.kdbx",
            ".secrets.env",
            "hosts.token",
        ] {
            assert!(speaks_of_credentials(name.as_bytes()), "{name}");
        }
        for name in
            ["tokenizer.json", "author.txt", "settings.json", "token.lua", "keyboard.conf", "bypass.txt", "compass"]
        {
            assert!(!speaks_of_credentials(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn signs_of_files() {
        let all = |names: &[&str], expected: Option<Sign>| {
            for name in names {
                assert_eq!(sign(name.as_bytes()), expected, "{name}");
            }
        };
        all(
            &[
                ".env",
                ".ENV",
                ".env.local",
                ".env.production",
                "prod.env",
                "secrets.yml",
                "terraform.tfstate",
                "a.tfstate.backup",
                "service-account-1.json",
                "credentials.json",
                ".pgpass",
                "kubeconfig",
                "x-firebase-adminsdk-1.json",
            ],
            Some(Sign::Secret),
        );
        all(&["db.kdbx", "a.p12", "release.keystore", "home.ovpn", "x.agekey"], Some(Sign::Keys));
        all(&["id_rsa", "id_ed25519", "id_work", "server.key", "server.pem"], Some(Sign::PrivateKey));
        all(&[".npmrc", "auth.json", "prod.auto.tfvars"], Some(Sign::Settings));
        all(
            &[
                ".env.example",
                ".env.sample",
                ".env.template",
                ".env.dist",
                "id_rsa.pub",
                "environment",
                "main.rs",
                "id_map.rs",
                ".env.d.ts",
                "terraform.tf",
                "keys.rs",
            ],
            None,
        );
    }

    #[test]
    fn tokens_in_any_language() {
        for text in [
            "(setq gptel-api-key \"sk-ant-api03-0123456789abcdefghijkl\")",
            "vim.g.key = [[sk-0123456789abcdefghijkl]]",
            "Sys.setenv(PAT=\"ghp_0123456789abcdefghijklmnop\")",
            "let g:hub = 'https://ann:abc@example.org/'",
        ] {
            assert!(holds_tokens(text.as_bytes()), "{text}");
        }
        for text in [
            "local token = get_token()",
            "let password = inputsecret('> ')",
            "-- see sk-foo and ghp_ for the forms",
            "require('desk-0123456789abcdefghijklmnop')",
        ] {
            assert!(!holds_tokens(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn settings_with_and_without_credentials() {
        for text in [
            "//registry.npmjs.org/:_authToken=npm_abc",
            "_auth=YWJj",
            "[url \"https://ann:t0ken@github.com/\"]",
            "\tsmtppass = hunter2",
            "\textraheader = AUTHORIZATION: basic abc",
            "npmAuthToken: abc",
            "export AWS_SECRET_ACCESS_KEY=abc",
            "db_password = \"abc\"",
            "  \"token\": \"abc\",",
            "    <password>abc</password>",
            "proxy = http://u:p@proxy:3128",
            "set -gx ANTHROPIC_API_KEY abc",
            "setenv TOKEN_OF_X x; setenv X_TOKEN abc",
            "set-environment -g API_TOKEN abc",
            "export GH_AUTH=\"Bearer abc\"",
            "GITHUB_PAT=abc",
            "alias x='curl -H \"Authorization: Bearer 0123456789abcdefghij0123\"'",
            "typeset -x SLACK=xoxb-0123456789-abcdefghij",
        ] {
            assert!(holds_credentials(text.as_bytes()), "{text}");
        }
        for text in [
            "[user]\n\tname = Ann\n\temail = ann@example.org\n[credential]\n\thelper = libsecret",
            "//registry.npmjs.org/:_authToken=${NPM_TOKEN}",
            "registry=https://registry.npmjs.org/",
            "export TOKEN=$OTHER",
            "# password = abc",
            "url = https://ann@example.org/x",
            "set -gx ANTHROPIC_API_KEY (pass show x)",
            "set -gx EDITOR vi",
            "export GH_AUTH=$(pass show x)",
            "set -g status-left '#S'",
            "task-management-of-many-things-that-are-long-1",
            "source ~/.vim/sk-something.vim",
        ] {
            assert!(!holds_credentials(text.as_bytes()), "{text}");
        }
    }
}
