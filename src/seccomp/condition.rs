//! Conditions on arguments, in the width the kernel gives the argument.
#![forbid(unsafe_code)]

use super::syscalls::Width;
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

/// One comparison of an argument register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    /// Index of the argument.
    pub(super) argument: u8,
    /// Bits of the register that count.
    pub(super) mask: u64,
    pub(super) comparison: Comparison,
    /// Holds when the comparison does not.
    pub(super) negate: bool,
}

/// How the masked register is compared; unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal(u64),
    /// At least this, which is not 0; the mask is a width.
    AtLeast(u64),
}

/// Tests that must all hold for the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) tests: Vec<Test>,
    pub(super) action: u32,
}

/// A condition in an argument's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folded {
    Test(Test),
    /// Holds for every value the argument can have.
    Always,
    /// Holds for none.
    Never,
}

/// A condition of the policy as the kernel will see its argument.
///
/// OCI and libseccomp compare 64 bits. Where the kernel looks at fewer, an attacker chooses the others freely, so they must
/// not count: the register is cut to the kernel's width. So is the constant of an (in)equality: what such a rule lets the
/// kernel do, or not do, is what its low bits say. The constant of an order is cut when it is a negative number written in 64
/// bits; any other constant beyond the width is larger than every value.
pub(super) fn fold(condition: &LinuxSeccompArg, width: Width) -> Folded {
    let Ok(argument) = u8::try_from(condition.index()) else { return Folded::Never };
    let bits = match width {
        Width::Bits16 => 0xffff,
        Width::Bits32 => 0xffff_ffff,
        Width::Bits64 => u64::MAX,
    };
    let value = condition.value();
    let bound = if width == Width::Bits32 && value >= 0xffff_ffff_8000_0000 { value & bits } else { value };
    let equal = |mask: u64, value: u64, negate| {
        if mask == 0 {
            if negate { Folded::Never } else { Folded::Always }
        } else {
            Folded::Test(Test { argument, mask, comparison: Comparison::Equal(value & mask), negate })
        }
    };
    let at_least = |bound: Option<u64>, negate: bool| match bound {
        Some(0) => {
            if negate {
                Folded::Never
            } else {
                Folded::Always
            }
        }
        Some(bound) if bound <= bits => {
            Folded::Test(Test { argument, mask: bits, comparison: Comparison::AtLeast(bound), negate })
        }
        _ => {
            if negate {
                Folded::Always
            } else {
                Folded::Never
            }
        }
    };
    match condition.op() {
        Operator::ScmpCmpEq => equal(bits, value, false),
        Operator::ScmpCmpNe => equal(bits, value, true),
        Operator::ScmpCmpMaskedEq => equal(bits & value, condition.value_two().unwrap_or(0), false),
        Operator::ScmpCmpGe => at_least(Some(bound), false),
        Operator::ScmpCmpLt => at_least(Some(bound), true),
        Operator::ScmpCmpGt => at_least(bound.checked_add(1), false),
        Operator::ScmpCmpLe => at_least(bound.checked_add(1), true),
    }
}
