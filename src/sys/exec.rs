//! Executing a program with arrays that were made beforehand.

use super::check;
use std::ffi::{CStr, CString, c_char};

/// A NULL-terminated array of strings for execve(2), made once so that the child has nothing to allocate.
pub struct Argv {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Argv {
    /// Keeps the strings and the pointers to them.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings, in order.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    /// execve(2): returns only on failure.
    pub fn exec(&self, program: &CStr, env: &Self) -> nix::errno::Errno {
        // SAFETY: both arrays end with NULL and point to strings that `self` and `env` own.
        let ret = unsafe { libc::execve(program.as_ptr(), self.pointers.as_ptr(), env.pointers.as_ptr()) };
        check(ret.into()).err().unwrap_or(nix::errno::Errno::UnknownErrno)
    }
}

/// An environment with room for one value that becomes known only in the child (`HOME`).
pub struct Environment {
    argv: Argv,
    late: Box<[u8; Self::LATE]>,
}

impl Environment {
    const LATE: usize = 4096 + 8;

    /// The environment without the late variable; it is not there until [`Self::set_late`].
    pub fn new(strings: Vec<CString>) -> Self {
        let mut argv = Argv::new(strings);
        argv.pointers.push(std::ptr::null());
        Self { argv, late: Box::new([0; Self::LATE]) }
    }

    /// Adds `NAME=value` at the end; a second call replaces it. `false` when it does not fit.
    pub fn set_late(&mut self, name: &[u8], value: &[u8]) -> bool {
        let len = name.len() + 1 + value.len();
        if len >= Self::LATE {
            return false;
        }
        self.late[..name.len()].copy_from_slice(name);
        self.late[name.len()] = b'=';
        self.late[name.len() + 1..len].copy_from_slice(value);
        self.late[len] = 0;
        let last = self.argv.strings.len();
        self.argv.pointers[last] = self.late.as_ptr().cast();
        true
    }

    /// For [`Argv::exec`].
    pub fn argv(&self) -> &Argv {
        &self.argv
    }
}
