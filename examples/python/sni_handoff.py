"""
Receives TCP connections from sni-handoff's front door. One file, to be copied; Linux, Python 3.9 or later, nothing else.

    receiver = await create_receiver(protocol_factory, "/run/app/door.sock", ssl=context)   # in place of create_server
    listener = Listener("/run/app/door.sock", ssl_context=context)                # in place of a listening socket

A connection arrives as accept(2) would have given it: nothing of it is read. Words in quotation marks are those of the
protocol's document, PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import fcntl
import grp
import itertools
import logging
import os
import pwd
import re
import secrets
import socket
import ssl as tls
import stat
import struct
import threading
import time
import weakref
from typing import Any, Callable, Deque, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple, Union

__all__ = ["Handoff", "HandedSocket", "Listener", "PathInUse", "Receiver", "create_receiver", "handoff_of"]

log = logging.getLogger("sni_handoff")

# --- the protocol's numbers -------------------------------------------------------------------------------------------

VERSION = 1
READY, HANDOFF, ACK, REFUSE, REVOKE, DRAIN = range(1, 7)
VERSIONS, WINDOW, WEIGHT, CONNECTION_ID, ACCEPTED_AT, HELLO_DEADLINE, FLAGS = range(1, 8)
SERVER_NAME, ALPN, CLIENT_ADDRESS, OPEN, REASON, CONSUMED, SERVER_ADDRESS = range(8, 15)
NO_DESCRIPTOR, NOT_TCP, OVERLOADED, DRAINING = range(1, 5)
FLAG_TLS, FLAG_ECH = 1, 2
MAX_MESSAGE = 1024
MAX_WINDOW = 128

_header = struct.Struct("<BBHI")
_field = struct.Struct("<HH")
_ack = struct.Struct("<BBHIHHI")
#: Sizes that the value of a known field may have.
_sizes: Dict[int, Any] = {
    **dict.fromkeys((VERSIONS, WINDOW, WEIGHT), (2,)),
    **dict.fromkeys((CONNECTION_ID, ACCEPTED_AT, HELLO_DEADLINE), (8,)),
    **dict.fromkeys((FLAGS, OPEN, CONSUMED), (4,)),
    **dict.fromkeys((SERVER_NAME, ALPN), range(1, 256)),
    **dict.fromkeys((CLIENT_ADDRESS, SERVER_ADDRESS), (6, 18)),
    REASON: (1,),
}


class Violation(Exception):
    """The door broke the protocol: its channel is closed."""


class PathInUse(OSError):
    """Another living process has the path; the message names it."""

    def __init__(self, path: str, pid: Optional[int]) -> None:
        owner = "a living process" if pid is None else _process(pid)
        remedy = "stop it, choose another path, or use a folder for several processes"
        super().__init__(errno.EADDRINUSE, f"{path} is in use by {owner}; {remedy}")
        self.pid = pid


def _process(pid: int) -> str:
    """As messages name it: one of another pid namespace has no number here, pid_namespaces(7)."""
    return f"process {pid}" if pid != 0 else "a process of another pid namespace"


def _encode(kind: int, sequence: int = 0, *fields: Tuple[int, bytes]) -> bytes:
    body = b"".join(_field.pack(number, len(value)) + value for number, value in fields)
    return _header.pack(VERSION, kind, _header.size + len(body), sequence) + body


def _acknowledgement(sequence: int, open_: int) -> bytes:
    return _ack.pack(VERSION, ACK, _ack.size, sequence, OPEN, 4, open_)


def _decode(data: bytes) -> Tuple[int, int, Dict[int, bytes]]:
    """Type, sequence and known fields of a message from a door. Raises Violation."""
    size = len(data)
    if size > MAX_MESSAGE:
        raise Violation(f"a message longer than {MAX_MESSAGE} bytes")
    if size < _header.size:
        raise Violation(f"a message of {size} bytes, shorter than its header of {_header.size}")
    version, kind, length, sequence = _header.unpack_from(data)
    if version != VERSION:
        raise Violation(f"version {version}; version {VERSION} was agreed")
    if length != size:
        raise Violation(f"a message that states {length} bytes and has {size}")
    if kind not in (HANDOFF, REVOKE):
        raise Violation(f"a message of type {kind}, which a door does not send")
    fields: Dict[int, bytes] = {}
    at = _header.size
    while at < size:
        if size - at < _field.size:
            raise Violation("a field that overruns its message")
        number, width = _field.unpack_from(data, at)
        at += _field.size
        if width > size - at:
            raise Violation(f"field {number}, which overruns its message")
        allowed = _sizes.get(number)
        if allowed is not None:
            if number in fields:
                raise Violation(f"field {number} twice")
            if width not in allowed:
                raise Violation(f"field {number} of {width} bytes")
            fields[number] = data[at : at + width]
        at += width
    if kind == HANDOFF:
        for number in (CONNECTION_ID, ACCEPTED_AT, FLAGS):
            if number not in fields:
                raise Violation(f"HANDOFF without field {number}")
    return kind, sequence, fields


def _distance(base: int, sequence: int) -> int:
    """How far `sequence` is ahead of `base`, in serial arithmetic (RFC 1982): -2^31 .. 2^31-1."""
    return ((sequence - base + 0x80000000) & 0xFFFFFFFF) - 0x80000000


# --- what a connection is ---------------------------------------------------------------------------------------------

Address = Union[Tuple[str, int], Tuple[str, int, int, int]]


class Handoff(NamedTuple):
    """What the door told about a connection."""

    #: Names the connection in the door's logs too.
    connection_id: int
    #: When the door accepted it: nanoseconds since 1970-01-01 UTC.
    accepted_at: int
    #: The first bytes are a TLS ClientHello.
    tls: bool
    #: It is encrypted (ECH): `server_name` is only the outer one.
    ech: bool
    #: Lower case, without the trailing dot. It routes; it authorises nothing.
    server_name: Optional[str]
    #: The first protocol of the client's list.
    alpn: Optional[bytes]
    #: The client, and the address that it connected to, as a PROXY header told the door; None if none did.
    client_address: Optional[Address]
    server_address: Optional[Address]


def _address(value: Optional[bytes]) -> Optional[Address]:
    if value is None:
        return None
    port = int.from_bytes(value[:2], "little")
    if len(value) == 6:
        return socket.inet_ntop(socket.AF_INET, value[2:]), port
    return socket.inet_ntop(socket.AF_INET6, value[2:]), port, 0, 0


class _Place:
    """One of the open connections, until `leave` or its end as garbage. Of any thread: set's methods are atomic."""

    __slots__ = ("_places", "_number")
    _numbers = itertools.count()

    def __init__(self, places: Set[int]) -> None:
        self._places = places
        self._number = next(_Place._numbers)
        places.add(self._number)

    def leave(self) -> None:
        self._places.discard(self._number)

    __del__ = leave


