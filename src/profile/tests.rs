//! Loading, and what the shipped profiles hold.

use super::*;

#[test]
fn shipped_profiles_load() {
    for (name, _) in SHIPPED {
        let profile = load_from(std::path::Path::new("/nonexistent"), name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(profile.name, *name);
        let filter = compile_seccomp(&profile).expect("a filter").expect("an allow-list");
        eprintln!("{name}: {} instructions", filter.insns.len());
    }
}
