//! The process between a sandbox and the network: it decides by name, resolves names itself, and connects to the address that it
//! has checked. It is no part of the sandbox, and has no more rights than it needs: whoever talks to it is hostile.
#![forbid(unsafe_code)]

use super::inside::{Inside, PORT};
use super::policy::{self, Destination, Host, Named, Refused};
use super::protocol::{self, Body, Failed, Speaks, Wanted};
use super::{Denied, Tell};
use crate::launch::netlink::{Netlink, Route};
use crate::sys::{cred, socket};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections at a time, in both directions together.
const MOST: usize = 256;
/// How long a client may take to say what it wants, all of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;
/// How long an address may take to answer.
const CONNECT: Duration = Duration::from_secs(15);
/// Refusals that are told.
const TOLD: usize = 20;
/// What messages to the starter begin with.
const ASKABLE: char = '+';
const NEVER: char = '-';
/// Nobody.
const NOBODY: u32 = 65_534;

struct Proxy {
    allowed: Vec<Destination>,
    inside: Mutex<Inside>,
    open: AtomicUsize,
    told: Mutex<BTreeSet<String>>,
    tell: Tell,
    channel: OwnedFd,
}

/// Runs in a process of its own, for as long as the sandbox does. `allowed`: nothing without a proxy; `listeners`: sockets of the
/// host, and the port in the sandbox that is behind each.
pub(super) fn serve(
    allowed: Option<Vec<Destination>>,
    inside: Inside,
    listeners: Vec<(TcpListener, u16)>,
    tell: Tell,
    channel: OwnedFd,
) -> io::Result<()> {
    let mut kept: Vec<_> = listeners.iter().map(|(listener, _)| listener.as_raw_fd()).collect();
    // stderr is where refusals are told.
    kept.extend([2, inside.0.as_raw_fd(), channel.as_raw_fd()]);
    super::keep_only(&mut kept)?;
    give_up_rights()?;
    let has_proxy = allowed.is_some();
    let proxy = Arc::new(Proxy {
        allowed: allowed.unwrap_or_default(),
        inside: Mutex::new(inside),
        open: AtomicUsize::new(0),
        told: Mutex::new(BTreeSet::new()),
        tell,
        channel,
    });
    let listener = if has_proxy { Some(proxy.listen(Ipv4Addr::LOCALHOST.into(), port(&proxy.allowed))?) } else { None };
    let of_host = proxy.listen_for_host()?;
    // The program is started only now: it never finds the proxy missing.
    socket::send(proxy.channel.as_fd(), &[1], None)?;
    let mut threads = Vec::new();
    for (listener, port) in listeners {
        let proxy = Arc::clone(&proxy);
        threads.push(std::thread::spawn(move || proxy.accept(&listener, &Leads::Inside(port))));
    }
    for (listener, addresses) in of_host {
        let proxy = Arc::clone(&proxy);
        threads.push(std::thread::spawn(move || proxy.accept(&listener, &Leads::ToHost(addresses))));
    }
    if let Some(listener) = listener {
        proxy.accept(&listener, &Leads::WhereAsked);
    }
    for thread in threads {
        drop(thread.join());
    }
    Ok(())
}

/// Before there is a second thread: rights are each thread's own.
fn give_up_rights() -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        cred::set_groups(&[])?;
        cred::set_gid(NOBODY)?;
        cred::set_uid(NOBODY)?;
    }
    cred::set_no_new_privs()?;
    cred::set_dumpable(false)?;
    // The change of credentials has undone it. If it is too late, nobody hears that the proxy is ready.
    cred::set_parent_death_signal(libc::SIGKILL)?;
    Ok(())
}

/// Where connections to a listener go.
#[derive(Debug, Clone)]
enum Leads {
    /// To whom the client asks for.
    WhereAsked,
    /// To a port in the sandbox.
    Inside(u16),
    /// To the first of these on the host that answers.
    ToHost(Vec<SocketAddr>),
}

