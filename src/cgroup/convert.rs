//! Numbers of the specification, which thinks in version 1, as version 2 wants them.
#![forbid(unsafe_code)]

/// The range of `cpu.shares` (the kernel's `MIN_SHARES` and `MAX_SHARES`).
pub(super) const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// `cpu.shares` as `cpu.weight`, by the formula of runc 1.3.2 and crun 1.23 (opencontainers/cgroups pull request 20):
/// `ceil(10^(l²/612 + 125·l/612 - 7/34))` with `l = log2(shares)`. It maps both ends of the ranges onto each other and the
/// default 1024 onto the default 100, where the older linear formula gave 39.
///
/// Values outside the range of shares are clamped; 0 means unset and gives nothing.
#[must_use]
pub(super) fn weight_of_shares(shares: u64) -> Option<u64> {
    if shares == 0 {
        return None;
    }
    if shares <= *SHARES.start() {
        return Some(1);
    }
    let Some(shares) = u32::try_from(shares).ok().filter(|shares| u64::from(*shares) < *SHARES.end()) else {
        return Some(10_000);
    };
    let l = f64::from(shares).log2();
    let weight = 10_f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
    // What is a whole number on paper must not become the next one by the last bit of `powf`.
    let ceiling = (weight - 1e-9).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the formula stays between 1 and 10000"
    )]
    let weight = ceiling as u64;
    Some(weight.clamp(1, 10_000))
}

/// The range of a blkio weight in the specification.
pub(super) const BLKIO_WEIGHT: std::ops::RangeInclusive<u16> = 10..=1000;

/// A blkio weight (10 to 1000) as `io.weight` (1 to 10000), linearly, as in runc and crun.
#[must_use]
pub(super) fn io_weight(weight: u16) -> u32 {
    1 + u32::from(weight.saturating_sub(*BLKIO_WEIGHT.start())) * 9999 / 990
}

/// A limit as version 2 writes it: negative values are `max`.
#[must_use]
pub(super) fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// What to write to `memory.swap.max`: the specification's swap is memory and swap together, version 2 limits swap alone.
///
/// `limit` and `swap` of 0 mean unset. As in runc, an unlimited memory without a word about swap makes swap unlimited too.
///
/// # Errors
/// Why the two do not fit each other.
pub(super) fn swap_v2(limit: i64, swap: i64) -> Result<Option<String>, &'static str> {
    Ok(match (limit, swap) {
        (-1, 0) => Some("max".to_owned()),
        (_, 0) => None,
        (_, -1) => Some("max".to_owned()),
        (-1, swap) => Some(swap.to_string()),
        (0, _) => return Err("unable to set swap limit without memory limit"),
        (limit, swap) if swap < limit => return Err("memory+swap limit should be >= memory limit"),
        (limit, swap) => Some((swap - limit).to_string()),
    })
}

/// What to write to `cpu.max`; a quota or period of 0 means unset, a negative quota none.
///
/// Without a period only the quota is written: the kernel keeps the period it has (100 ms at first). A period alone cannot
/// be written alone, so it comes with `quota_now`, or `max`.
#[must_use]
pub(super) fn cpu_max(quota: i64, period: u64, quota_now: Option<u64>) -> Option<String> {
    let quota_now = quota_now.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
    match (quota, period) {
        (0, 0) => None,
        (0, period) => Some(format!("{quota_now} {period}")),
        (quota, 0) => Some(max_or(quota)),
        (quota, period) => Some(format!("{} {period}", max_or(quota))),
    }
}

/// Whether `size` is a huge page size as control files spell it: `64KB`, `2MB`, `1GB`.
#[must_use]
pub(super) fn is_page_size(size: &str) -> bool {
    let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
    !digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_become_weights() {
        // The pairs of opencontainers/cgroups' own test, and what its formula gives for Kubernetes' usual requests.
        let table = [(0, None), (1, Some(1)), (2, Some(1)), (1024, Some(100)), (262_144, Some(10_000))];
        for (shares, weight) in table {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert_eq!(weight_of_shares(u64::MAX), Some(10_000));
        for shares in [102_u64, 512, 2048, 4096, 10_240, 100_000] {
            let l = (shares as f64).log2();
            let paper = 10_f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil();
            let weight = weight_of_shares(shares).unwrap() as f64;
            assert!((weight - paper).abs() < 0.5, "{shares}: {weight} and {paper}");
        }
    }

    proptest! {
        #[test]
        fn more_shares_never_weigh_less(a in 1_u64..300_000, b in 1_u64..300_000) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(weight_of_shares(low).unwrap() <= weight_of_shares(high).unwrap());
            prop_assert!((1..=10_000).contains(&weight_of_shares(a).unwrap()));
        }
    }

    #[test]
    fn blkio_weights_become_io_weights() {
        assert_eq!([10, 100, 500, 1000].map(io_weight), [1, 910, 4950, 10_000]);
    }

    #[test]
    fn swap_is_taken_apart_from_memory() {
        const MB: i64 = 1 << 20;
        assert_eq!(swap_v2(64 * MB, 96 * MB).unwrap().unwrap(), (32 * MB).to_string());
        assert_eq!(swap_v2(64 * MB, 64 * MB).unwrap().unwrap(), "0");
        assert_eq!(swap_v2(64 * MB, -1).unwrap().unwrap(), "max");
        assert_eq!(swap_v2(-1, 0).unwrap().unwrap(), "max");
        assert_eq!(swap_v2(-1, MB).unwrap().unwrap(), MB.to_string());
        assert_eq!(swap_v2(64 * MB, 0).unwrap(), None);
        assert_eq!(swap_v2(0, 0).unwrap(), None);
        assert!(swap_v2(0, MB).unwrap_err().contains("without memory limit"));
        assert!(swap_v2(2 * MB, MB).unwrap_err().contains(">= memory limit"));
    }

    #[test]
    fn quota_and_period_become_cpu_max() {
        assert_eq!(cpu_max(50_000, 100_000, None).unwrap(), "50000 100000");
        assert_eq!(cpu_max(50_000, 0, None).unwrap(), "50000");
        assert_eq!(cpu_max(-1, 0, None).unwrap(), "max");
        assert_eq!(cpu_max(-1, 200_000, None).unwrap(), "max 200000");
        assert_eq!(cpu_max(0, 200_000, None).unwrap(), "max 200000");
        assert_eq!(cpu_max(0, 200_000, Some(7000)).unwrap(), "7000 200000");
        assert_eq!(cpu_max(0, 0, Some(7000)), None);
    }

    #[test]
    fn page_sizes_are_names_of_files() {
        assert!(["64KB", "2MB", "1GB"].iter().all(|size| is_page_size(size)));
        assert!(["", "2", "MB", "2MB/..", "2 MB", "2mb", "../2MB"].iter().all(|size| !is_page_size(size)));
    }
}