class _Handed(socket.socket):
    _fields: Optional[Dict[int, bytes]] = None
    _told: Optional[Address] = None
    _place: Optional[_Place] = None

    @property
    def handoff(self) -> Optional[Handoff]:
        """What the door told; None of a socket that no door gave."""
        fields = self._fields
        if fields is None:
            return None
        flags = int.from_bytes(fields[FLAGS], "little")
        name = fields.get(SERVER_NAME)
        return Handoff(
            connection_id=int.from_bytes(fields[CONNECTION_ID], "little"),
            accepted_at=int.from_bytes(fields[ACCEPTED_AT], "little"),
            tls=bool(flags & FLAG_TLS),
            ech=bool(flags & FLAG_ECH),
            server_name=None if name is None else name.decode("latin-1"),
            alpn=fields.get(ALPN),
            client_address=self._told,
            server_address=_address(fields.get(SERVER_ADDRESS)),
        )

    def getpeername(self) -> Any:
        """The client: as a PROXY header told it, if one did."""
        return super().getpeername() if self._told is None else self._told

    def close(self) -> None:
        if self._place is not None:
            self._place.leave()
        super().close()


class HandedSocket(_Handed):
    """A connection that the door handed over: a socket.socket, as accept() returns it, that also has a `handoff`."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over if it is a socket's, else raises OSError."""
        super().__init__(fileno=descriptor)
        # setdefaulttimeout() had the constructor set O_NONBLOCK, which the door's copy has in common with this one.
        if socket.getdefaulttimeout() is not None:
            self.setblocking(True)

    def take(self, fields: Dict[int, bytes], place: _Place) -> None:
        self._fields = fields
        self._told = _address(fields.get(CLIENT_ADDRESS))
        self._place = place
        if socket.getdefaulttimeout() is not None:
            self.settimeout(socket.getdefaulttimeout())


class _HandedTLSSocket(_Handed, tls.SSLSocket):
    def take_from(self, sock: HandedSocket) -> None:
        self._fields, self._told, self._place = sock._fields, sock._told, sock._place


def handoff_of(transport: asyncio.BaseTransport) -> Optional[Handoff]:
    """What the door told about the connection of an asyncio transport; None if it was not handed over."""
    sock = transport.get_extra_info("socket")
    descriptor = -1 if sock is None else sock.fileno()
    found = _by_descriptor.get(descriptor)
    return found.handoff if found is not None and found.fileno() == descriptor != -1 else None


#: asyncio shows its sockets only through a wrapper that hides what a subclass adds.
_by_descriptor: weakref.WeakValueDictionary[int, HandedSocket] = weakref.WeakValueDictionary()


