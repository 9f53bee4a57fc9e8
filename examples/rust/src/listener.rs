//! Receives the TCP connections that a sni-handoff front door hands over. Copy this file; it needs `libc` and `tokio`
//! (features "macros", "net", "rt", "sync", "time").
//!
//!     let mut listener = Listener::bind("/run/app/door.sock")?; // inside of a tokio runtime
//!     loop {
//!         let (stream, client) = listener.accept().await?; // as tokio::net::TcpListener's, nothing of it read
//!         tokio::spawn(serve(stream, client));
//!     }
//!
//! To end (SIGTERM): `listener.drain()`, and go on with `accept` until it fails: then nothing more will come.
//!
//! The protocol, rule for rule: src/handoff/PROTOCOL.md of sni-handoff. MIT licence.
#![allow(dead_code)] // a copy need not use all of it

use std::{
    collections::{HashMap, VecDeque},
    ffi::{CString, OsStr},
    fs, io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{unix::AsyncFd, Interest, Ready},
    net::TcpStream,
    sync::{mpsc, watch},
    time::{sleep, sleep_until, Instant},
};

pub struct Options {
    /// A socket's path, "@name" (abstract), or a folder (an existing one, or any path that ends in "/"), in which the
    /// process makes a socket of its own. The folder must exist. A socket that the service manager passed and that is
    /// bound to the path is used (sd_listen_fds(3)).
    pub path: PathBuf,
    /// Of the path. The door needs write permission.
    pub mode: u32,
    /// Of the path: the door's group.
    pub group: Option<u32>,
    /// 1 to 128: connections that each worker of a door may have on the way at once.
    pub window: u16,
    /// 1 to 65535: share of the backend's connections beside its other instances.
    pub weight: u16,
    /// User ids whose processes may be doors; others are disconnected. None: whoever may write to the path.
    pub allowed_users: Option<Vec<u32>>,
    /// How many connections may wait for `accept`. What is beyond goes to other instances.
    pub queue: usize,
    /// How long doors have to close their channels after `drain`.
    pub drain_timeout: Duration,
    /// A door broke the protocol or may not be one, or channels cannot be accepted: each cause once.
    pub on_warning: Box<dyn Fn(&str) + Send + Sync>,
}

impl Options {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: 0o660,
            group: None,
            window: MOST_WINDOW,
            weight: 1,
            allowed_users: None,
            queue: 1024,
            drain_timeout: Duration::from_secs(10),
            on_warning: Box::new(|text| eprintln!("sni-handoff: {text}")),
        }
    }
}

/// What the door tells about a connection.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// In the door's log too.
    pub connection_id: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub accepted_at: u64,
    /// Bit 0: the first bytes are a TLS ClientHello; bit 1: the server name is the outer one (ECH); bit 4: HTTP/1.x.
    pub flags: u32,
    /// Lower case. It is for routing; it authorises nothing.
    pub server_name: Option<String>,
    /// The first protocol of the client's list.
    pub alpn: Option<Vec<u8>>,
    /// Bytes of a PROXY header that the door has read.
    pub consumed: u32,
    /// The client, and the address that it connected to, as a PROXY header told them.
    pub client: Option<SocketAddr>,
    pub server: Option<SocketAddr>,
}

/// A connection that is this process's, and not yet accepted.
struct Handed {
    socket: OwnedFd,
    info: Info,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Open,
    /// No more channels; the path is being removed.
    Closing,
    /// It is: doors that are told so find the successor there.
    Draining,
}

pub struct Listener {
    handed: mpsc::Receiver<Handed>,
    stage: Arc<watch::Sender<Stage>>,
    shared: Arc<Shared>,
    path: PathBuf,
}

impl Listener {
    /// Listens at once. The error says who has the path, or what is wrong with it. May block up to 2 s, while another
    /// process does the same in the folder.
    pub fn bind(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::with_options(Options::new(path))
    }

    pub fn with_options(options: Options) -> io::Result<Self> {
        if !(1..=MOST_WINDOW).contains(&options.window) || options.weight == 0 || options.queue == 0 {
            return Err(invalid("window must be 1 to 128, weight and queue at least 1".into()));
        }
        let bound = match passed(&options.path)? {
            Some(bound) => bound,
            None => claim(&options)?,
        };
        let path = bound.path.clone();
        let (sender, handed) = mpsc::channel(options.queue);
        let stage = Arc::new(watch::channel(Stage::Open).0);
        let shared =
            Arc::new(Shared { options, path: path.clone(), warned: Mutex::default(), channels: Mutex::default() });
        #[allow(deprecated)] // what replaces it came with tokio 1.54
        let bound = AsyncFd::with_interest(bound, Interest::READABLE)?;
        tokio::spawn(accept_channels(bound, shared.clone(), sender, stage.clone()));
        Ok(Self { handed, stage, shared, path })
    }

