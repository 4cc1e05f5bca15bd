//! `--net HOST:PORT` and `--port`, with servers on this machine: tests have no other network.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{self, Finish as _, Outcome, seconds, wait_until};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

/// Connects through the proxy in each way, and prints what comes of it.
const CLIENT: &str = r#"
import socket, sys
def attempt(name, request, parse):
    try:
        s = socket.create_connection(("127.0.0.1", 3128), 10)
        print(name, parse(s, request), flush=True)
    except OSError as e:
        print(name, "failed", type(e).__name__, flush=True)
def all_of(s):
    data = b""
    while True:
        more = s.recv(65536)
        if not more: return data
        data += more
def http(s, request):
    s.sendall(request)
    data = all_of(s)
    return data.split(b"\r\n")[0].decode() + " " + data.split(b"\r\n\r\n", 1)[-1].decode().strip()
def connect(s, request):
    s.sendall(request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = s.recv(1)
        if not more: return "closed"
        head += more
    if b" 200 " not in head: return head.split(b"\r\n")[0].decode() + " " + all_of(s).decode().strip()
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return "tunnel " + all_of(s).split(b"\r\n\r\n", 1)[-1].decode().strip()
def socks(s, request):
    s.sendall(b"\x05\x01\x00"); assert s.recv(2) == b"\x05\x00"
    s.sendall(request)
    code = s.recv(10)[1]
    if code: return "code %d" % code
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return "tunnel " + all_of(s).split(b"\r\n\r\n", 1)[-1].decode().strip()
host, port = sys.argv[1], int(sys.argv[2])
place = ("%s:%d" % (host, port)).encode()
attempt("plain", b"GET http://" + place + b"/ HTTP/1.1\r\nHost: x\r\n\r\n", http)
attempt("connect", b"CONNECT " + place + b" HTTP/1.1\r\n\r\n", connect)
attempt("socks", b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big"), socks)
"#;

/// A server on the host that says the same to everybody.
fn server() -> u16 {
    serve(|client| {
        let mut request = [0; 4096];
        let _read = client.read(&mut request);
        let _written = client.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nserved");
    })
}

/// A port of this machine's where each client is answered by itself.
fn serve(answer: fn(&mut TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&mut client));
        }
    });
    port
}

fn client(caller: &Caller, net: &str, host: &str, port: u16) -> Outcome {
    caller.file("home/project/client.py", CLIENT, 0o644);
    caller.run(&["--net", net, "--", "python3", "client.py", host, &port.to_string()])
}

#[test]
fn named_places_are_reached_in_three_ways() {
    sandboxed!();
    let port = server();
    as_each(|caller| {
        let seen = client(caller, &format!("example.org:443,127.0.0.1:{port}"), "127.0.0.1", port).ok();
        assert_eq!(
            seen.trimmed(),
            "plain HTTP/1.0 200 OK served\nconnect tunnel served\nsocks tunnel served",
            "{seen:?}"
        );
        // Another port of the same host, and another host, are not.
        let other = server();
        let seen = client(caller, &format!("127.0.0.1:{port}"), "127.0.0.1", other).ok();
        let want = "plain HTTP/1.1 403 Forbidden pent sandbox: not in --net\n\
                    connect HTTP/1.1 403 Forbidden pent sandbox: not in --net\nsocks code 2";
        assert_eq!(seen.trimmed(), want, "{seen:?}");
        // An address of this machine is nothing to paste; who means it says so.
        let hint = format!("denied  connect 127.0.0.1:{other}  not in --net\n");
        assert_eq!(seen.stderr().matches(&hint).count(), 1, "once: {seen:?}");
        // What it says, followed literally, works.
        // Beside what was allowed before, in whatever order.
        let (first, second) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{other}"));
        for wanted in [port, other] {
            let flags = ["--net", "none", "--net", &first, "--net", &second, "--", "python3", "client.py", "127.0.0.1"];
            let seen = caller.run(&[&flags[..], &[&wanted.to_string()]].concat()).ok();
            assert!(seen.stdout().contains("connect tunnel served"), "{seen:?}");
        }
        let named = client(caller, &first, "example.org", 443).ok();
        let hint = "connect example.org:443  not in --net  allow with --net example.org:443 (the program chose it)\n";
        assert_eq!(named.stderr().matches(hint).count(), 1, "{named:?}");
        // What is no name is not told as one.
        let seen = client(caller, &first, "127.0.0.1.", port).ok();
        assert!(seen.stderr().contains("not in --net") && !seen.stderr().contains("allow with"), "{seen:?}");
    });
}