# TCP_INFO: tcpi_state and tcpi_segs_in (linux/tcp.h); states as in the kernel's include/net/tcp_states.h.
_TCP_INFO_BYTES, _SEGS_IN_AT = 144, 140
_SYN_SENT, _LISTEN = 2, 10


def _judge(sock: HandedSocket) -> int:
    """TAKE, BURY or NOT_TCP: whether it is a connection, and alive."""
    if sock.proto != _TCP:
        return NOT_TCP
    try:
        socket.socket.getpeername(sock)
        return _TAKE
    except OSError:
        # Ended already, or never connected: then no segment has ever come.
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        came = int.from_bytes(info[_SEGS_IN_AT:], "little") > 0
        return NOT_TCP if info[0] in (_SYN_SENT, _LISTEN) or not came else _BURY


# --- the socket that doors connect to ---------------------------------------------------------------------------------

_OWN_SOCKET = re.compile(r"^[0-9]+-[0-9a-f]+\.sock$")
_BACKLOG = 511
_LOCK_SECONDS = 2.0


class _Bound:
    """The listening socket; `release` closes it and removes its path if both are this process's."""

    def __init__(self, sock: socket.socket, path: str, mine: bool) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.path = path
        self._identity = _identity(path) if mine and not path.startswith("@") else None

    def release(self) -> None:
        self.socket.close()
        identity, self._identity = self._identity, None
        if identity is None:
            return
        try:
            lock = _lock(os.path.dirname(self.path) or ".")
        except OSError:
            return  # The folder is gone, and the path with it.
        try:
            if _identity(self.path) == identity:
                os.unlink(self.path)
        except OSError:
            pass  # Without permission any more: the next owner removes it as stale.
        finally:
            os.close(lock)


def _identity(path: str) -> Optional[Tuple[int, int, int]]:
    """Device, inode and last change of status: inode numbers alone are used again at once."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _lock(folder: str) -> int:
    """All who bind or remove a path in a folder hold its lock, flock(2). The caller closes the descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() > give_up:
                os.close(descriptor)
                raise
        time.sleep(0.01)


def _listen(
    path: Optional[str],
    fd_name: Optional[str],
    mode: int,
    owner: Union[str, int, None],
    group: Union[str, int, None],
) -> _Bound:
    passed = _passed_socket(path, fd_name)
    if passed is not None:
        return passed
    if not path:
        raise ValueError("a path is needed" if fd_name is None else f'no socket named "{fd_name}" was passed')
    if path.startswith("@"):
        return _Bound(_bind(path, mode, None, None), path, mine=True)
    in_folder = path.endswith("/") or os.path.isdir(path)
    folder = path if in_folder else os.path.dirname(path) or "."
    try:
        lock = _lock(folder)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {path}: its folder {folder}: {error.strerror}") from error
    try:
        if in_folder:
            _remove_stale(folder)
            path = os.path.join(folder, f"{os.getpid()}-{secrets.token_hex(4)}.sock")
        uid = None if owner is None else _user(owner)
        gid = None if group is None else group if isinstance(group, int) else grp.getgrnam(group).gr_gid
        return _Bound(_bind(path, mode, uid, gid), path, mine=True)
    finally:
        os.close(lock)


def _bind(path: str, mode: int, uid: Optional[int], gid: Optional[int]) -> socket.socket:
    """Under the folder's lock: nobody else can be between bind and listen now."""
    is_path = not path.startswith("@")
    for _ in range(3):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.bind(_sun_path(path))
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                # One that does not fit sun_path has no errno here.
                code = error.errno or errno.ENAMETOOLONG
                raise OSError(code, f"cannot listen on {path}: {error.strerror or error}") from None
        else:
            try:
                if is_path:
                    _set_permissions(path, mode, uid, gid)
                sock.listen(_BACKLOG)
                return sock
            except BaseException:
                sock.close()
                if is_path:
                    os.unlink(path)
                raise
        _remove_if_stale(path)
    raise OSError(errno.EADDRINUSE, f"cannot listen on {path}: it is bound again and again")


def _sun_path(path: str) -> Union[str, bytes]:
    return b"\0" + path[1:].encode() if path.startswith("@") else path


