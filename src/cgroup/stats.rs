//! Usage of resources in the shape of `runc events --stats`.
#![forbid(unsafe_code)]

use super::dir::Place;
use super::{Cgroup, Error};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;

/// One line of `events`: statistics, or the news that memory ran out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event<'a> {
    /// `stats` or `oom`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The container.
    pub id: &'a str,
    /// The numbers of a `stats` event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Stats>,
}

impl<'a> Event<'a> {
    /// A line of statistics.
    #[must_use]
    pub fn stats(id: &'a str, data: Stats) -> Self {
        Self { kind: "stats", id, data: Some(data) }
    }

    /// The OOM killer was at work.
    #[must_use]
    pub fn oom(id: &'a str) -> Self {
        Self { kind: "oom", id, data: None }
    }
}

/// All numbers. Field names and what is left out when zero are runc's (`types/events.go`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes (version 1 only, as in runc).
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Always empty: resctrl is not used.
    pub intel_rdt: IntelRdt,
    /// Always null: not part of the cgroup.
    pub network_interfaces: Option<()>,
}

/// Nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct IntelRdt {}

/// Processor time and throttling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time withheld by the quota.
    pub throttling: Throttling,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By processor (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel, by processor (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// In user mode, by processor (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
}

/// What the quota did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Time spent waiting, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The version 1 cpuset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is the control file of its name, cpuset(7)")]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Pages of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together.
    pub swap: MemoryEntry,
    /// Memory of the kernel (version 1).
    pub kernel: MemoryEntry,
    /// Buffers of TCP (version 1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One kind of memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// The limit; the largest number when there is none.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit (version 1).
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// The limit; 0 when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One number of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The device's minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write` and others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The number.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hugetlb {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most so far (version 1).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Pressure stall information (the kernel's accounting/psi).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Some tasks waited.
    pub some: PsiData,
    /// All tasks waited.
    pub full: PsiData,
}

// The numbers come from text with two decimals, never NaN.
impl Eq for Psi {}