#[test]
fn private_addresses_behind_names_are_refused() {
    sandboxed!();
    let port = server();
    as_each(|caller| {
        let seen = behind(caller, &[&format!("mirror.example:{port}")], "mirror.example", port).ok();
        assert_eq!(seen.stdout().matches("403 Forbidden pent sandbox: a private address").count(), 2, "{seen:?}");
        assert!(seen.stdout().contains("socks code 2"), "{seen:?}");
        // Who means it is told how to say so, by one hint that works.
        let typed = format!("mirror.example=127.0.0.1:{port}");
        assert!(seen.stderr().contains(&format!("only if it is meant to lead there, --net {typed}\n")), "{seen:?}");
        let seen = behind(caller, &[&typed], "mirror.example", port).ok();
        assert!(seen.stdout().contains("connect tunnel served"), "{seen:?}");
        // Neither another name nor this machine among others, nor metadata.
        for net in [
            format!("other.example=127.0.0.1:{port}"),
            format!("mirror.example=0.0.0.0/0:{port}"),
            format!("mirror.example=127.0.0.0/8:{port}"),
            format!("mirror.example=10.0.0.0/8:{port}"),
            format!("mirror.example=127.0.0.1:{}", port ^ 1),
        ] {
            let seen = behind(caller, &[&net], "mirror.example", port).ok();
            assert!(!seen.stdout().contains("served") && seen.stdout().contains("socks code 2"), "{net}: {seen:?}");
        }
        caller.run(&["--net", "a=169.254.169.254:80", "--", "true"]).exits(125).says("never allowed");
        caller.run(&["--net", "a=10.1.2.3/8:80", "--", "true"]).exits(125).says("NAME=ADDRESSES:PORT");
        let report = behind(caller, &[&format!("mirror.example:{port}"), "--report"], "mirror.example", port).ok();
        assert!(report.stderr().contains("not recommended (the name leads to this machine"), "{report:?}");
        // Neither does another spelling of an address help.
        for host in ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "::1"] {
            let seen = client(caller, "example.org:80", host, port).ok();
            assert!(!seen.stdout().contains("served"), "{host}: {seen:?}");
        }
    });
}

/// The client where `mirror.example` leads to this machine, as a company's name server would say.
fn behind(caller: &Caller, net: &[&str], host: &str, port: u16) -> Outcome {
    caller.file("home/project/client.py", CLIENT, 0o644);
    let hosts = caller.file("hosts", "127.0.0.1 localhost mirror.example\n", 0o644);
    let port = port.to_string();
    let pent = caller.command(&[&["--net"], net, &["--", "python3", "client.py", host, &port]].concat());
    let mut view = std::process::Command::new("unshare");
    view.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts);
    view.arg(pent.get_program()).args(pent.get_args());
    view.current_dir(caller.path("home/project")).env("HOME", caller.home()).finish()
}

/// Programs do not ask a proxy for what is on their own machine, and most cannot.
#[test]
fn the_hosts_loopback_is_the_sandboxs_where_it_is_asked_for() {
    sandboxed!();
    let (port, other) = (server(), server());
    let direct = r#"
import socket, sys, urllib.request
for host in ["127.0.0.1", "localhost"]:
    try: print(host, urllib.request.urlopen("http://%s:%s/" % (host, sys.argv[1]), timeout=10).read().decode())
    except OSError as e: print(host, "failed")
own = socket.create_server(("127.0.0.1", 0))
s = socket.create_connection(own.getsockname()); own.accept()[0].sendall(b"own"); print(s.recv(3).decode())
import os; print(os.environ["no_proxy"], os.environ["http_proxy"])
"#;
    as_each(|caller| {
        caller.file("home/project/direct.py", direct, 0o644);
        let ask =
            |net: &str, port: u16| caller.run(&["--net", net, "--", "python3", "direct.py", &port.to_string()]).ok();
        for host in ["localhost", "127.0.0.1"] {
            let seen = ask(&format!("{host}:{port}"), port);
            let want = "127.0.0.1 served\nlocalhost served\nown\nlocalhost,127.0.0.1,::1 http://127.0.0.1:3128";
            assert_eq!(seen.trimmed(), want, "{host}: {seen:?}");
            // No other port.
            let seen = ask(&format!("{host}:{port}"), other);
            assert!(seen.stdout().starts_with("127.0.0.1 failed\nlocalhost failed\nown\n"), "{host}: {seen:?}");
        }
        // The proxy gives way to a proxy of the host's.
        let seen = ask(&format!("localhost:3128,localhost:{port}"), port);
        assert!(seen.stdout().contains("localhost served") && seen.stdout().contains("127.0.0.1:3129"), "{seen:?}");
        let both = ["--net", &format!("localhost:{port}"), "--port", &format!("1:{port}"), "--", "true"];
        caller.run(&both).exits(125).says("is the host's already");
    });
}