def _set_permissions(path: str, mode: int, uid: Optional[int], gid: Optional[int]) -> None:
    """Through O_PATH: a link that somebody put in its place is not followed."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, f"{path} was replaced")
        name = f"/proc/self/fd/{descriptor}"
        if uid is not None or gid is not None:
            os.chown(name, -1 if uid is None else uid, -1 if gid is None else gid)
        os.chmod(name, mode)
    finally:
        os.close(descriptor)


def _remove_if_stale(path: str) -> None:
    """Raises PathInUse if somebody lives there."""
    is_path = not path.startswith("@")
    if is_path:
        try:
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, f"{path} exists and is not a socket; remove it or choose another path")
        except FileNotFoundError:
            return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(_sun_path(path))
        if result == 0:
            raise PathInUse(path, _peer(probe).pid)
    if result == errno.ECONNREFUSED:
        if is_path:
            os.unlink(path)
    # A full backlog, and a socket of another type: somebody lives there.
    elif result in (errno.EAGAIN, errno.EPROTOTYPE):
        raise PathInUse(path, None)
    elif result != errno.ENOENT:
        raise OSError(result, f"cannot listen on {path}: {os.strerror(result)}")


def _remove_stale(folder: str) -> None:
    for name in os.listdir(folder):
        if _OWN_SOCKET.match(name):
            try:
                _remove_if_stale(os.path.join(folder, name))
            except OSError:
                pass  # A living one's, or somebody else's.


def _passed_socket(path: Optional[str], name: Optional[str]) -> Optional[_Bound]:
    """The socket of a service manager, sd_listen_fds(3): by its name, or the one that is bound to the path."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for index in range(count):
        if name is not None and (names[index] if index < len(names) else "") != name:
            continue
        try:
            sock = socket.socket(fileno=3 + index)
        except OSError:
            continue
        bound = sock.getsockname() if sock.family == socket.AF_UNIX else ""
        if isinstance(bound, bytes):
            bound = "@" + bound[1:].decode()
        if name is None and (not path or not bound or bound != path and os.path.abspath(bound) != os.path.abspath(path)):
            sock.detach()
            continue
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET or not listens:
            sock.detach()
            raise OSError(errno.EINVAL, f"the passed descriptor {3 + index} is no ListenSequentialPacket= socket")
        sock.set_inheritable(False)
        return _Bound(sock, bound, mine=False)
    if name is not None and count > 0:
        raise ValueError(f'no passed descriptor is named "{name}" (FileDescriptorName= in the .socket unit)')
    return None


def _user(user: Union[str, int]) -> int:
    return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid


class _Peer(NamedTuple):
    pid: int
    uid: int
    gid: int


def _peer(sock: socket.socket) -> _Peer:
    return _Peer(*struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))))


# --- one channel of a door --------------------------------------------------------------------------------------------

_TAKE, _BURY = 0, -1  # Verdicts; those above 0 are reasons of REFUSE.
_BATCH = 32
# As bare numbers: arithmetic with those of enumerations takes a microsecond each.
_CTRUNC = int(socket.MSG_CTRUNC)
_FLAGS = int(socket.MSG_CMSG_CLOEXEC)
_TCP = int(socket.IPPROTO_TCP)
#: Room for two descriptors: that more than one came is seen, and closed.
_ANCILLARY = socket.CMSG_SPACE(2 * struct.calcsize("i"))
#: SO_PASSCRED, SO_PASSSEC and SO_PASSPIDFD: a channel inherits them from a service manager's socket (PassCredentials= and
#: its kin), and what they add to each message would leave no room for its descriptor.
_PASSING = (16, 34, 76)
_BROKEN = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)

_QUIET, _LATER, _SOON = range(3)


class _Unsettled(NamedTuple):
    """A HANDOFF that is neither acknowledged nor refused. Who takes it out closes the socket."""

    sequence: int
    sock: Optional[HandedSocket]
    fields: Dict[int, bytes]
    verdict: int