    /// The next connection, and who its client is: what a PROXY header told, else the other end. Cancel safe. Fails once
    /// the listener is drained.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept_with_info().await.map(|(stream, client, _)| (stream, client))
    }

    pub async fn accept_with_info(&mut self) -> io::Result<(TcpStream, SocketAddr, Info)> {
        while let Some(Handed { socket, info }) = self.handed.recv().await {
            let socket = std::net::TcpStream::from(socket);
            let client = info.client.map_or_else(|| socket.peer_addr(), Ok);
            // One that has died meanwhile is nobody's failure.
            let (Ok(client), Ok(())) = (client, socket.set_nonblocking(true)) else { continue };
            match TcpStream::from_std(socket) {
                Ok(stream) => return Ok((stream, client, info)),
                // Of this one alone, as at the limit of epoll(7) watches: an error from here would say "drained".
                Err(error) => self.shared.warn(0, format!("cannot take a connection: {error}")),
            }
        }
        Err(io::Error::new(io::ErrorKind::NotConnected, "the listener is drained"))
    }

    /// Asks the doors for no more, and removes the path, so that a successor can have it. What is on the way is still
    /// accepted.
    pub fn drain(&self) {
        self.stage.send_if_modified(|stage| {
            let is_open = *stage == Stage::Open;
            if is_open {
                *stage = Stage::Closing;
            }
            is_open
        });
    }

    /// The path of the socket itself, also where a folder was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

struct Shared {
    options: Options,
    path: PathBuf,
    warned: Mutex<VecDeque<(i32, String)>>,
    /// How many channels each process has.
    channels: Mutex<HashMap<i32, usize>>,
}

impl Shared {
    /// Once for each cause and process: numbers in the text make no other cause.
    fn warn(&self, pid: i32, text: String) {
        let cause = (pid, text.chars().filter(|character| !character.is_ascii_digit()).collect());
        {
            let mut warned = self.warned.lock().unwrap();
            if warned.contains(&cause) {
                return;
            }
            warned.push_back(cause);
            if warned.len() > WARNINGS {
                warned.pop_front();
            }
        }
        (self.options.on_warning)(&text);
    }
}

// --- the protocol's numbers ------------------------------------------------------------------------------------------

const VERSION: u8 = 1;
const HEADER: usize = 8;
const MOST_MESSAGE: usize = 1024;
const MOST_WINDOW: u16 = 128;

const READY: u8 = 1;
const HANDOFF: u8 = 2;
const ACK: u8 = 3;
const REFUSE: u8 = 4;
const REVOKE: u8 = 5;
const DRAIN: u8 = 6;

const VERSIONS: u16 = 1;
const WINDOW: u16 = 2;
const WEIGHT: u16 = 3;
const CONNECTION_ID: u16 = 4;
const ACCEPTED_AT: u16 = 5;
const HELLO_DEADLINE: u16 = 6;
const FLAGS: u16 = 7;
const SERVER_NAME: u16 = 8;
const ALPN: u16 = 9;
const CLIENT_ADDRESS: u16 = 10;
const OPEN: u16 = 11;
const REASON: u16 = 12;
const CONSUMED: u16 = 13;
const SERVER_ADDRESS: u16 = 14;

/// Messages read by one recvmmsg(2), acknowledged by one ACK.
const BATCH: usize = 32;
/// Of one process: more than any door has workers.
const MOST_CHANNELS: usize = 256;
/// That are remembered, so that each is told once.
const WARNINGS: usize = 64;
/// Of channels, not connections.
const BACKLOG: i32 = 511;
/// After a failed accept, most likely for want of descriptors: a ready listener would take a whole processor.
const ACCEPT_REST: Duration = Duration::from_secs(1);
/// After a failure to send for which there is no event to wait for (ENOBUFS).
const SEND_REST: Duration = Duration::from_millis(20);

// --- channels --------------------------------------------------------------------------------------------------------

async fn accept_channels(
    bound: AsyncFd<Bound>,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Handed>,
    stages: Arc<watch::Sender<Stage>>,
) {
    let mut stage = stages.subscribe();
    while *stage.borrow_and_update() == Stage::Open {
        let mut guard = tokio::select! {
            ready = bound.readable() => match ready {
                Ok(guard) => guard,
                Err(_) => break,
            },
            _ = stage.changed() => continue,
            _ = sender.closed() => break,
        };
        match accept_channel(bound.as_raw_fd()) {
            Ok(channel) => {
                if let Some(peer) = admitted(&shared, &channel) {
                    let state = Channel::new(channel.as_raw_fd(), peer, shared.clone(), sender.clone());
                    tokio::spawn(state.run(channel, stage.clone()));
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => guard.clear_ready(),
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => {
                    shared.warn(0, format!("cannot accept a channel at {}: {error}", shared.path.display()));
                    drop(guard);
                    tokio::select! {
                        _ = sleep(ACCEPT_REST) => {}
                        _ = stage.changed() => {}
                    }
                }
            },
        }
    }
    drop(bound);
    stages.send_replace(Stage::Draining);
}

fn accept_channel(listener: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    owned(unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) })
}

