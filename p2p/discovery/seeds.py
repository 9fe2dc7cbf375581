"""Seeds: addresses that a person wrote down, on the command line, in the environment, in a file.

Parsing only. Does not dial, does not resolve names, does not read files or the environment.
A seed that cannot be an address is an error that quotes it: silently skipping one is how a
node ends up alone.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from p2p.discovery.addresses import Address, as_ip, is_dialable, is_host_name, is_port
from p2p.discovery.errors import BadSeed

DEFAULT_DOOR_PORT = 4747


@dataclass(frozen=True, slots=True)
class Seed:
    """A door that a person told us of."""

    host: str
    port: int

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    def __str__(self) -> str:
        return str(self.address)


def parse_seed(text: str, *, default_port: int = DEFAULT_DOOR_PORT) -> Seed:
    """Read HOST, HOST:PORT, [IPV6]:PORT, or a bare IPV6.

    Raises:
        BadSeed: it is none of these; the message quotes it and says why.
    """
    stripped = text.strip()
    if not stripped:
        raise BadSeed(text, "it is empty")
    if "://" in stripped or "/" in stripped:
        raise BadSeed(text, "it looks like a URL; leave out the scheme and the path")
    host, port_text = _split(text, stripped)
    port = default_port if port_text is None else _port(text, port_text)
    _check_host(text, host)
    return Seed(host, port)


def parse_seeds(text: str, *, default_port: int = DEFAULT_DOOR_PORT) -> tuple[Seed, ...]:
    """Read several seeds: separated by commas, blanks or lines; `#` starts a comment.

    Raises:
        BadSeed: the first one that is not an address.
    """
    words = [word for line in text.splitlines() for word in _words(line)]
    return tuple(dict.fromkeys(parse_seed(word, default_port=default_port) for word in words))


def _words(line: str) -> list[str]:
    return line.partition("#")[0].replace(",", " ").split()


def _split(text: str, stripped: str) -> tuple[str, str | None]:
    if stripped.startswith("["):
        host, closed, rest = stripped[1:].partition("]")
        if not closed:
            raise BadSeed(text, "the bracket is not closed")
        ip = as_ip(host)
        if ip is None or ip.version != 6:
            raise BadSeed(text, "brackets hold an IPv6 address")
        if rest and not rest.startswith(":"):
            raise BadSeed(text, "after the bracket comes :PORT or nothing")
        return host, rest[1:] if rest else None
    if stripped.count(":") > 1:
        if as_ip(stripped) is None:
            raise BadSeed(text, "an IPv6 address with a port needs brackets")
        return stripped, None
    host, colon, port = stripped.partition(":")
    return host, port if colon else None


def _port(text: str, port_text: str) -> int:
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5):
        raise BadSeed(text, f"port {port_text[:20]!r} is not a number from 1 to 65535")
    port = int(port_text)
    if not is_port(port):
        raise BadSeed(text, f"port {port} is not from 1 to 65535")
    return port


def _check_host(text: str, host: str) -> None:
    if not host:
        raise BadSeed(text, "the host is missing")
    ip = as_ip(host)
    if ip is None and not is_host_name(host):
        raise BadSeed(text, "the host is neither an address nor a name")
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_link_local and not ip.scope_id:
        raise BadSeed(text, "a link-local address needs its interface, like fe80::1%eth0")
    if not is_dialable(host):
        raise BadSeed(text, "nobody can be met at this address")