#[test]
fn metadata_is_refused_even_when_named() {
    sandboxed!();
    // In a view of the host where a name leads there, as an attacker's name server would say.
    let hosts = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        hosts.path(),
        "127.0.0.1 localhost\n169.254.169.254 harmless.example.org\nfd00:ec2::254 six.example.org\n",
    )
    .expect("written");
    std::fs::set_permissions(hosts.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("readable");
    as_each(|caller| {
        for net in [
            "192.80.8.124:80",
            "100.96.0.96:80",
            "[64:ff9b::100.96.0.96]:80",
            "169.254.169.254:80",
            "[fd00:ec2::254]:80",
            "[::ffff:169.254.169.254]:80",
            "[fe80::a9fe:a9fe]:80",
        ] {
            let seen = caller.run(&["--net", net, "--", "true"]).exits(125);
            assert!(seen.stderr().contains("which is never allowed"), "{net}: {seen:?}");
        }
        for (net, host) in [
            ("example.net:80", "169.254.169.254"),
            ("example.net:80", "::ffff:169.254.169.254"),
            ("harmless.example.org:80", "harmless.example.org"),
            ("six.example.org:80", "six.example.org"),
            ("*.example.org:80", "harmless.example.org"),
        ] {
            caller.file("home/project/client.py", CLIENT, 0o644);
            let pent = caller.command(&["--net", net, "--", "python3", "client.py", host, "80"]);
            let mut view = std::process::Command::new("unshare");
            view.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts.path());
            view.arg(pent.get_program())
                .args(pent.get_args())
                .current_dir(caller.path("home/project"))
                .env("HOME", caller.home());
            let seen = view.finish().ok();
            assert!(seen.stdout().contains("socks code 2"), "{host}: {seen:?}");
            assert!(seen.stderr().contains("metadata address") && !seen.stderr().contains("allow with"), "{seen:?}");
            assert!(!seen.stdout().contains("200"), "{host}: {seen:?}");
        }
    });
}

/// Sends its arguments through the proxy, each with `PORT` in it filled in, and says what a server has got of all that.
const RAW: &str = r#"
import socket, sys
s = socket.create_connection(("127.0.0.1", 3128), 10)
s.sendall(sys.argv[1].encode("latin-1").decode("unicode_escape").encode("latin-1"))
s.settimeout(10)
data = b""
while True:
    more = s.recv(65536)
    if not more: break
    data += more
print(data.decode("latin-1"))
"#;

/// A server that answers with all that it gets within half a second, whatever it is.
fn echo() -> u16 {
    serve(|client| {
        client.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("a timeout");
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..count]);
        }
        let _written = client.write_all(&[b"HTTP/1.0 200 OK\r\n\r\n", &seen[..]].concat());
    })
}