fn admitted(shared: &Shared, channel: &OwnedFd) -> Option<libc::ucred> {
    let peer = peer_of(channel.as_raw_fd());
    let (path, door) = (shared.path.display(), name_of(&peer));
    if shared.options.allowed_users.as_ref().is_some_and(|allowed| !allowed.contains(&peer.uid)) {
        shared.warn(peer.pid, format!("{door} may not be a door at {path}: not one of the allowed users"));
        return None;
    }
    if *shared.channels.lock().unwrap().get(&peer.pid).unwrap_or(&0) >= MOST_CHANNELS {
        let much =
            format!("{door} has {MOST_CHANNELS} channels at {path}, more than any door needs: another is closed");
        shared.warn(peer.pid, much);
        return None;
    }
    Some(peer)
}

/// A process as messages name it: one of another pid namespace has no number here (pid_namespaces(7)).
fn name_of(process: &libc::ucred) -> String {
    match process.pid {
        0 => format!("a process of another pid namespace, of user {}", process.uid),
        pid => format!("process {pid} of user {}", process.uid),
    }
}

/// What becomes of a HANDOFF.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Take,
    /// Dead already: acknowledged and closed, since every instance would refuse it.
    Bury,
    NoDescriptor,
    NotTcp,
    Overloaded,
}

impl Verdict {
    fn reason(self) -> Option<u8> {
        match self {
            Verdict::Take | Verdict::Bury => None,
            Verdict::NoDescriptor => Some(1),
            Verdict::NotTcp => Some(2),
            Verdict::Overloaded => Some(3),
        }
    }
}

/// A HANDOFF that is neither acknowledged nor refused.
struct Unsettled {
    sequence: u32,
    verdict: Verdict,
    socket: Option<OwnedFd>,
    info: Info,
    /// Its place in the queue to `accept`.
    place: Option<mpsc::OwnedPermit<Handed>>,
}

enum Step {
    /// There was less than a batch.
    Empty,
    More,
    /// The end, without a REVOKE: the door is gone, and nobody else has what it left here.
    Ended,
    /// By a REVOKE or a violation: what is unsettled is another's.
    Lost,
}

struct Channel {
    fd: RawFd,
    peer: libc::ucred,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Handed>,
    unsettled: Vec<Unsettled>,
    last_received: Option<u32>,
    last_acknowledged: Option<u32>,
    ready_due: bool,
    drain_due: bool,
    /// For room in the door's queue.
    waits: bool,
    /// Short of memory: sends again after a while.
    rests: bool,
    /// An ACK or REFUSE failed: whose the unsettled ones are is known at the channel's end.
    is_broken: bool,
}

impl Channel {
    fn new(fd: RawFd, peer: libc::ucred, shared: Arc<Shared>, sender: mpsc::Sender<Handed>) -> Self {
        *shared.channels.lock().unwrap().entry(peer.pid).or_default() += 1;
        Self {
            fd,
            peer,
            shared,
            sender,
            unsettled: Vec::new(),
            last_received: None,
            last_acknowledged: None,
            ready_due: true,
            drain_due: false,
            waits: false,
            rests: false,
            is_broken: false,
        }
    }

    /// Its whole life. What is unsettled when this returns is closed.
    async fn run(mut self, socket: OwnedFd, mut stage: watch::Receiver<Stage>) {
        #[allow(deprecated)] // as above
        let socket = match AsyncFd::new(socket) {
            Ok(socket) => socket,
            Err(error) => return self.shared.warn(0, format!("cannot take a channel: {error}")),
        };
        let sender = self.sender.clone();
        let mut deadline = None;
        loop {
            if *stage.borrow_and_update() == Stage::Draining && deadline.is_none() {
                deadline = Some(Instant::now() + self.shared.options.drain_timeout);
                self.drain_due = true;
                self.ready_due = false;
            }
            self.settle();
            let interest = if self.waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let end = deadline.unwrap_or_else(Instant::now);
            tokio::select! {
                ready = socket.ready(interest) => {
                    let Ok(mut ready) = ready else { return };
                    if self.waits && ready.ready().is_writable() {
                        // Tried again by `settle`; only then is it known whether that is so still.
                        ready.clear_ready_matching(Ready::WRITABLE);
                        self.waits = false;
                    }
                    if !(ready.ready().is_readable() || ready.ready().is_read_closed()) {
                        continue;
                    }
                    match self.read() {
                        Step::More => {}
                        Step::Empty => ready.clear_ready_matching(Ready::READABLE),
                        Step::Ended => break,
                        Step::Lost => return,
                    }
                }
                _ = stage.changed(), if deadline.is_none() => {}
                _ = sleep(SEND_REST), if self.rests => self.rests = false,
                _ = sleep_until(end), if deadline.is_some() => return,
                _ = sender.closed() => return, // the Listener was dropped
            }
        }
        for each in mem::take(&mut self.unsettled) {
            match (each.verdict, each.socket, each.place) {
                (Verdict::Take, Some(socket), Some(place)) => drop(place.send(Handed { socket, info: each.info })),
                (Verdict::Overloaded, Some(socket), _) => {
                    let _ = sender.send(Handed { socket, info: each.info }).await;
                }
                _ => {}
            }
        }
    }

