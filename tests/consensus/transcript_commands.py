"""The language of the transcripts, command by command, and the files that hold them.

A file is made of blocks: command lines, `----`, and what they print; a blank line ends a block. `#`
begins a comment. `CONCLAVE_REWRITE=1` makes the tests write what was printed instead of comparing;
the difference is then reviewed against the rules, line by line.

    add-nodes 3 key=n  voters 1, 2, 3        add-node 4         one that comes later
    load 2 log=1,1,2 term=3 vote=1 commit=1  starts anew, from a disk that says this
    campaign 1         its timer is the first to fire
    tick 1 800 | wait 800 | run 800          time for one | for none | for all, with messages
    deliver 1->2 n | drop 1->2 n             the oldest messages of a link (one unless said)
    stabilize [names]  until nobody has more to say [to these]
    cut, hold, mend 1->2   (or 1-2 both ways) lose | keep back | carry messages;  isolate 3;  heal
    save x 1->2 | replay x   put the oldest message aside, without losing it | hand it over
    send kind 1->2 field=value  a message made by hand
    hold-store 2 | store 2 n | free-store 2   the disk waits | writes n batches | is instant again
    store-fails 2 full|broken;  crash 2;  restart 2;  unreachable 1 2
    propose 1 x y | change 1 voters=(1,2) learners=(3) | read 1 id | transfer 1 [2]
    snapshot 1 upto=7 | send-snapshot 1->3 | land-snapshot 1->3 | snapshot-failed 1->3
    status [names] | raft-log 1 | disk 1 | progress 1 | flying
    show all|changes|nothing   what is printed from here on
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import transcript_words as words
from transcript_lab import Disk, Lab, Link

from consensus.raft import (
    ChangeConfig,
    Entry,
    EntryKind,
    HardState,
    Message,
    Propose,
    ReadRequest,
    SnapshotSent,
    StorageFailed,
    StorageFault,
    Transfer,
    Unreachable,
)

CHANGES = frozenset(
    ("becomes", "commits", "members", "halts:", "accepted", "refused:", "read", "transfer", "wants")
)


class Interpreter:
    """One transcript's nodes. `run` takes a command line and returns what it prints."""

    def __init__(self) -> None:
        self.lab = Lab()
        self._shown = "all"
        self._saved: dict[str, Message] = {}
        self._requests = 0

    def run(self, line: str) -> list[str]:
        name, *words_ = line.split()
        plain = [word for word in words_ if "=" not in word]
        options = dict(word.split("=", 1) for word in words_ if "=" in word)
        command: Callable[..., list[str] | None] = getattr(self, "do_" + name.replace("-", "_"))
        self.lab.lines.clear()
        shown = command(*plain, **options)
        if shown is not None:
            return shown
        return self._filtered(self.lab.lines)

    def _filtered(self, lines: list[str]) -> list[str]:
        """With `changes`: neither messages nor what is stored and applied."""
        if self._shown == "nothing":
            return []
        if self._shown == "all":
            return list(lines)
        return [line for line in lines if line.startswith("  ") and line.split()[1] in CHANGES]

    def _request(self) -> int:
        self._requests += 1
        return self._requests

    # -- who is there --------------------------------------------------------------------------

    def do_add_nodes(self, count: str, **limits: str) -> None:
        self.lab.limits = {name: int(value) for name, value in limits.items()}
        voters = tuple(str(number) for number in range(1, int(count) + 1))
        for name in voters:
            self.lab.add(name, voters)

    def do_add_node(self, name: str) -> None:
        self.lab.add(name)

    def do_load(self, name: str, **values: str) -> None:
        disk = self.lab[name].disk
        terms = [int(one) for one in values.get("log", "").split(",") if one]
        if terms:
            disk = Disk(
                entries=list(_entries(",".join(f"{i}/{t}" for i, t in enumerate(terms, 1))))
            )
        term = max([int(values.get("term", disk.hard.term)), *terms])
        disk.hard = HardState(term, values.get("vote"))
        disk.commit = int(values.get("commit", disk.commit))
        self.lab.restart(name, disk)

    def do_crash(self, name: str) -> None:
        self.lab[name].is_down = True

    def do_restart(self, *names: str) -> None:
        for name in names:
            self.lab.restart(name)

    # -- time ----------------------------------------------------------------------------------

    def do_campaign(self, name: str) -> None:
        self.lab.campaign(name)

    def do_tick(self, name: str, duration_ms: str) -> None:
        self.lab.now_ms += int(duration_ms)
        self.lab.tick(name)

    def do_wait(self, duration_ms: str) -> None:
        self.lab.now_ms += int(duration_ms)

    def do_run(self, duration_ms: str) -> None:
        self.lab.run(int(duration_ms))

    # -- messages ------------------------------------------------------------------------------

    def do_deliver(self, link: str, count: str = "1") -> None:
        for message in self._oldest(link, count):
            self.lab.deliver(message)

    def do_drop(self, link: str, count: str = "1") -> None:
        for message in self._oldest(link, count):
            self.lab.flying.remove(message)
            self.lab.lines.append(f"lost: {words.of_message(message)}")

    def do_stabilize(self, *names: str) -> None:
        self.lab.stabilize(names)

    def do_cut(self, *links: str) -> None:
        self.lab.cut |= set(_links(links))

    def do_hold(self, *links: str) -> None:
        self.lab.held_links |= set(_links(links))

    def do_mend(self, *links: str) -> None:
        self.lab.cut -= set(_links(links))
        self.lab.held_links -= set(_links(links))

    def do_isolate(self, *names: str) -> None:
        self.lab.isolate(*names)

    def do_heal(self) -> None:
        self.lab.cut.clear()
        self.lab.held_links.clear()

    def do_save(self, label: str, link: str) -> None:
        (self._saved[label],) = self._oldest(link, "1")

    def do_replay(self, label: str) -> None:
        self.lab.deliver(self._saved[label])

    def do_send(self, kind: str, link: str, **values: str) -> None:
        ((sender, to),) = _links([link])
        message_type: Any = words.KINDS[kind]
        made: dict[str, Any] = {one.name: 0 for one in fields(message_type)}
        made |= {"sender": sender, "to": to}
        for name in {"entries", "granted", "accepted", "transfer"} & set(made):
            made[name] = () if name == "entries" else False
        for name, value in values.items():
            is_flag = isinstance(made[name], bool)
            made[name] = _entries(value) if name == "entries" else int(value)
            made[name] = bool(made[name]) if is_flag else made[name]
        self.lab.deliver(message_type(**made))

    def do_unreachable(self, name: str, peer: str) -> None:
        self.lab.step(name, Unreachable(peer))

    def _oldest(self, link: str, count: str) -> list[Message]:
        ((sender, to),) = _links([link])
        found = self.lab.on_link((sender, to))
        wanted = len(found) if count == "all" else int(count)
        assert len(found) >= wanted, f"only {len(found)} messages are on {link}"
        return found[:wanted]

    # -- disks and snapshots -------------------------------------------------------------------

    def do_hold_store(self, *names: str) -> None:
        self.lab.held_disks |= set(names)

    def do_store(self, name: str, count: str = "") -> None:
        self.lab.store(name, int(count) if count else None)

    def do_free_store(self, *names: str) -> None:
        for name in names:
            self.lab.held_disks.discard(name)
            self.lab.store(name)

    def do_store_fails(self, name: str, how: str) -> None:
        fault = StorageFault.NO_SPACE if how == "full" else StorageFault.IO_ERROR
        self.lab.step(name, StorageFailed(fault))

    def do_snapshot(self, name: str, upto: str) -> None:
        self.lab.snapshot(name, int(upto))

    def do_send_snapshot(self, link: str) -> None:
        ((sender, to),) = _links([link])
        self.lab.send_snapshot(sender, to)

    def do_land_snapshot(self, link: str) -> None:
        ((sender, to),) = _links([link])
        self.lab.flying.append(self.lab.land_snapshot(sender, to))

    def do_snapshot_failed(self, link: str) -> None:
        ((sender, to),) = _links([link])
        self.lab.step(sender, SnapshotSent(to, False))

    def do_snapshot_arrived(self, link: str) -> None:
        ((sender, to),) = _links([link])
        self.lab.step(sender, SnapshotSent(to, True))

    # -- wishes --------------------------------------------------------------------------------

    def do_propose(self, name: str, *data: str) -> None:
        self.lab.step(name, Propose(self._request(), [one.encode() for one in data]))

    def do_change(self, name: str, voters: str, learners: str = "()") -> None:
        wish = ChangeConfig(self._request(), _names(voters), _names(learners))
        self.lab.step(name, wish)

    def do_read(self, name: str, request: str) -> None:
        self.lab.step(name, ReadRequest(int(request)))

    def do_transfer(self, name: str, target: str = "") -> None:
        self.lab.step(name, Transfer(target or None))

    # -- pictures ------------------------------------------------------------------------------

    def do_show(self, what: str) -> list[str]:
        self._shown = what
        return []

    def do_status(self, *names: str) -> list[str]:
        return [
            words.of_status(member.status) + ("; down" if member.is_down else "")
            for name, member in self.lab.members.items()
            if not names or name in names
        ]

    def do_raft_log(self, name: str) -> list[str]:
        member = self.lab[name]
        return [
            f"behind {member.status.base_index}: {words.of_entries(member.log)}; "
            f"commit {member.status.commit} stored {member.status.stored}"
        ]

    def do_disk(self, name: str) -> list[str]:
        disk = self.lab[name].disk
        text = f"t{disk.hard.term} vote {disk.hard.vote or '-'} commit {disk.commit}; "
        text += f"behind {disk.base_index}/{disk.base_term}: {words.of_entries(disk.entries)}"
        return [text, *([words.of_snapshot(disk.snapshot)] if disk.snapshot else [])]

    def do_progress(self, name: str) -> list[str]:
        return [
            f"{peer} {one.phase.value} match {one.match} next {one.next}"
            f"{' waits' if one.probe_sent else ''}"
            f"{f' under way {len(one.inflight)}' if one.inflight else ''}"
            f"{f' up to {one.snapshot_index}' if one.phase.value == 'snapshot' else ''}"
            f"{'' if one.is_active else ' silent'}"
            for peer, one in self.lab[name].core._state.progress.items()
        ]

    def do_flying(self) -> list[str]:
        return [words.of_message(message) for message in self.lab.flying]


