//! Regular expressions as regcomp(3) has them: for a runtime's own ids, where a crate would be more than all the rest.

use std::ffi::CStr;
use std::fmt;

/// An extended regular expression (regex(7)).
pub struct Regex(Box<libc::regex_t>);

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Regex")
    }
}

impl Regex {
    /// Compiles it; none where it is no expression.
    #[must_use]
    pub fn new(expression: &CStr) -> Option<Self> {
        // SAFETY: regex_t is plain data, which regcomp fills.
        let mut compiled: Box<libc::regex_t> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: `compiled` is valid for writing, and the expression NUL-terminated; it is only read.
        let failed =
            unsafe { libc::regcomp(&raw mut *compiled, expression.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
        // What has failed to compile holds nothing, and is not to be freed.
        (failed == 0).then_some(Self(compiled))
    }

    /// Whether it matches somewhere in the text.
    #[must_use]
    pub fn matches(&self, text: &CStr) -> bool {
        // SAFETY: it was compiled, and the text is NUL-terminated; no places of matches are asked for (REG_NOSUB).
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: it was compiled, and nothing uses it any more.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_in_the_manual() {
        let matches = |expression: &CStr, text: &CStr| Regex::new(expression).map(|regex| regex.matches(text));
        assert_eq!(matches(c"^a[0-9]+$", c"a12"), Some(true));
        assert_eq!(matches(c"^a[0-9]+$", c"xa12"), Some(false));
        assert_eq!(matches(c"a|b", c"xb"), Some(true));
        assert_eq!(matches(c"", c"anything"), Some(true));
        assert_eq!(matches(c"[", c"a"), None);
        assert_eq!(matches(c"(", c"a"), None);
    }
}