    /// Sends what is due: READY, DRAIN, all REFUSEs, then one ACK; what that takes goes to `accept`.
    fn settle(&mut self) {
        if self.is_broken || self.waits || self.rests {
            return;
        }
        if self.ready_due {
            let Options { window, weight, .. } = self.shared.options;
            let ready = Message::new(READY, 0)
                .with(VERSIONS, &[VERSION, VERSION])
                .with(WINDOW, &window.to_le_bytes())
                .with(WEIGHT, &weight.to_le_bytes());
            if !self.send(&ready) {
                return;
            }
            self.ready_due = false;
        }
        if self.drain_due {
            if !self.send(&Message::new(DRAIN, 0)) {
                return;
            }
            self.drain_due = false;
        }
        let mut i = 0;
        while i < self.unsettled.len() {
            let Unsettled { sequence, verdict, .. } = self.unsettled[i];
            let Some(reason) = verdict.reason() else {
                i += 1;
                continue;
            };
            if !self.send(&Message::new(REFUSE, sequence).with(REASON, &[reason])) {
                return;
            }
            self.unsettled.remove(i);
        }
        let Some(last) = self.unsettled.last().map(|last| last.sequence) else { return };
        if !self.send(&Message::new(ACK, last)) {
            return;
        }
        self.last_acknowledged = Some(last);
        for each in self.unsettled.drain(..) {
            if let (Verdict::Take, Some(socket), Some(place)) = (each.verdict, each.socket, each.place) {
                place.send(Handed { socket, info: each.info });
            }
        }
    }

    /// False if it could not be sent now, or at all.
    fn send(&mut self, message: &Message) -> bool {
        let Message { bytes, length } = message;
        loop {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            if unsafe { libc::send(self.fd, bytes.as_ptr().cast(), *length, flags) } >= 0 {
                return true;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN) => self.is_broken = true,
                Some(libc::EAGAIN) => self.waits = true,
                _ => self.rests = true,
            }
            return false;
        }
    }

    /// One batch.
    fn read(&mut self) -> Step {
        let received = with_batch(self.fd, |messages| -> Result<(), Option<String>> {
            for (bytes, descriptors) in messages {
                self.take(bytes, descriptors)?;
            }
            Ok(())
        });
        match received {
            Ok((Ok(()), step)) => step,
            Ok((Err(None), _)) => Step::Lost,
            Ok((Err(Some(wrong)), _)) => {
                let door = name_of(&self.peer);
                let violation = format!("protocol violation by the door, {door}: {wrong}; its channel is closed");
                self.shared.warn(self.peer.pid, violation);
                Step::Lost
            }
            Err(error) => {
                let door = name_of(&self.peer);
                let failure = format!("cannot read from the door, {door}: {error}; its channel is closed");
                self.shared.warn(self.peer.pid, failure);
                Step::Lost
            }
        }
    }

    /// Err(None) is a REVOKE, Err(Some) a violation.
    fn take(&mut self, bytes: Result<&[u8], usize>, descriptors: Descriptors) -> Result<(), Option<String>> {
        let bytes =
            bytes.map_err(|length| format!("a message of {length} bytes; at most {MOST_MESSAGE} are allowed"))?;
        let (kind, sequence, info) = decode(bytes)?;
        match kind {
            HANDOFF => {}
            _ if !matches!(descriptors, Descriptors::None) => {
                return Err(Some(format!("a message of type {kind} with a descriptor")));
            }
            REVOKE => match self.last_acknowledged {
                // Never behind the last ACK; ahead of it if the last ones were refused.
                Some(last) if last.wrapping_sub(sequence) as i32 > 0 => {
                    return Err(Some(format!("REVOKE after {sequence}, but {last} was acknowledged")));
                }
                _ => return Err(None),
            },
            READY..=DRAIN => return Err(Some(format!("a message of type {kind}, which only instances send"))),
            _ => return Err(Some(format!("a message of unknown type {kind}"))),
        }
        if let Some(last) = self.last_received.filter(|last| sequence != last.wrapping_add(1)) {
            return Err(Some(format!("HANDOFF {sequence} after {last}; one higher is next")));
        }
        if self.unsettled.len() >= self.shared.options.window.into() {
            return Err(Some(format!("HANDOFF {sequence} exceeds the window of {}", self.shared.options.window)));
        }
        let socket = match descriptors {
            Descriptors::One(socket) => Some(socket),
            _ => None,
        };
        let mut verdict = socket.as_ref().map_or(Verdict::NoDescriptor, |socket| judge(socket.as_raw_fd()));
        let mut place = None;
        if verdict == Verdict::Take {
            place = self.sender.clone().try_reserve_owned().ok();
            if place.is_none() {
                verdict = Verdict::Overloaded;
            }
        }
        self.last_received = Some(sequence);
        self.unsettled.push(Unsettled { sequence, verdict, socket, info, place });
        Ok(())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut channels = self.shared.channels.lock().unwrap();
        if let Some(count) = channels.get_mut(&self.peer.pid) {
            *count -= 1;
            if *count == 0 {
                channels.remove(&self.peer.pid);
            }
        }
    }
}