@dataclass
class Block:
    """Lines as they stand in the file; comments belong to the commands below them."""

    head: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)


def blocks_of(text: str) -> Iterator[Block]:
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.strip("\n").split("\n")
        end = lines.index("----") if "----" in lines else len(lines)
        yield Block(lines[:end], lines[end + 1 :])


def replayed(text: str) -> str:
    """The same transcript with what its commands print now."""
    interpreter = Interpreter()
    paragraphs = []
    for block in blocks_of(text):
        commands = [line for line in block.head if line and not line.startswith("#")]
        printed = [line for command in commands for line in interpreter.run(command)]
        if commands:
            paragraphs.append("\n".join([*block.head, "----", *(printed or ["ok"])]))
        else:
            paragraphs.append("\n".join(block.head))
    return "\n\n".join(paragraphs) + "\n"


def difference(path: Path, text: str, printed: str) -> str:
    lines = difflib.unified_diff(
        text.splitlines(),
        printed.splitlines(),
        f"{path.name} as expected",
        "as it is now",
        "",
        "",
        4,
    )
    return "\n".join(line.rstrip("\n") for line in lines)


def _links(texts: tuple[str, ...] | list[str]) -> list[Link]:
    found: list[Link] = []
    for text in texts:
        one, arrow, other = text.partition("->")
        if not arrow:
            one, _, other = text.partition("-")
            found.append((other, one))
        found.append((one, other))
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.strip("()").split(",") if name)


def _entries(text: str) -> tuple[Entry, ...]:
    pairs = [one.split("/") for one in text.split(",")]
    return tuple(Entry(int(i), int(t), EntryKind.COMMAND, b"c%d" % int(i)) for i, t in pairs)
