//! regex-lite under the name of regex: the same interface without Unicode's tables, which are 140 KB to relocate at every
//! start of the runtime.
#![forbid(unsafe_code)]

pub use regex_lite::*;