/// TCP_INFO is answered by TCP sockets alone, whatever else the descriptor may be. The states are those of
/// include/net/tcp_states.h in the kernel.
fn judge(socket: RawFd) -> Verdict {
    const SYN_SENT: u8 = 2;
    const TIME_WAIT: u8 = 6;
    const CLOSED: u8 = 7;
    const LISTEN: u8 = 10;
    const AT_SEGS_IN: usize = 140; // tcpi_segs_in: Linux 4.2
    let mut info = [0u8; AT_SEGS_IN + 4];
    match option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info) {
        Err(_) | Ok(0) => Verdict::NotTcp,
        Ok(length) => match info[0] {
            SYN_SENT | LISTEN => Verdict::NotTcp,
            // Any connection has received a segment; a socket that was never connected has not.
            TIME_WAIT | CLOSED if length == info.len() && info[AT_SEGS_IN..] == [0; 4] => Verdict::NotTcp,
            TIME_WAIT | CLOSED => Verdict::Bury,
            _ => Verdict::Take,
        },
    }
}

// --- messages --------------------------------------------------------------------------------------------------------

struct Message {
    bytes: [u8; 64],
    length: usize,
}

impl Message {
    fn new(kind: u8, sequence: u32) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[2] = HEADER as u8;
        bytes[4..8].copy_from_slice(&sequence.to_le_bytes());
        Self { bytes, length: HEADER }
    }

    fn with(mut self, field: u16, value: &[u8]) -> Self {
        let (at, start) = (self.length, self.length + 4);
        self.length = start + value.len();
        self.bytes[at..at + 2].copy_from_slice(&field.to_le_bytes());
        self.bytes[at + 2..start].copy_from_slice(&(value.len() as u16).to_le_bytes());
        self.bytes[start..self.length].copy_from_slice(value);
        self.bytes[2] = self.length as u8;
        self
    }
}

/// A message's type, sequence and fields; or which rule it breaks.
fn decode(bytes: &[u8]) -> Result<(u8, u32, Info), String> {
    let length = bytes.len();
    if length < HEADER {
        return Err(format!("a message of {length} bytes, shorter than its header of {HEADER}"));
    }
    if bytes[0] != VERSION {
        return Err(format!("version {}; version {VERSION} was agreed", bytes[0]));
    }
    let stated = u16::from_le_bytes([bytes[2], bytes[3]]) as usize;
    if stated != length {
        return Err(format!("a message that states {stated} bytes and has {length}"));
    }
    let mut info = Info::default();
    let mut present = 0u16;
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let [a, b, c, d, fields @ ..] = rest else { return Err("a field that overruns its message".into()) };
        let (field, size) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]) as usize);
        if size > fields.len() {
            return Err(format!("field {field}, which overruns its message"));
        }
        let (value, next) = fields.split_at(size);
        rest = next;
        if !(VERSIONS..=SERVER_ADDRESS).contains(&field) {
            continue; // unknown ones are ignored
        }
        if present & 1 << field != 0 {
            return Err(format!("field {field} twice"));
        }
        present |= 1 << field;
        read_field(&mut info, field, value)
            .ok_or_else(|| format!("field {field} of {size} bytes, or with a wrong value"))?;
    }
    let needed = 1 << CONNECTION_ID | 1 << ACCEPTED_AT | 1 << FLAGS;
    if bytes[1] == HANDOFF && present & needed != needed {
        return Err("HANDOFF without CONNECTION_ID, ACCEPTED_AT or FLAGS".into());
    }
    Ok((bytes[1], u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]), info))
}

