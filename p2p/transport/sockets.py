"""Every ZeroMQ socket of a node is made here, with one profile.

Does not know: peers, lanes, what travels. Whoever makes a socket elsewhere makes a hole.

Why the profile is what it is:
- ZAP fails open: without a handler every key is accepted, unless ZAP_ENFORCE_DOMAIN is set and the
  domain is not empty, both before the bind. So both are set before any bind, here.
- Without MAXMSGSIZE a stranger can make a CURVE server hold hundreds of megabytes before it is
  authenticated.
- ROUTER_HANDOVER stays 0: with 1, whoever takes a peer's routing id takes its messages. Routing
  ids are fresh random bytes for every connection and never an identity.
- ROUTER_MANDATORY and NOBLOCK sends turn silent drops into errors.
- IMMEDIATE stays 0: with 1, libzmq throws away what it has received and we have not yet read when
  a connection ends, the last words of a peer that closes. Nothing is queued for a connection that
  may never exist, because we send only after its handshake.
- AFFINITY: one I/O thread encrypts about 1.5 GB/s and takes the work in turns of its own; bulk has
  a thread to itself, so that no heartbeat waits behind a megabyte.
- HEARTBEAT_IVL stays 0: a heartbeat that comes due, or is answered, on a connection that has ended
  while its messages wait to be read aborts the whole process (`Assertion failed: !_io_error`,
  libzmq issues 4364 and 4767). A busy node has such connections. The system looks whether the other
  side is there: TCP_KEEPALIVE while nothing is under way, TCP_MAXRT while something is. A process
  that stands still is no business of these; membership tells.
- libzmq does not redial (RECONNECT_IVL -1): a second connection under the same routing id is
  silently ignored by the ROUTER while the first is not yet known to be gone. We dial anew.
"""

from __future__ import annotations

import ctypes
import errno
import secrets

import zmq

from keys import TransportKey
from p2p.errors import PortInUse, TransportFailed
from p2p.transport.allocator import Thrift, keep_chunks
from p2p.transport.niceness import gentle_bulk_thread
from p2p.transport.settings import TransportSettings

ZAP_DOMAIN = b"conclave"
_FIRST_THREAD, _BULK_THREAD = 1, 2  # bits of AFFINITY
MIN_LIBZMQ = (4, 3, 5)

_rand_is_seeded = False
_thrift = Thrift()


