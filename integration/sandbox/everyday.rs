//! Programs that people run every day do their work in a sandbox as they do outside.
#![forbid(unsafe_code)]

use crate::caller::as_each;
use crate::sandboxed;
use std::process::{Command, Stdio};

const MAKEFILE: &str = "all: one two\none two:\n\techo $@ > $@; sleep 0\n\t@for i in 1 2; do echo $$i | cat; done\n";

const PYTHON: &str = r"
import asyncio, multiprocessing, os, subprocess, threading
def square(x): return x * x
def put(queue, semaphore):
    with semaphore: queue.put(1)
if __name__ == '__main__':
    for how in ('fork', 'spawn', 'forkserver'):
        with (context := multiprocessing.get_context(how)).Pool(2) as pool: assert pool.map(square, [1, 2]) == [1, 4]
        queue, semaphore = context.Queue(), context.Semaphore(1)
        process = context.Process(target=put, args=(queue, semaphore)); process.start(); assert queue.get() == 1
        process.join(); assert process.exitcode == 0
    thread = threading.Thread(target=print); thread.start(); thread.join()
    subprocess.run(['true'], check=True, start_new_session=True)
    async def run(): return await (await asyncio.create_subprocess_exec('true')).wait()
    assert asyncio.run(run()) == 0
    os.posix_spawn('/bin/true', ['true'], {}); assert os.wait()[1] == 0
";

/// What has to be installed, and a script that fails if anything in it does.
const PROGRAMS: &[(&str, &str)] = &[
    // It sets its own ids in every child.
    ("make", "make && rm one two && make -j2 && make -n"),
    (
        "git",
        "git init -q r && cd r && git -c user.name=a -c user.email=a commit -q --allow-empty -m x && git gc -q && git log && git status && git clone -q . ../c",
    ),
    ("tar", "mkdir d && cp -a data d && tar czf d.tgz d && mkdir x && tar xzpf d.tgz -C x && cmp x/d/data data"),
    ("gzip", "cp data z && gzip z && gunzip z.gz && sed -i s/a/b/ z && mv z /tmp/z && cp -a /tmp/z z"),
    ("xz", "head -c 3000000 /dev/zero | xz -T2 | xz -d | wc -c"),
    ("sort", "test $(seq 100000 | sort -S 1M --parallel=2 -rn | head -n 1) = 100000"),
    ("find", "find . -print0 | xargs -0 -P2 ls -d"),
    ("mkfifo", "mkfifo /tmp/fifo && (echo through > /tmp/fifo & cat /tmp/fifo)"),
    // It drops its capabilities first.
    ("ip", "ip -o link"),
    ("bash", "bash -c 'set -eo pipefail; cat <(echo a) | tee >(cat) | wc -l; coproc cat; sleep 0 & wait %2'"),
    (
        "setsid",
        "setsid nice -n 5 taskset -c $(taskset -cp $$ | sed 's/.*[^0-9]//') nohup timeout 9 prlimit --nofile=64 true",
    ),
    ("perl", "perl -e 'fork // die; wait; system(\"true\") == 0 or die; open(F, \"ls |\") or die; print <F>'"),
    ("python3", "python3 work.py"),
    (
        "node",
        "node -e 'const c = require(\"child_process\"); c.execSync(\"true\"); new (require(\"worker_threads\").Worker)(\"1\", { eval: true })'",
    ),
    ("gcc", "printf 'int main(void) { return 0; }' > h.c && gcc -pipe -g -o h h.c && ./h"),
    ("java", "java -XX:+UseSerialGC -version"),
    ("openssl", "openssl rand -hex 8 && openssl genrsa 1024"),
    ("sqlite3", "sqlite3 q.db 'pragma journal_mode=wal; create table t(a); insert into t values(1)'"),
    ("vim", "vim -es -u NONE -c 'normal ihello' -c 'wq! v' </dev/null; grep hello v"),
];

#[test]
fn everyday_programs_do_their_work() {
    sandboxed!();
    as_each(|caller| {
        let mut wrong = Vec::new();
        for (program, script) in PROGRAMS {
            let mut look = Command::new("sh");
            look.args(["-c", &format!("command -v {program}")]).env("PATH", "/usr/bin:/bin").stdout(Stdio::null());
            if !look.status().expect("a shell").success() {
                continue;
            }
            let project = format!("home/work-{program}");
            caller.directory(&project);
            caller.file(&format!("{project}/Makefile"), MAKEFILE, 0o644);
            caller.file(&format!("{project}/work.py"), PYTHON, 0o644);
            caller.file(&format!("{project}/data"), "data\n", 0o600);
            let path = caller.path(&project).to_string_lossy().into_owned();
            let flags = ["-q", "--rw", &path, "--workdir", &path];
            let seen = caller.shell(&flags, &format!("set -e; export HOME=/tmp; {script}"));
            if seen.code() != 0 {
                wrong.push(format!("{program}: {seen:?}"));
            }
        }
        assert!(wrong.is_empty(), "as {:?}:\n{}", caller.user, wrong.join("\n"));
    });
}