/// None if the value is wrong.
fn read_field(info: &mut Info, field: u16, value: &[u8]) -> Option<()> {
    match field {
        CONNECTION_ID => info.connection_id = u64::from_le_bytes(value.try_into().ok()?),
        ACCEPTED_AT => info.accepted_at = u64::from_le_bytes(value.try_into().ok()?),
        FLAGS => info.flags = u32::from_le_bytes(value.try_into().ok()?),
        CONSUMED => info.consumed = u32::from_le_bytes(value.try_into().ok()?),
        SERVER_NAME if (1..=255).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic) => {
            info.server_name = Some(std::str::from_utf8(value).ok()?.into());
        }
        SERVER_NAME => return None,
        ALPN if (1..=255).contains(&value.len()) => info.alpn = Some(value.into()),
        ALPN => return None,
        CLIENT_ADDRESS => info.client = Some(address(value)?),
        SERVER_ADDRESS => info.server = Some(address(value)?),
        HELLO_DEADLINE if value.len() == 8 => {}
        OPEN if value.len() == 4 => {}
        VERSIONS | WINDOW | WEIGHT if value.len() == 2 => {}
        REASON if value.len() == 1 => {}
        _ => return None,
    }
    Some(())
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let (port, host) = value.split_at_checked(2)?;
    let host = match host.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(host).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(host).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(host, u16::from_le_bytes([port[0], port[1]])))
}

/// What came beside a message.
enum Descriptors {
    None,
    One(OwnedFd),
    /// Lost at this process's own limit (MSG_CTRUNC), or more than one: those that came are closed.
    Unusable,
}

fn descriptors_of(header: &libc::msghdr) -> Descriptors {
    const SCM_PIDFD: i32 = 4; // Linux 6.5: a descriptor too
    let mut first = None;
    let mut count = 0;
    unsafe {
        let mut part = libc::CMSG_FIRSTHDR(header);
        while let Some(&libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type, .. }) = part.as_ref() {
            if cmsg_level == libc::SOL_SOCKET && (cmsg_type == libc::SCM_RIGHTS || cmsg_type == SCM_PIDFD) {
                let data = libc::CMSG_DATA(part).cast::<RawFd>();
                // Of another type, and with padding beside it, in musl.
                for i in 0..(cmsg_len as usize - libc::CMSG_LEN(0) as usize) / mem::size_of::<RawFd>() {
                    let each = data.add(i).read_unaligned();
                    if each < 0 {
                        continue; // a pidfd that could not be made
                    }
                    let each = OwnedFd::from_raw_fd(each);
                    if cmsg_type == libc::SCM_RIGHTS {
                        count += 1;
                        first.get_or_insert(each);
                    }
                }
            }
            part = libc::CMSG_NXTHDR(header, part);
        }
    }
    let is_cut = header.msg_flags & libc::MSG_CTRUNC != 0;
    match first {
        Some(socket) if count == 1 && !is_cut => Descriptors::One(socket),
        None if !is_cut => Descriptors::None,
        _ => Descriptors::Unusable,
    }
}

/// Where recvmmsg(2) puts what it receives. Room for more descriptors than may come, so that they are seen and closed.
struct Batch {
    bytes: [[u8; MOST_MESSAGE]; BATCH],
    controls: [[u64; 32]; BATCH],
}

thread_local! {
    static SPACE: std::cell::RefCell<Box<Batch>> =
        std::cell::RefCell::new(Box::new(Batch { bytes: [[0; MOST_MESSAGE]; BATCH], controls: [[0; 32]; BATCH] }));
}

type Arrived<'a> = (Result<&'a [u8], usize>, Descriptors);

/// Receives one batch, and gives its messages to `each`: their bytes (or only their length, if it is more than is
/// allowed), and what came beside them. Descriptors that `each` leaves are closed.
fn with_batch<R>(fd: RawFd, each: impl FnOnce(&mut dyn Iterator<Item = Arrived>) -> R) -> io::Result<(R, Step)> {
    SPACE.with_borrow_mut(|space| {
        let Batch { bytes, controls } = &mut **space;
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for i in 0..BATCH {
            let vector = libc::iovec { iov_base: bytes[i].as_mut_ptr().cast(), iov_len: MOST_MESSAGE };
            let header = &mut headers[i].msg_hdr;
            header.msg_iov = vectors[i].write(vector);
            header.msg_iovlen = 1;
            header.msg_control = controls[i].as_mut_ptr().cast();
            header.msg_controllen = mem::size_of_val(&controls[i]) as _;
        }
        let received = receive(fd, &mut headers)?;
        let is_nothing = |header: &libc::mmsghdr| {
            header.msg_len == 0
                && header.msg_hdr.msg_controllen == 0
                && header.msg_hdr.msg_flags & libc::MSG_CTRUNC == 0
        };
        // At the end recvmsg returns 0 without an error, so that recvmmsg fills all that is left with nothing.
        let nothing = headers[..received].iter().rev().take_while(|header| is_nothing(header)).count();
        let is_ended = received == BATCH && nothing > 0 && is_at_end(fd);
        let count = if is_ended { received - nothing } else { received };
        let mut messages = headers[..count].iter().zip(bytes.iter()).map(|(header, bytes)| {
            let length = header.msg_len as usize;
            (bytes.get(..length).ok_or(length), descriptors_of(&header.msg_hdr))
        });
        let result = each(&mut messages);
        messages.for_each(drop);
        let step = match received {
            _ if is_ended => Step::Ended,
            BATCH => Step::More,
            _ => Step::Empty,
        };
        Ok((result, step))
    })
}