class Sockets:
    """One context and what it takes to make sockets in it."""

    def __init__(self, settings: TransportSettings, key: TransportKey) -> None:
        if zmq.zmq_version_info() < MIN_LIBZMQ:
            raise TransportFailed(
                f"libzmq {zmq.zmq_version()} has known holes; 4.3.5 or later is needed: "
                "install pyzmq from a wheel, which bundles it"
            )
        _seed_libc_rand()
        self._settings = settings
        self._key = key
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=settings.io_threads)
        self.context.set(zmq.MAX_SOCKETS, _socket_limit())
        self.context.set(zmq.BLOCKY, 0)
        with gentle_bulk_thread():
            self.context.socket(zmq.PAIR).close()  # the first socket starts the threads

    @property
    def key(self) -> TransportKey:
        """Ours, as it is now."""
        return self._key

    def turn_to(self, key: TransportKey) -> TransportKey:
        """Use this key from now on; returns the former one."""
        former, self._key = self._key, key
        return former

    def rekey(self, listener: zmq.Socket[bytes]) -> None:
        """What the listener binds from now on has the key of now; what is bound keeps its own."""
        listener.curve_publickey = self._key.public
        listener.curve_secretkey = self._key.export_secret()

    def listener(self, kind: int, *, bulk: bool = False) -> zmq.Socket[bytes]:
        """A ROUTER or XPUB that only keys on the allow-list get into. Not yet bound."""
        assert kind in (zmq.ROUTER, zmq.XPUB)
        socket = self._make(kind, self._key, bulk)
        socket.curve_server = True
        socket.zap_domain = ZAP_DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.BACKLOG, 1024)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        else:
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # see each subscription, to attribute it
            socket.setsockopt(zmq.XPUB_NODROP, 1)
        return socket

    def dialler(
        self,
        kind: int,
        server_key: bytes,
        own_key: TransportKey | None = None,
        *,
        bulk: bool = False,
    ) -> zmq.Socket[bytes]:
        """A DEALER or SUB for one connection to the holder of `server_key`. Not yet connected."""
        assert kind in (zmq.DEALER, zmq.SUB)
        assert len(server_key) == 32
        if bulk:
            keep_chunks()
        _thrift.save()
        socket = self._make(kind, own_key or self._key, bulk)
        socket.curve_serverkey = server_key
        socket.setsockopt(zmq.IMMEDIATE, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        if kind == zmq.SUB:
            # What it sends are its subscriptions, and libzmq forgets those that find no room.
            socket.setsockopt(zmq.SNDHWM, 0)
        if kind == zmq.DEALER:
            # The first byte must not be zero: libzmq keeps those ids for itself.
            socket.setsockopt(zmq.ROUTING_ID, b"\x01" + secrets.token_bytes(15))
        return socket

    def _make(self, kind: int, key: TransportKey, bulk: bool) -> zmq.Socket[bytes]:
        settings = self._settings
        socket = self.context.socket(kind)
        if settings.io_threads > 1:
            socket.setsockopt(zmq.AFFINITY, _BULK_THREAD if bulk else _FIRST_THREAD)
        high_water = settings.bulk_high_water_frames if bulk else settings.high_water_frames
        limit_bytes = settings.bulk_message_bytes if bulk else settings.max_message_bytes
        socket.curve_publickey = key.public
        socket.curve_secretkey = key.export_secret()
        socket.setsockopt(zmq.MAXMSGSIZE, limit_bytes)
        socket.setsockopt(zmq.HANDSHAKE_IVL, settings.handshake_timeout_ms)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, 1)
        self._watch(socket, kind)
        return socket

    def _watch(self, socket: zmq.Socket[bytes], kind: int) -> None:
        """Have the system notice that the other side is gone without a word.

        TCP_MAXRT counts also while the other side is there and has no room, so that a publisher
        has more patience. A subscriber says next to nothing, and without it, it asks to the end.
        """
        settings = self._settings
        every_s, silence_ms = settings.keepalive_s, settings.silence_ms
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, every_s)
        socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, every_s)
        socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, max(1, silence_ms // 1000 // every_s - 1))
        if kind != zmq.SUB:
            most_ms = settings.topics_silence_ms if kind == zmq.XPUB else silence_ms
            socket.setsockopt(zmq.TCP_MAXRT, most_ms)


def bind(socket: zmq.Socket[bytes], host: str, port: int) -> str:
    """Bind a listener and return its endpoint, in the words that `unbind` understands.

    Raises:
        PortInUse: another socket has it.
        TransportFailed: the system refuses for another reason, such as a foreign address.
    """
    try:
        socket.bind(f"tcp://{_bracketed(host)}:{port}")
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from error
        raise TransportFailed(f"cannot listen on {host} port {port}: {error}") from error
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _socket_limit() -> int:
    """Links, monitors and probes cost a socket each; the default of 1,023 is soon used up, and
    libzmq then says 'too many open files'."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 4096
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 65_535 if soft == resource.RLIM_INFINITY else max(1_023, min(soft // 3, 65_535))


def _seed_libc_rand() -> None:
    """libzmq numbers connections that set no routing id by libc's rand(), whose sequence is the
    same in every process that never seeded it. Our own sockets always set one; this covers the
    others. Once per process, before the first context."""
    global _rand_is_seeded
    if _rand_is_seeded:
        return
    _rand_is_seeded = True
    try:
        ctypes.CDLL(None).srand(ctypes.c_uint(secrets.randbits(32)))
    except (OSError, TypeError, AttributeError):  # no libc under that name: Windows
        return


def zmq_version() -> str:
    """The version of libzmq that is in use."""
    return zmq.zmq_version()