#[test]
fn a_server_gets_one_request_and_that_for_itself() {
    sandboxed!();
    let port = echo();
    as_each(|caller| {
        caller.file("home/project/raw.py", RAW, 0o644);
        let net = format!("127.0.0.1:{port}");
        let ask = |request: &str| {
            let request = request.replace("PLACE", &net);
            caller.run(&["--net", &net, "--", "python3", "raw.py", &request]).ok().stdout()
        };
        let foreign = ask(r"GET http://PLACE/x HTTP/1.1\r\nHost: internal.example.org\r\nA: b\r\n\r\n");
        assert!(foreign.contains(&format!("GET /x HTTP/1.1\r\nHost: {net}\r\n")), "{foreign:?}");
        assert!(foreign.contains("200 OK") && !foreign.contains("internal"), "{foreign:?}");
        // A second request behind the first one, and behind a body.
        for request in [
            r"GET http://PLACE/x HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: SECOND\r\n\r\n",
            r"POST http://PLACE/x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: SECOND\r\n\r\n",
            r"POST http://PLACE/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: SECOND\r\n\r\n",
        ] {
            let seen = ask(request);
            assert!(seen.contains("/x HTTP/1.1") && !seen.contains("SECOND"), "{seen:?}");
            assert_eq!(seen.contains("body"), request.contains("body"), "{seen:?}");
        }
        for (request, why) in [
            (r"GET http://PLACE/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "more than one Host"),
            (r"GET http://PLACE/ HTTP/1.1\r\nHost : a\r\n\r\n", "a field with an invalid name"),
            (r"GET http://PLACE/ HTTP/1.1\r\nA: b\nHost: a\r\n\r\n", "a control character"),
            (r"POST http://PLACE/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "whose length"),
            (r"TRACE http://PLACE/ HTTP/1.1\r\n\r\n", "TRACE is not passed on"),
        ] {
            let seen = ask(request);
            assert!(seen.starts_with("HTTP/1.1 400 ") && seen.contains(why), "{request}: {seen:?}");
        }
    });
}

/// What looks like anybody's address and is this machine's is as private as its loopback, behind a name; by its number
/// it can be asked for.
#[test]
fn an_address_of_this_machine_is_private_whatever_it_looks_like() {
    sandboxed!();
    let hosts = tempfile::NamedTempFile::new().expect("a file");
    let names = "127.0.0.1 localhost\n8.7.6.5 four.example.org\n2a00:1450::5 six.example.org\n64:ff9b::8.7.6.5 nat.example.org\n";
    std::fs::write(hosts.path(), names).expect("written");
    std::fs::set_permissions(hosts.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("readable");
    let up = r#"mount --bind "$0" /etc/hosts && ip link set lo up && ip address add 8.7.6.5/32 dev lo \
        && ip -6 address add 2a00:1450::5/128 dev lo nodad && ip -6 route add local 64:ff9b::/96 dev lo && exec python3 -c '
import os, signal, socket, subprocess, sys
s = socket.create_server(("::", 8000), family=socket.AF_INET6, dualstack_ipv6=True)
server = os.fork()
while not server:
    c, _ = s.accept(); c.recv(4096); c.sendall(b"HTTP/1.0 200 OK\r\n\r\nserved"); c.close()
s.close()
status = subprocess.run(sys.argv[1:]).returncode
os.kill(server, signal.SIGKILL)
sys.exit(status)' "$@"
"#;
    as_each(|caller| {
        caller.file("home/project/client.py", CLIENT, 0o644);
        let seen = |net: &str, host: &str| {
            let pent = caller.command(&["--net", net, "--", "python3", "client.py", host, "8000"]);
            let mut view = std::process::Command::new("unshare");
            view.args(["--mount", "--net", "sh", "-c", up]).arg(hosts.path());
            view.arg(pent.get_program())
                .args(pent.get_args())
                .current_dir(caller.path("home/project"))
                .env("HOME", caller.home());
            view.finish().ok()
        };
        for name in ["four.example.org", "six.example.org", "nat.example.org"] {
            let seen = seen(&format!("{name}:8000"), name);
            assert_eq!(
                seen.stdout().matches("403 Forbidden pent sandbox: an address of this machine").count(),
                2,
                "{seen:?}"
            );
            assert!(seen.stdout().contains("socks code 2") && !seen.stdout().contains("served"), "{seen:?}");
            assert!(!seen.stderr().contains("allow with"), "{seen:?}");
        }
        let seen = seen("8.7.6.5:8000", "8.7.6.5");
        assert!(seen.stdout().contains("connect tunnel served"), "{seen:?}");
    });
}

#[test]
fn nothing_else_leads_out() {
    sandboxed!();
    let port = server();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
    let udp_port = udp.local_addr().expect("an address").port();
    as_each(|caller| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port} || echo no port; echo x >/dev/udp/127.0.0.1/{udp_port}; tail -n +3 /proc/net/dev | wc -l; getent hosts example.org || echo no names"
        );
        let seen = caller.run(&["--net", &format!("127.0.0.1:{}", port ^ 1), "--", "bash", "-c", &script]);
        assert_eq!(seen.trimmed(), "no port\n1\nno names", "{seen:?}");
        assert!(udp.recv(&mut [0; 16]).is_err(), "a datagram came through");
    });
}