fn receive(fd: RawFd, headers: &mut [libc::mmsghdr; BATCH]) -> io::Result<usize> {
    let mut resets = 0;
    loop {
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
        let count = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as _, flags as _, std::ptr::null_mut()) };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return Ok(0),
            Some(libc::EINTR) => {}
            // A reset is told before the messages that are still there.
            Some(libc::ECONNRESET | libc::EPIPE) if resets < 8 => resets += 1,
            _ => return Err(error),
        }
    }
}

/// An empty record is no end.
fn is_at_end(fd: RawFd) -> bool {
    let mut byte = 0u8;
    loop {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, flags) } {
            -1 => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR | libc::ECONNRESET) => continue,
                _ => return false,
            },
            length => return length == 0,
        }
    }
}

// --- the path --------------------------------------------------------------------------------------------------------

/// A listening socket and its path, which is removed with it, if it still is the one that was bound here: while the
/// socket is open, the path's inode is nobody else's.
struct Bound {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode; None if the path is the service manager's, or abstract.
    own: Option<(u64, u64)>,
}

impl AsRawFd for Bound {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let Some(own) = self.own else { return };
        let Ok(_lock) = lock(folder_of(&self.path)) else { return };
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// One process at a time binds or removes paths of a folder.
fn lock(folder: &Path) -> io::Result<fs::File> {
    let fail = |error: io::Error| told(&error, format!("cannot open the folder {}: {error}", folder.display()));
    let file = fs::File::open(folder).map_err(fail)?;
    for _ in 0..200 {
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(file);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("another process has kept the folder {} locked (flock) for 2 s", folder.display())))
}

fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(b"@")
}

fn claim(options: &Options) -> io::Result<Bound> {
    let path = &options.path;
    if is_abstract(path) {
        return bind(path, options);
    }
    if !path.as_os_str().as_bytes().ends_with(b"/") && !path.is_dir() {
        let _lock = lock(folder_of(path))?;
        return bind(path, options);
    }
    let _lock = lock(path)?;
    for each in fs::read_dir(path)?.flatten() {
        if is_own_name(&each.file_name()) && matches!(probe(&each.path()), Ok(Found::Stale)) {
            let _ = fs::remove_file(each.path());
        }
    }
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) as u32;
    bind(&path.join(format!("{}-{random:08x}.sock", process::id())), options)
}

/// `<pid>-<hexadecimal>.sock`: what receivers call their sockets in a folder. Only these are removed there when stale.
fn is_own_name(name: &OsStr) -> bool {
    let parts = name.to_str().and_then(|name| name.strip_suffix(".sock")?.split_once('-'));
    parts.is_some_and(|(pid, random)| {
        !pid.is_empty()
            && !random.is_empty()
            && pid.bytes().all(|byte| byte.is_ascii_digit())
            && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn bind(path: &Path, options: &Options) -> io::Result<Bound> {
    let name = path.display();
    for _ in 0..4 {
        match listen(path, options) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(told(&error, format!("cannot listen on {name}: {error}"))),
            Ok(bound) => return Ok(bound),
        }
        match probe(path)? {
            Found::Absent => {}
            Found::Stale => fs::remove_file(path)?,
            Found::Alive(owner) => {
                let owner = owner.map_or("a living process".into(), |owner| name_of(&owner));
                let remedy = "stop it, choose another path, or use a folder for several processes";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{name} is in use by {owner}; {remedy}")));
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{name} is in use, now by one and now by another")))
}

fn listen(path: &Path, options: &Options) -> io::Result<Bound> {
    let (address, length) = socket_address(path)?;
    let flags = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let socket = owned(unsafe { libc::socket(libc::AF_UNIX, flags, 0) })?;
    let fd = socket.as_raw_fd();
    // The mode of a socket is that of the path that bind makes, but for the umask: it is never open to more.
    check(unsafe { libc::fchmod(fd, options.mode as _) })?;
    check(unsafe { libc::bind(fd, (&raw const address).cast(), length) })?;
    let mut bound = Bound { socket, path: path.into(), own: None };
    if !is_abstract(path) {
        bound.own = fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()));
        let result = set_permissions(path, options).and_then(|()| check(unsafe { libc::listen(fd, BACKLOG) }));
        if let Err(error) = result {
            bound.own = None; // its folder is locked already
            let _ = fs::remove_file(path);
            return Err(error);
        }
        return Ok(bound);
    }
    check(unsafe { libc::listen(fd, BACKLOG) })?;
    Ok(bound)
}

/// A link that somebody put in the path's place is not followed.
fn set_permissions(path: &Path, options: &Options) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = owned(unsafe { libc::open(name.as_ptr(), flags) })?;
    if let Some(group) = options.group {
        let keep = libc::uid_t::MAX;
        check(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), keep, group, libc::AT_EMPTY_PATH) })?;
    }
    let link = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    check(unsafe { libc::chmod(link.as_ptr(), options.mode as _) })
}