/// Where the proxy listens: not where the host's own servers are to be had.
fn port(allowed: &[Destination]) -> u16 {
    (PORT..).find(|port| !super::is_of_host(allowed, *port)).unwrap_or(PORT)
}

impl Proxy {
    fn listen(&self, address: IpAddr, port: u16) -> nix::Result<TcpListener> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.listener(address, port).map(TcpListener::from)
    }

    /// The host's own servers that were asked for, at the same addresses of the sandbox: programs do not ask a proxy for
    /// what is on their machine, and most cannot.
    fn listen_for_host(&self) -> nix::Result<Vec<(TcpListener, Vec<SocketAddr>)>> {
        let mut all: BTreeMap<SocketAddr, Vec<SocketAddr>> = BTreeMap::new();
        for place in &self.allowed {
            let to: Vec<_> =
                place.on_this_machine().into_iter().map(|address| SocketAddr::new(address, place.port)).collect();
            for at in &to {
                // Of the name and the number, the number says more.
                let known = all.entry(*at).or_insert_with(|| to.clone());
                if to.len() < known.len() {
                    known.clone_from(&to);
                }
            }
        }
        let mut listeners = Vec::new();
        for (at, to) in all {
            match self.listen(at.ip(), at.port()) {
                Ok(listener) => listeners.push((listener, to)),
                // Not every kernel has version 6, and the name has an address of version 4 as well.
                Err(_) if at.is_ipv6() && to.len() > 1 => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(listeners)
    }

    /// Serves every connection to a listener.
    fn accept(self: &Arc<Self>, listener: &TcpListener, leads: &Leads) {
        loop {
            let Ok((client, _)) = listener.accept() else {
                // Out of descriptors, or the client is gone again.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            if self.open.fetch_add(1, Ordering::Relaxed) >= MOST {
                self.open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (proxy, leads) = (Arc::clone(self), leads.clone());
            let serve = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
                // Whatever goes wrong between two others is theirs.
                drop(match leads {
                    Leads::Inside(port) => proxy.publish(client, port),
                    Leads::ToHost(addresses) => to_host(client, &addresses),
                    Leads::WhereAsked => proxy.forward(client),
                });
                proxy.open.fetch_sub(1, Ordering::Relaxed);
            });
            if serve.is_err() {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// A connection out of the sandbox.
    fn forward(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_write_timeout(Some(PATIENCE))?;
        let wanted = protocol::read(&mut Patient { stream: &client, until: Instant::now() + PATIENCE })?;
        match self.connect(&wanted) {
            Ok(mut server) => {
                protocol::accept(&mut client, wanted.speaks)?;
                server.write_all(&wanted.first)?;
                client.set_read_timeout(None)?;
                client.set_write_timeout(None)?;
                match wanted.speaks {
                    Speaks::Plain => copy_request(client, server, wanted.body),
                    Speaks::Connect | Speaks::Socks => copy_both(client, server),
                }
            }
            Err(failed) => {
                if let Failed::Refused(why) = failed {
                    self.tell(&wanted, why);
                }
                protocol::refuse(&mut client, wanted.speaks, failed)
            }
        }
    }

    /// To the first address that may be connected to and answers. What is checked is what is connected to: there is no second lookup.
    fn connect(&self, wanted: &Wanted) -> Result<TcpStream, Failed> {
        let host = policy::asked(&wanted.host).map_err(Failed::Refused)?;
        if let Host::Address(address) = host {
            // Whether or not it was asked for, so that nobody is told to ask for it.
            policy::check(address).map_err(Failed::Refused)?;
        }
        policy::is_asked(&self.allowed, &host, wanted.port).map_err(Failed::Refused)?;
        let addresses: Vec<IpAddr> = match &host {
            Host::Address(address) => vec![*address],
            Host::Name(name) | Host::Below(name) => {
                let found = (name.as_str(), wanted.port).to_socket_addrs().map_err(|_| Failed::Unknown)?;
                found.map(|address| address.ip()).collect()
            }
        };
        let mut failed = Failed::Unknown;
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            match policy::check_behind(&self.allowed, &host, wanted.port, address)
                .map_err(Failed::Refused)
                .and_then(|named| reach(address, wanted.port, named == Named::Itself))
            {
                Ok(server) => return Ok(server),
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    /// A connection into the sandbox.
    fn publish(&self, client: TcpStream, port: u16) -> io::Result<()> {
        let socket: OwnedFd = self.inside.lock().unwrap_or_else(PoisonError::into_inner).socket()?;
        let server = connect_inside(socket, port)?;
        copy_both(client, server)
    }

    /// Each refusal once, and not endlessly many: whoever asks decides what is asked for.
    fn tell(&self, wanted: &Wanted, why: Refused) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let host: String =
            wanted.host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_:".contains(*c)).take(253).collect();
        let place =
            if host.contains(':') { format!("[{host}]:{}", wanted.port) } else { format!("{host}:{}", wanted.port) };
        if self.tell == Tell::Nobody || told.len() >= TOLD || !told.insert(place.clone()) {
            return;
        }
        // Not every name can be asked for.
        let could_be_asked = why == Refused::NotAsked && place.parse::<Destination>().is_ok();
        // Somebody asked for the name. Whether it is meant to lead into their own network, only they know.
        let typed = why.address().map(|address| match address {
            IpAddr::V4(v4) => format!("{host}={v4}:{}", wanted.port),
            IpAddr::V6(v6) => format!("{host}=[{v6}]:{}", wanted.port),
        });
        let typed = typed.filter(|typed| typed.parse::<Destination>().is_ok());
        let why = match &typed {
            Some(typed) => format!("{why}: only if it is meant to lead there, --net {typed}"),
            None => why.to_string(),
        };
        if self.tell == Tell::Starter {
            let message = format!("{}{place} {why}", if could_be_asked { ASKABLE } else { NEVER });
            // Without a starter there is no sandbox either.
            let _sent = socket::send(self.channel.as_fd(), message.as_bytes(), None);
            return;
        }
        let is_private =
            matches!(policy::asked(&wanted.host), Ok(Host::Address(address)) if super::is_private(address));
        let remedy = if could_be_asked && !is_private {
            format!("  allow with --net {place} ({})", super::CHOSEN)
        } else {
            String::new()
        };
        drop(io::stderr().write_all(format!("pent: denied  connect {place}  {why}{remedy}\n").as_bytes()));
    }
}

/// Whether packets to an address end at this machine, by the kernel's tables; where these cannot be asked, they might.
pub(super) fn is_own(address: IpAddr) -> bool {
    let Ok(kernel) = Netlink::open() else { return true };
    [address, policy::plain(address)].into_iter().any(|address| ends_here(kernel.route(address)))
}

fn ends_here(route: nix::Result<Route>) -> bool {
    use nix::errno::Errno;
    match route {
        Ok(route) => route == Route::Own,
        // Without a route, or by one that leads nowhere: it is not connected to. Of a version 6 address that holds one of
        // version 4, one is often so.
        Err(
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EACCES
            | Errno::EINVAL
            | Errno::EAFNOSUPPORT
            | Errno::EOPNOTSUPP,
        ) => false,
        Err(_) => true,
    }
}

/// Connects to an address, unless it is this machine's and not `named`: what listens there for everybody is often meant
/// for the machine itself. What the machine's addresses are changes all the time: the kernel is asked now, and again
/// once there is a connection.
fn reach(address: IpAddr, port: u16, named: bool) -> Result<TcpStream, Failed> {
    let own = Failed::Refused(Refused::Own(address));
    if !named && is_own(address) {
        return Err(own);
    }
    let server =
        TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT).map_err(|_| Failed::Unreachable)?;
    let ends = server.local_addr().and_then(|here| Ok((here.ip(), server.peer_addr()?.ip())));
    match ends {
        Ok((here, there)) if named || here != there => Ok(server),
        Ok(_) => Err(own),
        Err(_) => Err(Failed::Unreachable),
    }
}

/// From a port of the sandbox's loopback to the same of the host's.
fn to_host(client: TcpStream, addresses: &[SocketAddr]) -> io::Result<()> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match TcpStream::connect_timeout(address, CONNECT) {
            Ok(server) => return copy_both(client, server),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A client that has to be done with what it wants at a time: byte by byte it could go on for ever.
struct Patient<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buf)
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A message of [`Tell::Starter`].
pub(super) fn parse_denied(message: &[u8]) -> Option<Denied> {
    let text = std::str::from_utf8(message).ok()?;
    let (place, why) = text.get(1..)?.split_once(' ')?;
    Some(Denied { place: place.to_owned(), why: why.to_owned(), could_be_asked: text.starts_with(ASKABLE) })
}

/// To a port at 127.0.0.1 in the sandbox, whoever listens there.
fn connect_inside(socket: OwnedFd, port: u16) -> io::Result<TcpStream> {
    use nix::sys::socket::{SockaddrIn, connect};
    let stream = TcpStream::from(socket);
    // A full backlog of the program's is no reason to wait for ever: SO_SNDTIMEO limits connect(2), too.
    stream.set_write_timeout(Some(CONNECT))?;
    connect(stream.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

/// Both directions, until both are over.
fn copy_both(a: TcpStream, b: TcpStream) -> io::Result<()> {
    let (mut from_a, mut to_b) = (a.try_clone()?, b.try_clone()?);
    let there = std::thread::Builder::new().stack_size(128 << 10).spawn(move || copy(&mut from_a, &mut to_b))?;
    let (mut from_b, mut to_a) = (b, a);
    copy(&mut from_b, &mut to_a);
    drop(there.join());
    Ok(())
}

/// A request's body to the server, and all that the server says back. What the client sends after the one request goes
/// nowhere: another request could be to somebody else.
fn copy_request(client: TcpStream, server: TcpStream, body: Body) -> io::Result<()> {
    let (from, mut to) = (client.try_clone()?, server.try_clone()?);
    let there = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
        let mut from = io::BufReader::new(from);
        let sent = protocol::send_body(&mut from, &mut to, body);
        let ended = sent.and_then(|()| io::copy(&mut from, &mut io::sink()));
        // At the client's end the server may still have to answer; what is no body is not to be answered.
        drop(to.shutdown(if ended.is_ok() { Shutdown::Write } else { Shutdown::Both }));
    })?;
    let (mut from_server, mut to_client) = (server, client);
    copy(&mut from_server, &mut to_client);
    drop(there.join());
    Ok(())
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                // The end of what one side has to say; the other may go on.
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                drop(to.shutdown(Shutdown::Both));
                drop(from.shutdown(Shutdown::Both));
                return;
            }
        }
    }
}

