//! "Did you mean": how close two names are.
#![forbid(unsafe_code)]

/// Whether Go's JSON decoder, and so runc, would take the one name for the other: it folds case, and with it the two
/// letters outside ASCII that fold to `k` and `s`.
pub(super) fn same_but_for_case(a: &str, b: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    a.chars().map(fold).eq(b.chars().map(fold))
}

/// Letters added, left out, replaced, or swapped with their neighbour to get from one name to the other, without regard
/// to case; names of more than 64 letters are never close.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(65).map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().take(65).map(|c| c.to_ascii_lowercase()).collect();
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The candidate that the name was probably meant to be.
pub(crate) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = if name.chars().count() < 6 { 1 } else { 2 };
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("readonly", "readOnly", 0),
            ("seccmop", "seccomp", 1),
            ("", "ab", 2),
            ("mask", "masks", 1),
            ("ab", "cd", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(distance(&"a".repeat(65), "a"), usize::MAX);
    }

    #[test]
    fn go_folds_two_letters_more() {
        assert!(same_but_for_case("\u{17f}eccomp", "seccomp"));
        assert!(same_but_for_case("MA\u{212a}edPaths".replace("MA", "mas").as_str(), "maskedPaths"));
        assert!(!same_but_for_case("seccomp", "seccom"));
    }

    #[test]
    fn suggestions() {
        assert_eq!(closest("SCMP_ACT_ALOW", ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"]), Some("SCMP_ACT_ALLOW"));
        assert_eq!(closest("frobnicate", ["path", "readonly"]), None);
        assert_eq!(closest("x", ["a"]), None);
    }
}
