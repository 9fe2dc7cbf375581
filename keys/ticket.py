"""A ticket: one line that lets one node into one network once.

`conclave1-` and base64url of: which network (the root's fingerprint, so the newcomer believes no
other), which ticket, a secret, until when, for which roles, and where a door is. The secret proves
the bearer to the issuer by HMAC and never travels (`keys.join`).

What this module does not know: whether the ticket was used, files, sockets. What the line says of
roles and expiry is for the bearer to read; the issuer goes by its own note of the ticket.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keys.errors import InvalidValue, TicketMalformed
from keys.identity import FINGERPRINT_BYTES, NetworkId, decode_id, encode_id
from keys.names import host_problem
from keys.roles import ALL_ROLES, Role
from keys.secret import Unpicklable
from keys.trust import Trust

PREFIX: Final = "conclave1-"
TICKET_ID_BYTES: Final = 8
SECRET_BYTES: Final = 16
MAX_ADDRESSES: Final = 4
MAX_TICKET_CHARS: Final = 1024

_CHECKSUM_BYTES: Final = 4
_IP4, _IP6, _NAME = 4, 6, 0


class DoorAddress(NamedTuple):
    """Where an introduction door listens; unpacks as `host, port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ticket(Unpicklable):
    """`str(ticket)` is redacted; the line with its secret is `export_secret()`."""

    network_id: NetworkId
    ticket_id: bytes
    secret: bytes = field(repr=False)
    expires_s: int  # Unix seconds
    roles: Role
    addresses: tuple[DoorAddress, ...]

    @property
    def name(self) -> str:
        """How errors and logs call this ticket."""
        return self.ticket_id.hex()

    @property
    def trust(self) -> Trust:
        """What the bearer believes: this network's root and no other."""
        return Trust(self.network_id)

    def __str__(self) -> str:
        return f"ticket {self.name} for network {self.network_id[:12]}"

    def export_secret(self) -> str:
        """The one line. Whoever reads it can join."""
        body = bytearray([1])
        body += decode_id(self.network_id) + self.ticket_id + self.secret
        body += self.expires_s.to_bytes(4, "big") + int(self.roles).to_bytes(2, "big")
        body.append(len(self.addresses))
        for address in self.addresses:
            body += _pack_address(address)
        return PREFIX + _text_of(bytes(body) + _checksum(bytes(body)))

    @classmethod
    def make(
        cls,
        network_id: NetworkId,
        ticket_id: bytes,
        secret: bytes,
        expires_s: int,
        roles: Role,
        addresses: Iterable[tuple[str, int]],
    ) -> Ticket:
        """
        Raises:
            InvalidValue: a field is out of its bounds.
        """
        doors = tuple(DoorAddress(_one_form(host), port) for host, port in addresses)
        if len(doors) > MAX_ADDRESSES:
            raise InvalidValue("addresses", f"a ticket holds up to {MAX_ADDRESSES}")
        for door in doors:
            problem = host_problem(door.host)
            if problem or not 1 <= door.port <= 65535:
                raise InvalidValue(f"the address {door}", problem or "its port is not 1 to 65535")
        if len(ticket_id) != TICKET_ID_BYTES or len(secret) != SECRET_BYTES:
            raise InvalidValue("a ticket", "its id has 8 bytes and its secret 16")
        if not 0 < expires_s < 2**32:
            raise InvalidValue("a ticket", "its expiry does not fit 32 bits of Unix seconds")
        return cls(network_id, ticket_id, secret, expires_s, Role(roles & ALL_ROLES), doors)

    @classmethod
    def parse(cls, line: str) -> Ticket:
        """Read the line that `conclave invite` printed; blanks around and line breaks are forgiven.

        Raises:
            TicketMalformed: mistyped, cut off, or not a ticket at all. Never quotes the line.
        """
        text = "".join(line.split()) if len(line) <= 2 * MAX_TICKET_CHARS else ""
        if not text.startswith(PREFIX):
            raise TicketMalformed(f"it does not begin with {PREFIX!r}")
        data = _bytes_of(text[len(PREFIX) :])
        body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        if checksum != _checksum(body):
            raise TicketMalformed("its checksum does not fit, so a character is wrong or missing")
        try:
            return _parse(_Reader(body))
        except (InvalidValue, ValueError) as error:
            raise TicketMalformed("its contents are not those of a ticket") from error


class _Reader:
    """Takes bytes off the front; running out is a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise ValueError("cut off")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def finish(self) -> None:
        if self._data:
            raise ValueError("bytes left over")


def _parse(reader: _Reader) -> Ticket:
    if reader.number(1) != 1:
        raise ValueError("unknown version")
    network_id = NetworkId(encode_id(reader.take(FINGERPRINT_BYTES)))
    ticket_id, secret = reader.take(TICKET_ID_BYTES), reader.take(SECRET_BYTES)
    expires_s, roles = reader.number(4), reader.number(2)
    if roles & ~int(ALL_ROLES):
        raise ValueError("unknown role")
    addresses = [_parse_address(reader) for _ in range(reader.number(1))]
    reader.finish()
    return Ticket.make(network_id, ticket_id, secret, expires_s, Role(roles), addresses)


def _pack_address(address: DoorAddress) -> bytes:
    port = address.port.to_bytes(2, "big")
    ip = _ip(address.host)
    if ip is None:
        name = address.host.encode()
        return bytes([_NAME, len(name)]) + name + port
    return bytes([_IP4 if ip.version == 4 else _IP6]) + ip.packed + port


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, unless it is a name, or has a zone that the packed form would lose."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _one_form(host: str) -> str:
    ip = _ip(host)
    return host if ip is None else str(ip)


def _parse_address(reader: _Reader) -> DoorAddress:
    kind = reader.number(1)
    if kind == _NAME:
        host = reader.take(reader.number(1)).decode("ascii")
    elif kind in (_IP4, _IP6):
        host = str(ipaddress.ip_address(reader.take(4 if kind == _IP4 else 16)))
    else:
        raise ValueError("unknown kind of address")
    return DoorAddress(host, reader.number(2))


def _checksum(body: bytes) -> bytes:
    """Against typing errors only: a forger computes it as well."""
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes_of(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TicketMalformed("it holds a character that no ticket has, or is cut off") from error
    if _text_of(data) != text:
        raise TicketMalformed("its last character is wrong")
    return data
