"""`conclave doctor --network`: the way between this node and each peer, tried in both directions.

Every peer is asked which of our addresses it can reach and whether it hears our mDNS; we know whom
we hear. A large echo shows whether full packets pass. Out of all answers together comes who is to
blame: an address that nobody reaches is this machine's firewall, one that a single peer cannot
reach is on the way to that one.

What this module does not know: how findings are printed, how addresses are tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.doctoring import CLOCK_WARNING_MS, Finding
from agents.network_check_service import ASK_TIMEOUT_S, REACH, Reach, Reached, decode_reach
from agents.probing import ECHO, MAX_ECHO_BYTES
from keys import PeerId
from p2p import NoSuchMethod, P2PError, PayloadError

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

MAX_PEERS = 32
ECHO_TIMEOUT_S = 5.0
SEED_ADVICE = "name one node to the others: conclave up --seed HOST:PORT"


@dataclass(frozen=True, slots=True)
class Way:
    """What was found out about the way to one peer and back.

    Attributes:
        reach: its answer; None when there was none, and `problem` says why.
        hears: whether we have heard it on mDNS; None where that is switched off.
        passes: whether a message of 64 KiB came back.
    """

    label: str
    reach: Reach | None
    problem: str
    hears: bool | None
    passes: bool
    clock_ms: int | None


async def check_network(node: NodeParts) -> list[Finding]:
    """Ask all peers (at most 32) at once, and judge."""
    peers = node.peer.presence.present()[:MAX_PEERS]
    offsets = {member.peer_id: member.clock_offset_ms for member in node.peer.presence.members()}
    ways = await asyncio.gather(*(_way(node, peer_id, offsets.get(peer_id)) for peer_id in peers))
    return list(judge(ways, node.peer.ports.get("door", 0)))


async def _way(node: NodeParts, peer_id: PeerId, clock_ms: int | None) -> Way:
    peer, reach, problem = node.peer, None, ""
    try:
        answer = await peer.request(peer_id, REACH, b"", timeout_s=ASK_TIMEOUT_S)
        reach = decode_reach(answer)
    except NoSuchMethod:
        problem = "it is of an older version and cannot be asked"
    except (P2PError, PayloadError) as error:
        problem = str(error)
    passes = True
    try:
        await peer.request(peer_id, ECHO, bytes(MAX_ECHO_BYTES), timeout_s=ECHO_TIMEOUT_S)
    except P2PError:
        passes = False
    hears = peer.gathering.hears(peer_id)
    return Way(peer.label(peer_id), reach, problem, hears, passes, clock_ms)


def judge(ways: Sequence[Way], port: int) -> Iterator[Finding]:
    """Say in words what all answers mean together. Pure."""
    if not ways:
        alone = "no peer is here that could try the way back"
        yield Finding("warning", "network", alone, SEED_ADVICE)
        return
    for way in ways:
        if way.reach is None:
            yield Finding("warning", "network", f"{way.label} was not heard out: {way.problem}")
    answers = {way.label: way.reach for way in ways if way.reach is not None}
    hosts = dict.fromkeys(host for reach in answers.values() for host in reach.hosts)
    for host in hosts:
        said = {who: reach.hosts[host] for who, reach in answers.items() if host in reach.hosts}
        yield from _address(host, port, said)
    yield from _multicast(ways)
    for way in ways:
        yield from _way_itself(way)


def _address(host: str, port: int, said: Mapping[str, Reached]) -> Iterator[Finding]:
    tried = {who: word for who, word in said.items() if word is not Reached.SKIPPED}
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    failed = {who: word for who, word in tried.items() if word is not Reached.YES}
    if not tried:
        return
    if not failed:
        yield Finding("ok", "reach", f"{place} is reached by all {len(tried)} who tried")
        return
    words = set(failed.values())
    if Reached.OTHER in words:
        who = _names([who for who, word in failed.items() if word is Reached.OTHER])
        yield Finding(
            "problem",
            "reach",
            f"at {place} {who} met somebody else than this node",
            "two machines have this address, or another node that port: change one of them",
        )
    if Reached.REFUSED in words:
        who = _names([who for who, word in failed.items() if word is Reached.REFUSED])
        advice = "the node listens on other addresses: look at --host"
        if ":" in host:
            advice = "it listens on IPv4 only: conclave up --host ::"
        yield Finding("warning", "reach", f"{place} is refused to {who}", advice)
    if Reached.SILENT in words:
        silent = [who for who, word in failed.items() if word is Reached.SILENT]
        advice = f"something on the way to {_names(silent)} drops packets: a router, or a VPN"
        if len(silent) == len(tried):
            advice = (
                "the firewall of this machine: let TCP "
                f"{port} to {port + 8} pass, such as: ufw allow {port}:{port + 8}/tcp"
            )
        yield Finding("warning", "reach", f"{place} gives no answer to {_names(silent)}", advice)


def _multicast(ways: Sequence[Way]) -> Iterator[Finding]:
    heard = {way.label: way.reach.heard for way in ways if way.reach is not None}
    deaf = [who for who, is_heard in heard.items() if is_heard is False]
    unheard = [way.label for way in ways if way.hears is False]
    if all(way.hears is None for way in ways):
        yield Finding("ok", "mDNS", "it is switched off here")
        return
    if not deaf and not unheard:
        count = sum(way.hears is True for way in ways)
        yield Finding("ok", "mDNS", f"{count} peer(s) are heard, and all who listen hear this node")
        return
    here = "let UDP 5353 pass in this machine's firewall, such as: ufw allow 5353/udp"
    there = "multicast is kept back on the way: a Wi-Fi for guests, another subnet, IGMP snooping"
    if deaf:
        advice = f"{there}; {SEED_ADVICE}"
        yield Finding("warning", "mDNS", f"{_names(deaf)} never heard this node", advice)
    if unheard:
        everybody = len(unheard) == len(ways)
        advice = here if everybody and not deaf else f"{there}; {SEED_ADVICE}"
        yield Finding("warning", "mDNS", f"this node never heard {_names(unheard)}", advice)


def _way_itself(way: Way) -> Iterator[Finding]:
    if not way.passes:
        said = f"64 KiB to {way.label} and back did not pass in {ECHO_TIMEOUT_S:g} s"
        advice = "full packets may be lost on the way: compare `ip link show` (mtu) at both ends"
        yield Finding("warning", "packets", said, advice)
    if way.clock_ms is not None and abs(way.clock_ms) > CLOCK_WARNING_MS:
        direction = "ahead" if way.clock_ms > 0 else "behind"
        said = f"the clock of {way.label} is {abs(way.clock_ms) / 1000:.0f} s {direction}"
        yield Finding("warning", "clock", said, "set it; certificates depend on it")


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:5])
    return shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more"
