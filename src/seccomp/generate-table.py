#!/usr/bin/env python3
"""Writes src/seccomp/table.rs: every syscall name with its number per ABI, the kernel that brought it, and its narrow arguments.

The facts come from three packages of a distribution, unpacked with `dpkg -x PACKAGE DIR` (Debian 13's names):
  linux-libc-dev               DIR/usr/include/TRIPLET/asm/unistd*.h: numbers of every architecture
  linux-headers-VERSION-common include/linux/syscalls.h: prototypes, so the width the kernel takes of each argument
  manpages-dev                 syscalls(2): the kernel that first had each call
What is newer than those packages stands in NEWER below.

usage: generate-table.py INCLUDE_DIR SYSCALLS_H SYSCALLS_2_GZ > src/seccomp/table.rs
"""
import gzip
import re
import subprocess
import sys

# Column, directory below usr/include, file in its asm/, preprocessor flags.
ABIS = [
    ("X86_64", "x86_64-linux-gnu", "unistd_64.h", []),
    ("X32", "x86_64-linux-gnu", "unistd_x32.h", ["-D__X32_SYSCALL_BIT=0"]),
    ("X86", "i386-linux-gnu", "unistd_32.h", []),
    ("ARM", "arm-linux-gnueabihf", "unistd.h", ["-D__ARM_EABI__=1"]),
    ("AARCH64", "aarch64-linux-gnu", "unistd_64.h", []),
    ("RISCV64", "riscv64-linux-gnu", "unistd_64.h", []),
    ("LOONGARCH64", "loongarch64-linux-gnu", "unistd_64.h", []),
    ("S390", "s390x-linux-gnu", "unistd_32.h", []),
    ("S390X", "s390x-linux-gnu", "unistd_64.h", []),
    ("PPC", "powerpc-linux-gnu", "unistd_32.h", []),
    ("PPC64", "powerpc64le-linux-gnu", "unistd_64.h", []),
    ("MIPS", "mips-linux-gnu", "unistd_o32.h", ["-D__NR_Linux=0"]),
    ("MIPS64", "mips-linux-gnu", "unistd_n64.h", ["-D__NR_Linux=0"]),
    ("MIPS64N32", "mips-linux-gnu", "unistd_n32.h", ["-D__NR_Linux=0"]),
]

# Calls later than Linux 6.12 with the same number everywhere, and their kernels (Linux's scripts/syscall.tbl).
NEWER = [
    ("setxattrat", 463, "6.13"), ("getxattrat", 464, "6.13"), ("listxattrat", 465, "6.13"), ("removexattrat", 466, "6.13"),
    ("open_tree_attr", 467, "6.15"), ("file_getattr", 468, "6.17"), ("file_setattr", 469, "6.17"), ("listns", 470, "6.19"),
]
# Calls of one architecture later than 6.12: (name, column, number, kernel).
NEWER_SPECIAL = [("uprobe", "X86_64", 336, "6.18")]

# Names that exist, but on none of these ABIs: not worth a warning.
ELSEWHERE = ["atomic_barrier", "atomic_cmpxchg_32", "getpagesize", "timerfd"]

# Kernels of calls the manual page does not list (or not yet).
SINCE = {
    "set_mempolicy_home_node": "5.17", "cachestat": "6.5", "fchmodat2": "6.6", "map_shadow_stack": "6.6", "futex_wake": "6.7",
    "futex_wait": "6.7", "futex_requeue": "6.7", "statmount": "6.8", "listmount": "6.8", "lsm_get_self_attr": "6.8",
    "lsm_set_self_attr": "6.8", "lsm_list_modules": "6.8", "mseal": "6.10", "uretprobe": "6.11", "riscv_hwprobe": "6.4",
    "riscv_flush_icache": "4.15", "memfd_secret": "5.14", "quotactl_fd": "5.14", "process_mrelease": "5.15",
    "futex_waitv": "5.16", "landlock_create_ruleset": "5.13", "landlock_add_rule": "5.13", "landlock_restrict_self": "5.13",
    "epoll_pwait2": "5.11", "mount_setattr": "5.12", "rseq": "4.18", "io_pgetevents": "4.18",
}
for name in ("clock_gettime64 clock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64 timer_gettime64 "
             "timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64 pselect6_time64 ppoll_time64 "
             "io_pgetevents_time64 recvmmsg_time64 mq_timedsend_time64 mq_timedreceive_time64 semtimedop_time64 "
             "rt_sigtimedwait_time64 futex_time64 sched_rr_get_interval_time64").split():
    SINCE[name] = "5.1"