/// Shares of time in percent, and the time itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PsiData {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Microseconds so far.
    pub total: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Stats {
    /// Reads what the container's controllers count. Files that do not exist count nothing.
    pub(super) fn read(cgroup: &Cgroup) -> Result<Self, Error> {
        if cgroup.is_none() {
            return Err(Error::None);
        }
        let sizes = huge_page_sizes();
        let mut stats = Self::default();
        if cgroup.is_v2() {
            if let Some(place) = cgroup.place("") {
                stats.read_v2(place, &sizes)?;
            }
        } else {
            stats.read_v1(cgroup, &sizes)?;
        }
        Ok(stats)
    }

    fn read_v1(&mut self, cgroup: &Cgroup, sizes: &[String]) -> Result<(), Error> {
        if let Some(place) = cgroup.place("cpu") {
            let text = place.read_if_any("cpu.stat")?;
            let stat = parse_map(&text);
            self.cpu.throttling = Throttling {
                periods: get(&stat, "nr_periods"),
                throttled_periods: get(&stat, "nr_throttled"),
                throttled_time: get(&stat, "throttled_time"),
            };
        }
        if let Some(place) = cgroup.place("cpuacct") {
            // USER_HZ is 100 wherever Linux runs containers: a tick is 10 ms.
            const TICK: u64 = 10_000_000;
            let text = place.read_if_any("cpuacct.stat")?;
            let stat = parse_map(&text);
            let usage = &mut self.cpu.usage;
            usage.total = number(place, "cpuacct.usage")?;
            usage.user = get(&stat, "user").saturating_mul(TICK);
            usage.kernel = get(&stat, "system").saturating_mul(TICK);
            usage.percpu = place
                .read_if_any("cpuacct.usage_percpu")?
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            (usage.percpu_user, usage.percpu_kernel) = parse_usage_all(&place.read_if_any("cpuacct.usage_all")?);
        }
        if let Some(place) = cgroup.place("cpuset") {
            self.cpuset = Cpuset {
                cpus: parse_list(&place.read_if_any("cpuset.cpus")?),
                cpu_exclusive: number(place, "cpuset.cpu_exclusive")?,
                mems: parse_list(&place.read_if_any("cpuset.mems")?),
                mem_hardwall: number(place, "cpuset.mem_hardwall")?,
                mem_exclusive: number(place, "cpuset.mem_exclusive")?,
                memory_migrate: number(place, "cpuset.memory_migrate")?,
                memory_spread_page: number(place, "cpuset.memory_spread_page")?,
                memory_spread_slab: number(place, "cpuset.memory_spread_slab")?,
                memory_pressure: number(place, "cpuset.memory_pressure")?,
                sched_load_balance: number(place, "cpuset.sched_load_balance")?,
                sched_relax_domain_level: place
                    .read_if_any("cpuset.sched_relax_domain_level")?
                    .trim()
                    .parse()
                    .unwrap_or_default(),
            };
        }
        if let Some(place) = cgroup.place("memory") {
            let memory = &mut self.memory;
            memory.raw = parse_map(&place.read_if_any("memory.stat")?)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
            memory.usage = memory_v1(place, "memory")?;
            memory.swap = memory_v1(place, "memory.memsw")?;
            memory.kernel = memory_v1(place, "memory.kmem")?;
            memory.kernel_tcp = memory_v1(place, "memory.kmem.tcp")?;
        }
        if let Some(place) = cgroup.place("pids") {
            self.read_pids(place)?;
        }
        if let Some(place) = cgroup.place("blkio") {
            let first = |files: &[&str]| -> Result<Vec<BlkioEntry>, Error> {
                for file in files {
                    let entries = parse_blkio(&place.read_if_any(file)?);
                    if !entries.is_empty() {
                        return Ok(entries);
                    }
                }
                Ok(Vec::new())
            };
            self.blkio.io_service_bytes_recursive = first(&[
                "blkio.bfq.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes",
            ])?;
            self.blkio.io_serviced_recursive = first(&[
                "blkio.bfq.io_serviced_recursive",
                "blkio.throttle.io_serviced_recursive",
                "blkio.throttle.io_serviced",
            ])?;
        }
        if let Some(place) = cgroup.place("hugetlb") {
            for size in sizes {
                let mut prefix = format!("hugetlb.{size}.rsvd");
                if place.read_if_any(&format!("{prefix}.usage_in_bytes"))?.is_empty() {
                    prefix = format!("hugetlb.{size}");
                }
                let entry = Hugetlb {
                    usage: number(place, &format!("{prefix}.usage_in_bytes"))?,
                    max: number(place, &format!("{prefix}.max_usage_in_bytes"))?,
                    failcnt: number(place, &format!("{prefix}.failcnt"))?,
                };
                self.hugetlb.insert(size.clone(), entry);
            }
        }
        Ok(())
    }

    fn read_v2(&mut self, place: &Place, sizes: &[String]) -> Result<(), Error> {
        let text = place.read_if_any("cpu.stat")?;
        let stat = parse_map(&text);
        let nanoseconds = |name: &str| get(&stat, name).saturating_mul(1000);
        self.cpu.usage.total = nanoseconds("usage_usec");
        self.cpu.usage.user = nanoseconds("user_usec");
        self.cpu.usage.kernel = nanoseconds("system_usec");
        self.cpu.throttling = Throttling {
            periods: get(&stat, "nr_periods"),
            throttled_periods: get(&stat, "nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        };
        self.cpu.psi = pressure(place, "cpu.pressure")?;
        self.read_memory_v2(place)?;
        self.read_pids(place)?;
        self.blkio = parse_io_stat(&place.read_if_any("io.stat")?);
        self.blkio.psi = pressure(place, "io.pressure")?;
        for size in sizes {
            let mut prefix = format!("hugetlb.{size}.rsvd");
            let mut usage = place.read_if_any(&format!("{prefix}.current"))?;
            if usage.is_empty() {
                prefix = format!("hugetlb.{size}");
                usage = place.read_if_any(&format!("{prefix}.current"))?;
            }
            if usage.is_empty() {
                continue;
            }
            let events = place.read_if_any(&format!("{prefix}.events"))?;
            let entry = Hugetlb {
                usage: usage.trim().parse().unwrap_or_default(),
                max: 0,
                failcnt: get(&parse_map(&events), "max"),
            };
            self.hugetlb.insert(size.clone(), entry);
        }
        Ok(())
    }

    fn read_memory_v2(&mut self, place: &Place) -> Result<(), Error> {
        let memory = &mut self.memory;
        let text = place.read_if_any("memory.stat")?;
        memory.raw = parse_map(&text).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        memory.cache = memory.raw.get("file").copied().unwrap_or(0);
        memory.psi = pressure(place, "memory.pressure")?;
        if text.is_empty() {
            return Ok(());
        }
        let limit = |file: &str| -> Result<u64, Error> { Ok(parse_limit(&place.read_if_any(file)?)) };
        memory.usage = MemoryEntry {
            limit: limit("memory.max")?,
            usage: number(place, "memory.current")?,
            max: number(place, "memory.peak")?,
            failcnt: 0,
        };
        // Memory and swap together, as version 1 counts; there is no highest mark of the sum.
        memory.swap = MemoryEntry {
            limit: limit("memory.swap.max")?.saturating_add(memory.usage.limit),
            usage: number(place, "memory.swap.current")?.saturating_add(memory.usage.usage),
            max: 0,
            failcnt: 0,
        };
        Ok(())
    }

    fn read_pids(&mut self, place: &Place) -> Result<(), Error> {
        let current = place.read_if_any("pids.current")?;
        self.pids.current = if current.is_empty() {
            // Without the controller, processes are counted instead of tasks (as in runc).
            u64::try_from(place.pids()?.len()).unwrap_or(u64::MAX)
        } else {
            current.trim().parse().unwrap_or_default()
        };
        self.pids.limit = place.read_if_any("pids.max")?.trim().parse().unwrap_or_default();
        Ok(())
    }
}

/// The number in a file; 0 when there is no such file.
fn number(place: &Place, file: &str) -> Result<u64, Error> {
    let text = place.read_if_any(file)?;
    if text.is_empty() {
        return Ok(0);
    }
    text.trim().parse().map_err(|_| Error::Read {
        path: place.directory().join(file),
        source: io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is not a number", text.trim())),
    })
}

fn memory_v1(place: &Place, prefix: &str) -> Result<MemoryEntry, Error> {
    Ok(MemoryEntry {
        limit: number(place, &format!("{prefix}.limit_in_bytes"))?,
        usage: number(place, &format!("{prefix}.usage_in_bytes"))?,
        max: number(place, &format!("{prefix}.max_usage_in_bytes"))?,
        failcnt: number(place, &format!("{prefix}.failcnt"))?,
    })
}

/// A pressure file; nothing when the kernel has none, or does not measure.
fn pressure(place: &Place, file: &str) -> Result<Option<Psi>, Error> {
    match place.read(file) {
        Ok(text) => Ok(parse_psi(&text)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => Ok(None),
        Err(source) => Err(Error::Read { path: place.directory().join(file), source }),
    }
}

/// Lines `NAME NUMBER`.
fn parse_map(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

fn get(map: &BTreeMap<&str, u64>, name: &str) -> u64 {
    map.get(name).copied().unwrap_or(0)
}

/// A limit, `max` for none.
fn parse_limit(text: &str) -> u64 {
    match text.trim() {
        "" => 0,
        "max" => u64::MAX,
        text => text.parse().unwrap_or_default(),
    }
}

/// A list such as `0-2,5`.
fn parse_list(text: &str) -> Vec<u16> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

/// `cpuacct.usage_all`: a heading, then lines `CPU USER SYSTEM`.
fn parse_usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    let (mut user, mut kernel) = (Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        let mut fields = line.split(' ').skip(1).map(|field| field.parse().unwrap_or(0));
        if let (Some(in_user), Some(in_kernel)) = (fields.next(), fields.next()) {
            user.push(in_user);
            kernel.push(in_kernel);
        }
    }
    (user, kernel)
}

/// Lines `MAJOR:MINOR OPERATION NUMBER`, without the total.
fn parse_blkio(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.trim().parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `io.stat`: lines `MAJOR:MINOR rbytes=1 wbytes=2 …`, under version 1's names.
fn parse_io_stat(text: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or(0) });
        }
    }
    blkio
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`.
fn parse_psi(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    let mut found = false;
    for line in text.lines() {
        let mut fields = line.split(' ');
        let data = match fields.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        found = true;
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "avg10" => data.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => data.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => data.avg300 = value.parse().unwrap_or(0.0),
                "total" => data.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    found.then_some(psi)
}

/// The huge page sizes of the kernel as control files spell them.
fn huge_page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut sizes: Vec<String> =
        entries.flatten().filter_map(|entry| parse_page_size(entry.file_name().to_str()?)).collect();
    sizes.sort_unstable();
    sizes
}

/// `hugepages-2048kB` as `2MB`.
fn parse_page_size(name: &str) -> Option<String> {
    let size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match size {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_shape_of_runc() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5;
        stats.memory.usage.limit = u64::MAX;
        let json = serde_json::to_string(&Event::stats("web", stats)).unwrap();
        let entry = r#"{"limit":0,"failcnt":0}"#;
        let expected = format!(
            r#"{{"type":"stats","id":"web","data":{{"cpu":{{"usage":{{"total":5,"kernel":0,"user":0}},"throttling":{{}}}},"cpuset":{{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}},"memory":{{"usage":{{"limit":18446744073709551615,"failcnt":0}},"swap":{entry},"kernel":{entry},"kernelTCP":{entry}}},"pids":{{}},"blkio":{{}},"hugetlb":{{}},"intel_rdt":{{}},"network_interfaces":null}}}}"#
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::to_string(&Event::oom("web")).unwrap(), r#"{"type":"oom","id":"web"}"#);
    }

    #[test]
    fn control_files_are_parsed() {
        assert_eq!(parse_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_list("\n"), [0_u16; 0]);
        assert_eq!(parse_limit("max\n"), u64::MAX);
        assert_eq!(parse_usage_all("cpu user system\n0 7 8\n1 9 10\n"), (vec![7, 9], vec![8, 10]));
        assert_eq!(get(&parse_map("nr_periods 3\nnr_throttled 2\n"), "nr_throttled"), 2);
    }

    #[test]
    fn block_devices_are_parsed_alike() {
        let v1 = parse_blkio("8:0 Read 12\n8:0 Write 34\n8:0 Total 46\nTotal 46\n");
        let v2 = parse_io_stat("8:0 rbytes=12 wbytes=34 rios=1 wios=2 dbytes=0 dios=0\n");
        assert_eq!(v1[..2], v2.io_service_bytes_recursive[..]);
        assert_eq!(v1.len(), 3);
        assert_eq!(v2.io_serviced_recursive[1].value, 2);
    }

    #[test]
    fn pressure_is_parsed() {
        let psi = parse_psi(
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        );
        let psi = psi.unwrap();
        assert!((psi.some.avg10 - 1.5).abs() < 1e-9 && psi.some.total == 77 && psi.full.total == 5);
        assert_eq!(parse_psi(""), None);
    }

    #[test]
    fn page_sizes_are_spelled_as_in_control_files() {
        let sizes = ["hugepages-64kB", "hugepages-2048kB", "hugepages-1048576kB"].map(parse_page_size);
        assert_eq!(sizes.map(Option::unwrap), ["64KB", "2MB", "1GB"]);
        assert_eq!(parse_page_size("other"), None);
    }
}