/// Variables that tell programs of the proxy. `socks5h`: names go to the proxy as they are. The sandbox's own loopback needs none:
/// what of the host's is asked for is there.
pub(super) fn environment(allowed: &[Destination]) -> Vec<(String, String)> {
    let port = port(allowed);
    let http = format!("http://127.0.0.1:{port}");
    let socks = format!("socks5h://127.0.0.1:{port}");
    // Node's own fetch heeds the others only with this (from version 22.21 and 24 on).
    let node = ("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
    let none = "localhost,127.0.0.1,::1";
    [
        ("http_proxy", &http),
        ("https_proxy", &http),
        ("HTTP_PROXY", &http),
        ("HTTPS_PROXY", &http),
        ("all_proxy", &socks),
        ("ALL_PROXY", &socks),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .chain([("no_proxy".to_owned(), none.to_owned()), ("NO_PROXY".to_owned(), none.to_owned()), node])
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_say_might_be_this_machine() {
        use nix::errno::Errno;
        assert!(ends_here(Ok(Route::Own)) && !ends_here(Ok(Route::Other)) && !ends_here(Err(Errno::ENETUNREACH)));
        assert!(ends_here(Err(Errno::ENOMEM)) && ends_here(Err(Errno::EPERM)) && ends_here(Err(Errno::EBADMSG)));
    }
}