# Syscalls whose kernel function has another name, and the function.
FUNCTION = {
    "stat": "newstat", "lstat": "newlstat", "fstat": "newfstat", "uname": "newuname", "umount2": "umount", "sendfile": "sendfile64",
    "_sysctl": None, "newfstatat": "newfstatat", "fadvise64": "fadvise64_64", "select": "select", "mmap": "mmap_pgoff",
}
# Arguments syscalls.h does not tell: masks of arguments by index, as 32-bit integers in the kernel whatever the prototype says.
#   clone: kernel_clone takes lower_32_bits(flags); third parameter order of s390 is handled in width.rs
#   mmap: the descriptor ends in fget(unsigned int)
#   readv and the like: the descriptor ends in fdget(unsigned int)
#   arch_prctl, iopl, ioperm, modify_ldt: arch/x86
#   set_mempolicy_home_node and later: prototypes of Linux 6.18
NARROW = {
    "clone": [0], "mmap": [4], "arch_prctl": [0], "iopl": [0], "ioperm": [2], "modify_ldt": [0], "personality": [0],
    "semop": [0, 2], "shmget": [0, 2], "msgget": [0, 1], "socketcall": [0], "ipc": [0, 1, 2],
    "setxattrat": [0, 2], "getxattrat": [0, 2], "listxattrat": [0, 2], "removexattrat": [0, 2],
    "open_tree_attr": [0, 2], "file_getattr": [0, 4], "file_setattr": [0, 4], "listns": [3],
    "readv": [0], "writev": [0], "preadv": [0], "pwritev": [0], "preadv2": [0], "pwritev2": [0],
    "map_shadow_stack": [2], "uprobe": [], "uretprobe": [],
}
TYPES32 = ("int|unsigned int|unsigned|pid_t|uid_t|gid_t|qid_t|key_serial_t|clockid_t|const clockid_t|timer_t|mqd_t|u32|__u32|s32|"
           "__s32|rwf_t|uint32_t|enum \\w+|__kernel_clockid_t|compat_\\w+|old_uid_t|old_gid_t|unsigned char")


def numbers(include, directory, header, flags):
    root = f"{include}/{directory}"
    source = f"#include <asm/{header}>\n"
    macros = subprocess.run(["cpp", "-dM", "-nostdinc", "-undef", *flags, "-I", root, "-I", include, "-"],
                            input=source, text=True, check=True, capture_output=True).stdout
    defined = dict(re.findall(r"^#define (\w+) +(.+)$", macros, re.M))

    def value(text, depth=0):
        text = text.strip()
        if depth > 9:
            return None
        expression = re.sub(r"(?<!\w)[A-Za-z_]\w*", lambda m: str(value(defined[m[0]], depth + 1)) if m[0] in defined else "None", text)
        try:
            return eval(re.sub(r"(\d)[uUlL]+", r"\1", expression), {})  # digits, + and parentheses only
        except (TypeError, SyntaxError, NameError):
            return None

    found = {}
    for macro, text in defined.items():
        name = None
        if macro.startswith("__NR_"):
            name = macro[5:]
        elif macro.startswith("__ARM_NR_") and macro not in ("__ARM_NR_BASE", "__ARM_NR_cmpxchg"):
            name = macro[9:]
        if not name or re.match(r"(syscalls$|Linux|(un)?used\d|unused\d|reserved\d|\d|SYSCALL|arch_specific|COMPAT|FAST|OABI|llseek$)", name):
            continue
        number = value(text)
        if number is None:
            continue
        found[name] = number
    return found