class _Channel:
    def __init__(self, receiver: Receiver, sock: socket.socket, peer: _Peer) -> None:
        sock.setblocking(False)
        for option in _PASSING:
            with contextlib.suppress(OSError):  # One that this kernel does not have.
                sock.setsockopt(socket.SOL_SOCKET, option, 0)
        self.peer = peer
        self._receiver = receiver
        self._loop = receiver.loop
        self._sock = sock
        self._unsettled: List[_Unsettled] = []
        self._taking = 0  # How many of them will be served.
        self._last: Optional[int] = None
        self._acknowledged: Optional[int] = None
        self._offered = 0
        self._reported_open = 0
        self._rests = True  # The door waits for READY.
        self._drain_due = False
        self._drains = False
        self._broken = False
        self._waits = False
        self.closed = False
        self._loop.add_reader(sock, self._readable)
        self.report(True)

    def drain(self) -> None:
        if not self._drains and not self.closed:
            self._drains = self._drain_due = True
            self._settle()

    def close(self) -> None:
        """What is unsettled goes elsewhere, by the door's own copies."""
        self._discard(self._unsettled)
        self._unsettled = []
        self._end()

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._stop_waiting()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self._receiver._ended_channel(self)

    # --- reading

    def _readable(self) -> None:
        resets = 0
        count = 0
        while count < _BATCH:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(MAX_MESSAGE + 1, _ANCILLARY, _FLAGS)
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError as error:
                # "Read to the end first": reported before messages that are still queued.
                resets += 1
                if error.errno in (errno.ECONNRESET, errno.EPIPE) and resets < 8:
                    continue
                self._warn(f"cannot read from {self._door}: {error.strerror}; its channel is closed")
                return self.close()
            count += 1
            try:
                if not data and not ancillary and not flags & _CTRUNC:
                    if not self._at_end():
                        raise Violation("an empty message")
                    # No REVOKE came: the door is gone, and nobody else has what it left here.
                    self._own()
                    return self._end()
                if self._receive(data, ancillary, flags):
                    return self.close()  # REVOKE.
            except Violation as violation:
                self._warn(f"protocol violation by {self._door}: {violation}; its channel is closed")
                return self.close()
        self._settle()

    def _at_end(self) -> bool:
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False

    def _receive(self, data: bytes, ancillary: List[Tuple[int, int, bytes]], flags: int) -> bool:
        """Returns True at a REVOKE."""
        descriptors: List[int] = []
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors += struct.unpack(f"{len(value) // 4}i", value[: len(value) // 4 * 4])
        try:
            kind, sequence, fields = _decode(data)
            if kind == REVOKE:
                if descriptors or flags & _CTRUNC:
                    raise Violation("REVOKE with a descriptor")
                if self._acknowledged is not None and _distance(sequence, self._acknowledged) > 0:
                    raise Violation(f"REVOKE after {sequence}, but {self._acknowledged} was acknowledged")
                return True
            if self._last is not None and _distance(self._last, sequence) != 1:
                raise Violation(f"HANDOFF {sequence} after {self._last}; one higher is next")
            if len(self._unsettled) >= self._receiver.window:
                raise Violation(f"HANDOFF {sequence} exceeds the window of {self._receiver.window}")
            self._last = sequence
            verdict = NO_DESCRIPTOR
            sock = None
            if len(descriptors) == 1 and not flags & _CTRUNC:
                try:
                    sock = HandedSocket(descriptors[0])
                    descriptors.clear()
                    verdict = _judge(sock)
                except OSError:
                    verdict = NOT_TCP
                if verdict == _TAKE:
                    verdict = self._admission()
            self._unsettled.append(_Unsettled(sequence, sock, fields, verdict))
            self._taking += verdict == _TAKE
            return False
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _admission(self) -> int:
        if self._receiver.refuses:
            return DRAINING
        return _TAKE if self._taking < self._receiver.room() else OVERLOADED

    # --- answering

    def _settle(self) -> None:
        """Sends what is due: DRAIN, then every REFUSE, then the ACK; what it takes is owned then."""
        if self._broken or self.closed:
            return
        if self._drain_due:
            if not self._send(_encode(DRAIN)):
                return
            self._drain_due = False
        if not self._unsettled:
            return
        if self._taking < len(self._unsettled) or self._receiver.refuses:
            for refusal in [each for each in self._unsettled if self._reason(each) > 0]:
                reason = self._reason(refusal)
                if not self._send(_encode(REFUSE, refusal.sequence, (REASON, bytes((reason,))))):
                    return
                self._unsettled.remove(refusal)
                self._taking -= refusal.verdict == _TAKE
                if refusal.sock is not None:
                    refusal.sock.close()
                if reason == OVERLOADED:
                    self._rests = True
                    self._receiver._wake(_SOON)
        if not self._unsettled:
            return
        # Only what is taken or buried is left.
        sequence = self._unsettled[-1].sequence
        open_ = self._receiver.open + self._taking
        if self._send(_acknowledgement(sequence, open_)):
            self._acknowledged = sequence
            self._reported_open = open_
            self._receiver._wake(_LATER)
            self._own()

    def _reason(self, each: _Unsettled) -> int:
        return DRAINING if each.verdict == _TAKE and self._receiver.refuses else each.verdict

    def _send(self, message: bytes) -> bool:
        try:
            self._sock.send(message, socket.MSG_NOSIGNAL)
            return True
        except (BlockingIOError, InterruptedError):
            if not self._waits:
                self._waits = True
                self._loop.add_writer(self._sock, self._writable)
        except OSError as error:
            if error.errno in _BROKEN:
                # Whose the unsettled ones are is known at the channel's end: after REVOKE, or without it.
                self._broken = True
                self._stop_waiting()
            else:
                self._receiver._wake(_SOON)  # Short of memory: there is no event to wait for.
        return False

    def _writable(self) -> None:
        self._stop_waiting()
        self._settle()

    def _stop_waiting(self) -> None:
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._sock)

    def _own(self) -> None:
        """They are this process's now."""
        owned, self._unsettled, self._taking = self._unsettled, [], 0
        for _, sock, fields, verdict in owned:
            if sock is None:
                continue
            if verdict in (_TAKE, OVERLOADED) and not self._receiver.refuses:
                self._receiver._deliver(sock, fields)
            else:
                sock.close()

    def _discard(self, unsettled: Iterable[_Unsettled]) -> None:
        for each in unsettled:
            if each.sock is not None:
                each.sock.close()

    def report(self, with_count: bool) -> int:
        """READY where there is room (again), else the open count if it changed. Returns when to be called again."""
        if self.closed or self._broken:
            return _QUIET
        self._settle()
        is_stuck = bool(self._unsettled) and not self._waits
        if self._drains or self._receiver.refuses or self._broken:
            return _SOON if is_stuck else _QUIET
        open_ = self._receiver.open
        window = min(self._receiver.window, self._receiver.room())
        if window > 0 and (self._rests or window > self._offered):
            self._ready(window, open_)
        elif with_count and open_ != self._reported_open and not self._rests:
            if self._acknowledged is None:
                self._ready(max(1, self._offered), open_)
            elif self._send(_acknowledgement(self._acknowledged, open_)):
                self._reported_open = open_
        if is_stuck or self._rests:
            return _SOON
        changes = open_ > 0 or open_ != self._reported_open or self._offered < window
        return _LATER if changes else _QUIET

    def _ready(self, window: int, open_: int) -> None:
        weight = self._receiver.weight
        fields = ((VERSIONS, bytes((VERSION, VERSION))), (WINDOW, window.to_bytes(2, "little")))
        more = ((WEIGHT, weight.to_bytes(2, "little")), (OPEN, open_.to_bytes(4, "little")))
        if self._send(_encode(READY, 0, *fields, *more)):
            self._offered, self._reported_open, self._rests = window, open_, False

    def _warn(self, message: str) -> None:
        self._receiver._warn(message, self.peer)

    @property
    def _door(self) -> str:
        return f"the door, {_process(self.peer.pid)} of user {self.peer.uid}"


# --- all channels of one path -----------------------------------------------------------------------------------------

_COUNT_SECONDS = 0.25  # How often the open count is told while it changes.
_ROOM_SECONDS = 0.02  # How soon a door that rests learns that there is room.
_REST_SECONDS = 1.0  # After accept failed, most likely for want of descriptors.
_MAX_CHANNELS_OF_ONE = 256  # A door has one for each of its workers; more would be there to take all descriptors.
_MAX_CAUSES = 100
_QUIET_SECONDS = 600.0


class Receiver:
    """The instance's side of the handoff protocol for one path, on an asyncio loop. See `create_receiver`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bound: _Bound,
        sink: Callable[[HandedSocket], None],
        room: Callable[[Receiver], int],
        window: int,
        weight: int,
        allowed_users: Optional[Iterable[Union[str, int]]],
    ) -> None:
        self.loop = loop
        #: The path that doors connect to: the socket's own path also where a folder was asked for.
        self.path = bound.path
        self.window = _within("window", window, MAX_WINDOW)
        self.weight = _within("weight", weight, 0xFFFF)
        #: No connection is taken any more: those that come are refused as draining.
        self.refuses = False
        self._bound = bound
        self._sink = sink
        self._room = room
        self._allowed = None if allowed_users is None else {_user(user) for user in allowed_users}
        self._channels: Set[_Channel] = set()
        self._places: Set[int] = set()
        self._causes: Dict[str, float] = {}
        self._timer: Optional[asyncio.TimerHandle] = None
        self._timer_kind = _QUIET
        self._counted_at = 0.0
        self._listens = True
        self._ended: asyncio.Future[None] = loop.create_future()
        #: Connections whose protocol is not connected yet: in their TLS handshake.
        self._pending: Set[asyncio.Task[None]] = set()
        loop.add_reader(bound.socket, self._accept)

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._places)

    def room(self) -> int:
        return max(0, self._room(self))

    async def drain(self, timeout: float = 10.0) -> None:
        """
        Asks every door for no more, takes what is on the way, and returns once all of it has its protocol: when the
        doors have closed their channels and the handshakes are done, or after `timeout` seconds. Connections go on.
        """
        give_up = self.loop.time() + timeout
        self.start_draining()
        await asyncio.wait({self._ended}, timeout=timeout)
        self.close()
        if self._pending:
            await asyncio.wait(self._pending, timeout=max(0.0, give_up - self.loop.time()))

    def start_draining(self) -> None:
        if self._listens:
            self._listens = False
            self.loop.remove_reader(self._bound.socket)
            self._bound.release()
            for channel in list(self._channels):
                channel.drain()
            self._finish()

    def close(self) -> None:
        """At once: what no door was told about goes to other instances. Connections go on."""
        self.start_draining()
        for channel in list(self._channels):
            channel.close()
        if self._timer is not None:
            self._timer.cancel()

    def _finish(self) -> None:
        if not self._listens and not self._channels and not self._ended.done():
            self._ended.set_result(None)

    def _accept(self) -> None:
        while self._listens:
            try:
                sock, _ = self._bound.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Ready, and not to be accepted from: without a rest it would take a whole processor.
                self._warn(f"cannot accept doors at {self.path}: {error.strerror}")
                self.loop.remove_reader(self._bound.socket)
                self.loop.call_later(_REST_SECONDS, self._accept_again)
                return
            self._admit(sock)

    def _accept_again(self) -> None:
        if self._listens:
            self.loop.add_reader(self._bound.socket, self._accept)

    def _admit(self, sock: socket.socket) -> None:
        peer = _peer(sock)
        who = f"{_process(peer.pid)} of user {peer.uid}"
        if self._allowed is not None and peer.uid not in self._allowed:
            sock.close()
            return self._warn(f"{who} may not be a door at {self.path}: not one of allowed_users", peer)
        if sum(1 for channel in self._channels if channel.peer.pid == peer.pid) >= _MAX_CHANNELS_OF_ONE:
            sock.close()
            return self._warn(f"{who} has {_MAX_CHANNELS_OF_ONE} channels at {self.path}; another was refused", peer)
        channel = _Channel(self, sock, peer)
        self._channels.add(channel)
        self._wake(_LATER)

    def _ended_channel(self, channel: _Channel) -> None:
        self._channels.discard(channel)
        self._finish()

    def _deliver(self, sock: HandedSocket, fields: Dict[int, bytes]) -> None:
        sock.take(fields, _Place(self._places))
        self._sink(sock)

    def _warn(self, message: str, peer: Optional[_Peer] = None) -> None:
        """The same of one process, whatever numbers are in it, once, and again after it was quiet for ten minutes."""
        cause = f"{peer} {re.sub('[0-9]+', '0', message)}"
        now = time.monotonic()
        if cause not in self._causes and len(self._causes) >= _MAX_CAUSES:
            self._causes = {each: met for each, met in self._causes.items() if now - met < _QUIET_SECONDS}
            if len(self._causes) >= _MAX_CAUSES:
                return
        if now - self._causes.get(cause, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            log.warning("%s", message)
        self._causes[cause] = now

    def _wake(self, kind: int) -> None:
        """Channels have something to tell soon, or later. Nothing runs while nothing changes."""
        if kind <= self._timer_kind:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_kind = kind
        self._timer = self.loop.call_later(_ROOM_SECONDS if kind == _SOON else _COUNT_SECONDS, self._report)

    def _report(self) -> None:
        self._timer, self._timer_kind = None, _QUIET
        now = self.loop.time()
        with_count = now - self._counted_at >= _COUNT_SECONDS - 0.001
        if with_count:
            self._counted_at = now
        for channel in list(self._channels):
            kind = channel.report(with_count)
            if kind != _QUIET:
                self._wake(kind)


def _within(name: str, value: int, highest: int) -> int:
    if not 1 <= value <= highest:
        raise ValueError(f"{name} is {value}; 1 to {highest} are allowed")
    return value


# --- asyncio ----------------------------------------------------------------------------------------------------------


async def create_receiver(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    path: Optional[str] = None,
    *,
    ssl: Optional[tls.SSLContext] = None,
    ssl_handshake_timeout: Optional[float] = None,
    max_connections: Optional[int] = None,
    window: int = MAX_WINDOW,
    weight: int = 1,
    allowed_users: Optional[Iterable[Union[str, int]]] = None,
    fd_name: Optional[str] = None,
    mode: int = 0o660,
    owner: Union[str, int, None] = None,
    group: Union[str, int, None] = None,
) -> Receiver:
    """
    Like loop.create_server(): `protocol_factory` makes a protocol for each connection that a door hands over.

    `path` is a socket's path, an abstract address ("@name"), or a folder (an existing one, or any path that ends in
    "/") in which this process makes a socket of its own. A socket that the service manager passed under `fd_name`, or
    for this path, is used instead. `mode`, `owner` and `group` are the path's: doors need write permission;
    `allowed_users` (names or numbers), if given, are the only ones whose processes may be doors. `window` is how many
    connections each worker of a door may have on the way, `weight` the share relative to other instances. Beyond
    `max_connections` they go to other instances, or wait in the door.

    Raises PathInUse, which names the process, or another OSError.
    """
    loop = asyncio.get_running_loop()

    async def connect(sock: HandedSocket) -> None:
        _by_descriptor[sock.fileno()] = sock
        try:
            protocol = protocol_factory()
        except BaseException:
            sock.close()
            raise
        try:
            await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=ssl, ssl_handshake_timeout=ssl_handshake_timeout if ssl else None
            )
        except OSError as error:  # Of a client that went, or whose handshake failed: asyncio's servers are silent too.
            log.debug("a connection ended in its handshake: %r", error)

    def sink(sock: HandedSocket) -> None:
        task = loop.create_task(connect(sock))
        receiver._pending.add(task)
        task.add_done_callback(receiver._pending.discard)

    def room(receiver: Receiver) -> int:
        return MAX_WINDOW if max_connections is None else max_connections - receiver.open

    bound = _listen(path, fd_name, mode, owner, group)
    try:
        receiver = Receiver(loop, bound, sink, room, window, weight, allowed_users)
    except BaseException:
        bound.release()
        raise
    return receiver


# --- threads ----------------------------------------------------------------------------------------------------------


class Listener:
    """
    Has the interface of a listening socket: for socketserver, http.server, wsgiref, or one's own loop of accept().

    With `ssl_context`, accept() returns TLS sockets whose handshake is still to come, with the first read: a thread of
    its own then waits for the client. (The context's `sslsocket_class` is set to one of this module.) At most `backlog`
    connections wait for accept(); the door gives the others to other instances, or keeps them. The other options are
    those of `create_receiver`. A thread of this class's own speaks with the doors; make it after a fork, not before.
    """

    family = socket.AF_UNIX
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(
        self,
        path: Optional[str] = None,
        *,
        ssl_context: Optional[tls.SSLContext] = None,
        backlog: int = MAX_WINDOW,
        window: int = MAX_WINDOW,
        weight: int = 1,
        allowed_users: Optional[Iterable[Union[str, int]]] = None,
        fd_name: Optional[str] = None,
        mode: int = 0o660,
        owner: Union[str, int, None] = None,
        group: Union[str, int, None] = None,
    ) -> None:
        """Listens at once. Raises PathInUse, which names the process, or another OSError."""
        self._context = ssl_context
        if ssl_context is not None:
            ssl_context.sslsocket_class = _HandedTLSSocket
        self._backlog = _within("backlog", backlog, 0xFFFF)
        self._queue: Deque[HandedSocket] = collections.deque()
        self._changed = threading.Condition()
        # Readable while something is in the queue.
        self._ready, self._wake = socket.socketpair()
        self._loop = asyncio.new_event_loop()
        try:
            bound = _listen(path, fd_name, mode, owner, group)
            try:
                self._receiver = Receiver(self._loop, bound, self._deliver, self._room, window, weight, allowed_users)
            except BaseException:
                bound.release()
                raise
        except BaseException:
            self._loop.close()
            self._ready.close()
            self._wake.close()
            raise
        self.path = bound.path
        self._thread: Optional[threading.Thread] = threading.Thread(target=self._run, name="sni_handoff", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _room(self, _: Receiver) -> int:
        return self._backlog - len(self._queue)

    def _deliver(self, sock: HandedSocket) -> None:
        with self._changed:
            self._queue.append(sock)
            if len(self._queue) == 1:
                self._wake.send(b"\0")

    def accept(self) -> Tuple[socket.socket, Address]:
        """A connection, and its client's address: as a PROXY header told it, if one did."""
        while True:
            if not self._ready.recv(1, socket.MSG_PEEK):
                raise OSError(errno.EINVAL, f"{self.path} is closed")
            with self._changed:
                if not self._queue:
                    continue  # Another thread was quicker.
                sock = self._queue.popleft()
                if not self._queue:
                    self._ready.recv(1)
                    self._changed.notify_all()
            break
        try:
            address: Address = sock.getpeername()
            if self._context is None:
                return sock, address
            wrapped = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            # It ended since it was handed over: accept(2) has the same word for it.
            sock.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the client has gone") from error
        if isinstance(wrapped, _HandedTLSSocket):
            wrapped.take_from(sock)
        return wrapped, address

    def drain(self, timeout: float = 10.0) -> None:
        """
        Asks every door for no more, and returns when the last connection that is this process's has been accepted, or
        after `timeout` seconds. Other threads go on accepting meanwhile.
        """
        give_up = time.monotonic() + timeout
        self._call(timeout, refuse=False)
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, max(0.0, give_up - time.monotonic()))

    def close(self, timeout: float = 10.0) -> None:
        """What is still on the way goes to other instances; what waits for accept() is closed: `drain` first."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._call(timeout, refuse=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        with self._changed:
            for sock in self._queue:
                sock.close()
            self._queue.clear()
            self._changed.notify_all()
        self._wake.close()
        self._ready.close()

    def _call(self, timeout: float, refuse: bool) -> None:
        async def drain() -> None:
            self._receiver.refuses = self._receiver.refuses or refuse
            await self._receiver.drain(timeout)

        asyncio.run_coroutine_threadsafe(drain(), self._loop).result()

    def fileno(self) -> int:
        """To be waited for with select(2) and its kin: readable while accept() would return at once."""
        return self._ready.fileno()

    def getsockname(self) -> str:
        return self.path

    def settimeout(self, timeout: Optional[float]) -> None:
        self._ready.settimeout(timeout)

    def gettimeout(self) -> Optional[float]:
        return self._ready.gettimeout()

    def setblocking(self, blocking: bool) -> None:
        self._ready.setblocking(blocking)

    def listen(self, backlog: int = MAX_WINDOW) -> None:
        """It listens already."""

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