#[test]
fn the_environment_names_the_proxy() {
    sandboxed!();
    as_each(|caller| {
        let seen =
            caller.run(&["--net", "example.org:443", "--", "sh", "-c", "env | grep -i proxy | sort"]).ok().stdout();
        for line in [
            "https_proxy=http://127.0.0.1:3128",
            "ALL_PROXY=socks5h://127.0.0.1:3128",
            "no_proxy=localhost,127.0.0.1,::1",
        ] {
            assert!(seen.contains(line), "{line}: {seen}");
        }
        let seen = caller.shell(&[], "env | grep -i proxy").exits(1);
        assert_eq!(seen.stdout(), "", "{seen:?}");
        for bad in ["example.org", "example.org:0", "a b:1", "*:443", "example.org:443,"] {
            caller.run(&["--net", bad, "--", "true"]).exits(125).says("--net");
        }
    });
}

#[test]
fn a_port_leads_into_the_sandbox() {
    sandboxed!();
    as_each(|caller| {
        // Every port is the program's, as low as it may be.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let server = "import socket\ns = socket.create_server(('127.0.0.1', 80))\nwhile True:\n  c, _ = s.accept()\n  c.sendall(b'from inside: ' + c.recv(100)); c.close()";
        caller.file("home/project/server.py", server, 0o644);
        let mut pent = caller.command(&["--port", &format!("{free}:80"), "--", "python3", "server.py"]);
        let mut child = pent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a sandbox");
        let mut answer = String::new();
        wait_until("the server answers", seconds(20), || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", free)) else { return false };
            answer.clear();
            stream.write_all(b"hello").is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer == "from inside: hello"
        });
        // On the machine's own loopback only.
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the table");
        let listening: Vec<&str> =
            table.lines().filter(|line| line.contains(&format!(":{free:04X} 00000000:0000 0A"))).collect();
        assert!(listening.len() == 1 && listening[0].contains("0100007F:"), "{listening:?}");
        // While it runs, the port is taken.
        let again = caller.run(&["--port", &free.to_string(), "--", "true"]).exits(125);
        assert!(again.stderr().contains(&format!("--port {free}")), "{again:?}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
            .expect("a signal");
        child.wait().expect("its end");
        assert!(TcpStream::connect(("127.0.0.1", free)).is_err(), "nobody listens any more");
        caller.run(&["--net", "host", "--port", "80", "--", "true"]).exits(125).says("--port");
    });
}

#[test]
fn the_proxy_ends_with_pent_and_holds_no_rights() {
    sandboxed!();
    as_each(|caller| {
        let started = caller.path("started");
        let mut pent = caller.command(&["--net", "example.org:443", "--", "sh", "-c", "echo up; sleep 100"]);
        let out = std::fs::File::create(&started).expect("a file");
        let mut child = pent.stdout(out).stderr(Stdio::null()).spawn().expect("a sandbox");
        wait_until("the program runs", seconds(20), || support::read(&started).contains("up"));
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).expect("its children");
        let own: Vec<&str> = children.split_whitespace().collect();
        assert_eq!(own.len(), 3, "the sandbox, and the network's two");
        for pid in &own {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
            let uid: u32 = status
                .lines()
                .find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').nth(1)?.parse().ok())
                .expect("a uid");
            let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).expect("capabilities");
            assert!(capabilities.ends_with("0000000000000000"), "{pid}: {status}");
            assert!(status.contains("NoNewPrivs:\t1"), "{pid}: {status}");
            assert_eq!(uid, caller.user.unwrap_or(65_534), "{pid}: {status}");
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        wait_until("all have ended", seconds(5), || {
            own.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
        });
        caller.run(&["--", "true"]).ok();
    });
}