def prototypes(path):
    text = open(path).read()
    narrow = {}
    for name, arguments in re.findall(r"asmlinkage long sys_(\w+)\s*\(([^;]*)\)\s*;", text):
        wide32 = wide16 = 0
        for index, argument in enumerate(a.strip() for a in arguments.replace("\n", " ").split(",")):
            argument = re.sub(r"\s+", " ", argument)
            if "*" in argument or argument == "void":
                continue
            if re.fullmatch(rf"umode_t( \w+)?", argument):
                wide16 |= 1 << index
            elif re.fullmatch(rf"(?:{TYPES32})(?: \w+)?", argument) and not re.fullmatch(r"unsigned (long|char|short).*", argument):
                wide32 |= 1 << index
        narrow.setdefault(name, (wide32, wide16))
    return narrow


def since(path):
    text = gzip.open(path, "rt", errors="replace").read()
    found = {}
    for name, version in re.findall(r"^\\fB(\w+)\\fP\(\d\w*\)\t(\d+\.[\d.]+)", text, re.M):
        found[name] = version
    return found


def main():
    include, prototypes_path, manual = sys.argv[1:4]
    table = {}
    for column, (abi, directory, header, flags) in enumerate(ABIS):
        for name, number in numbers(include, directory, header, flags).items():
            table.setdefault(name, [None] * len(ABIS))[column] = number
    # An alias of arm_sync_file_range there; one number has one name.
    table["sync_file_range2"][[a[0] for a in ABIS].index("ARM")] = None
    for name in ELSEWHERE:
        table.setdefault(name, [None] * len(ABIS))
    for name, number, kernel in NEWER:
        table[name] = [number] * len(ABIS)
        SINCE[name] = kernel
    for name, abi, number, kernel in NEWER_SPECIAL:
        row = table.setdefault(name, [None] * len(ABIS))
        row[[a[0] for a in ABIS].index(abi)] = number
        SINCE[name] = kernel
    narrow, kernels = prototypes(prototypes_path), since(manual)
    unmatched = []
    print("//! Syscall numbers by ABI, the kernel that brought each call, and the arguments the kernel takes as narrow integers.")
    print("//! Written by `generate-table.py`, which names its sources; do not edit. `tests` of `seccomp` compare it with libseccomp")
    print("//! and the machine's own headers.")
    print("#![forbid(unsafe_code)]\n")
    print("use super::syscalls::Source;\n")
    print("/// Stands for \"this ABI does not have the call\".")
    print("pub(super) const NONE: u16 = u16::MAX;\n")
    print("/// Columns: " + ", ".join(a[0].lower() for a in ABIS) + ".")
    print("/// Numbers are without the ABI's base; ARM's private calls (0xf0000 + n) are 0x8000 + n.")
    print("#[rustfmt::skip]")
    print("#[allow(clippy::large_const_arrays, reason = \"read by the compiler only, to make the static tables\")]")
    print(f"pub(super) const SOURCE: [Source; {len(table)}] = [")
    for name in sorted(table):
        function = FUNCTION.get(name, name)
        wide32, wide16 = narrow.get(function, (None, None)) if function else (0, 0)
        if wide32 is None:
            wide32 = wide16 = 0
            if name not in NARROW and (table[name][0] is not None or table[name][4] is not None):
                unmatched.append(name)
        for index in NARROW.get(name, []):
            wide32 |= 1 << index
        version = SINCE.get(name, kernels.get(name))
        version = [int(p) for p in version.split(".")][:3] if version else [0, 0]
        # 2.6.x counts as 2.(6+x): only the order matters and nothing between 2.6.39 and 3.0 is lost.
        minor = version[1] + (version[2] if version[0] == 2 and version[1] == 6 and len(version) > 2 else 0)
        packed = version[0] << 8 | minor
        cells = []
        for number in table[name]:
            if number is None:
                cells.append("NONE")
            elif number >= 0xF0000:
                cells.append(hex(0x8000 + number - 0xF0000))
            else:
                assert 0 <= number < 0x8000, (name, number)
                cells.append(str(number))
        print(f'    Source {{ name: "{name}", since: {packed:#06x}, int32: {wide32:#04x}, int16: {wide16:#04x}, numbers: [{", ".join(cells)}] }},')
    print("];")
    if unmatched:
        print("no prototype for:", " ".join(unmatched), file=sys.stderr)


main()