enum Found {
    Absent,
    Stale,
    Alive(Option<libc::ucred>),
}

/// What is at a path that could not be bound.
fn probe(path: &Path) -> io::Result<Found> {
    let name = path.display();
    if !is_abstract(path) {
        match fs::symlink_metadata(path) {
            Err(_) => return Ok(Found::Absent),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(invalid(format!("{name} exists and is no socket; remove it or choose another path")));
            }
            Ok(_) => {}
        }
    }
    let (address, length) = socket_address(path)?;
    let flags = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let socket = owned(unsafe { libc::socket(libc::AF_UNIX, flags, 0) })?;
    match check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }) {
        Ok(()) => Ok(Found::Alive(Some(peer_of(socket.as_raw_fd())))),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) if !is_abstract(path) => Ok(Found::Stale),
            Some(libc::ECONNREFUSED | libc::ENOENT) => Ok(Found::Absent),
            // A full backlog, and a socket of another type: somebody lives there.
            Some(libc::EAGAIN | libc::EPROTOTYPE) => Ok(Found::Alive(None)),
            _ => Err(told(&error, format!("cannot connect to {name}, to see whether it is in use: {error}"))),
        },
    }
}

/// sd_listen_fds(3): the passed socket that is bound to `path`.
fn passed(path: &Path) -> io::Result<Option<Bound>> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let count = if number("LISTEN_PID") == Some(process::id() as i32) { number("LISTEN_FDS").unwrap_or(0) } else { 0 };
    for fd in 3..3 + count {
        let Some(found) = path_of(fd).filter(|found| is_same_path(found, path)) else { continue };
        let (mut kind, mut listens) = ([0; 4], [0; 4]);
        option(fd, libc::SOL_SOCKET, libc::SO_TYPE, &mut kind)?;
        option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, &mut listens)?;
        if i32::from_ne_bytes(kind) != libc::SOCK_SEQPACKET || listens == [0; 4] {
            let needed = "ListenSequentialPacket= in the .socket unit";
            return Err(invalid(format!("the passed descriptor {fd} is no listening SEQPACKET socket: {needed}")));
        }
        // The manager's own description of it stays as it is, but for this.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        return Ok(Some(Bound { socket: unsafe { OwnedFd::from_raw_fd(fd) }, path: found, own: None }));
    }
    Ok(None)
}

fn path_of(fd: RawFd) -> Option<PathBuf> {
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&address) as libc::socklen_t;
    check(unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut length) }).ok()?;
    let start = mem::offset_of!(libc::sockaddr_un, sun_path);
    if address.sun_family != libc::AF_UNIX as libc::sa_family_t || (length as usize) <= start {
        return None;
    }
    let mut bytes = address.sun_path[..length as usize - start].iter().map(|&byte| byte as u8).collect::<Vec<_>>();
    match bytes[0] {
        0 => bytes[0] = b'@',
        _ => bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())),
    }
    Some(PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn is_same_path(a: &Path, b: &Path) -> bool {
    a == b
        || !is_abstract(a)
            && !is_abstract(b)
            && matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

// --- system calls ----------------------------------------------------------------------------------------------------

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The same kind of error, in words.
fn told(error: &io::Error, text: String) -> io::Error {
    io::Error::new(error.kind(), text)
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The descriptor that a system call has returned.
fn owned(result: i32) -> io::Result<OwnedFd> {
    check(result)?;
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// getsockopt(2); how many bytes the kernel has filled.
fn option(fd: RawFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    check(unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut length) })?;
    Ok(length as usize)
}

fn peer_of(fd: RawFd) -> libc::ucred {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = mem::size_of_val(&peer) as libc::socklen_t;
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &mut length) };
    peer
}

fn socket_address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    let bytes = path.as_os_str().as_bytes();
    let most = address.sun_path.len() - usize::from(!is_abstract(path));
    if bytes.is_empty() || bytes.len() > most || bytes.contains(&0) {
        return Err(invalid(format!("the path has {} bytes; 1 to {most} are allowed, none of them 0", bytes.len())));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, &byte) in address.sun_path.iter_mut().zip(bytes) {
        *to = byte as libc::c_char;
    }
    if !is_abstract(path) {
        return Ok((address, mem::size_of_val(&address) as libc::socklen_t));
    }
    address.sun_path[0] = 0;
    Ok((address, (mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len()) as libc::socklen_t))
}
