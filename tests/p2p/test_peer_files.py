"""Files between peers: whole or not at all, whatever happens on the way."""

from __future__ import annotations

import asyncio
import hashlib
import resource
from pathlib import Path
from random import Random

import pytest
from peer_lab import Lab, in_lab, until

from keys import Permission
from p2p import (
    BadFileName,
    FileDamaged,
    FileNotStored,
    Incoming,
    P2PError,
    Peer,
    ReceivedFile,
    Stream,
    StreamAborted,
    encode_payload,
    receive_file,
    send_file,
)


class Shelf:
    """Serves `put`: takes files into a directory."""

    def __init__(self, peer: Peer, directory: Path, max_bytes: int | None = None) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.files: list[ReceivedFile] = []
        self.failures: list[P2PError] = []
        self.seen: list[tuple[int, int]] = []
        directory.mkdir(exist_ok=True)
        peer.serve_stream("put", self.take, permission=Permission.CALL)

    async def take(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        try:
            self.files.append(
                await receive_file(
                    stream,
                    self.directory,
                    max_bytes=self.max_bytes,
                    progress=lambda done, total: self.seen.append((done, total)),
                )
            )
        except P2PError as error:
            self.failures.append(error)
            raise

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


def file_of(directory: Path, size: int, name: str = "data.bin") -> Path:
    path = directory / name
    path.write_bytes(Random(size).randbytes(size))
    return path


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, 9 * 2**20 + 17])
def test_a_file_arrives_whole_with_progress_and_checksum(tmp_path: Path, size: int) -> None:
    source = file_of(tmp_path, size)

    async def scenario(lab: Lab) -> None:
        shelf = Shelf(lab.peer("ben"), tmp_path / "shelf")
        ada, ben = await lab.up("ada", "ben")
        seen: list[tuple[int, int]] = []
        stream = await ada.open_stream(ben.peer_id, "put")
        digest = await send_file(stream, source, progress=lambda *now: seen.append(now))
        await until(lambda: shelf.files)
        [got] = shelf.files
        assert got.path.read_bytes() == source.read_bytes()
        assert got.size_bytes == size
        assert got.digest == digest
        assert digest == hashlib.blake2b(source.read_bytes(), digest_size=32).hexdigest()
        assert shelf.names == ["data.bin"]
        if size:
            assert seen[-1] == (size, size)
            assert shelf.seen[-1] == (size, size)

    in_lab(scenario)


def test_a_connection_that_breaks_in_the_middle_costs_nothing_but_time(tmp_path: Path) -> None:
    source = file_of(tmp_path, 30 * 2**20)

    async def scenario(lab: Lab) -> None:
        shelf = Shelf(lab.peer("ben"), tmp_path / "shelf")
        ada, ben = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "put")

        def cut_once(done: int, total: int) -> None:
            if done == 5 * 2**20:
                lab.network.cut([lab.worlds["ada"].host], [lab.worlds["ben"].host])

        sending = asyncio.create_task(send_file(stream, source, progress=cut_once))
        await asyncio.sleep(8)
        assert not sending.done()
        lab.network.heal()
        await sending
        await until(lambda: shelf.files)
        assert shelf.files[0].path.read_bytes() == source.read_bytes()
        assert stream.core.resumed >= 1

    in_lab(scenario)


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a/b", "", ".", "..", "c:\\x", "a\0b", "x" * 300]
)
def test_a_name_never_chooses_a_directory(tmp_path: Path, name: str) -> None:
    async def scenario(lab: Lab) -> None:
        shelf = Shelf(lab.peer("ben"), tmp_path / "shelf")
        ada, ben = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "put")
        await stream.write(encode_payload([1, name, 3]))
        await until(lambda: shelf.failures)
        assert isinstance(shelf.failures[0], BadFileName)
        with pytest.raises(StreamAborted, match="no name of a file"):
            while True:
                await stream.write(b"abc")
        assert shelf.names == []

    in_lab(scenario)


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([b"\xc1"], "does not begin"),
        ([encode_payload([2, "x", 3])], "does not begin"),
        ([encode_payload([1, "x", -1])], "does not begin"),
        ([encode_payload([1, "x", 3]), b"abcd"], "3 bytes were announced and 4 came"),
        ([encode_payload([1, "x", 3]), b"ab"], "3 bytes were announced and 2 came"),
        ([encode_payload([1, "x", 3]), b"abc", bytes(32)], "checksum"),
        ([encode_payload([1, "x", 3]), b"abc"], "checksum"),
    ],
)
def test_what_is_not_what_was_sent_is_no_file(
    tmp_path: Path, chunks: list[bytes], words: str
) -> None:
    async def scenario(lab: Lab) -> None:
        shelf = Shelf(lab.peer("ben"), tmp_path / "shelf")
        ada, ben = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "put")
        for chunk in chunks:
            await stream.write(chunk)
        with pytest.raises(StreamAborted):
            await stream.finish()
            await anext(stream)
        assert isinstance(shelf.failures[0], FileDamaged)
        assert words in str(shelf.failures[0])
        assert shelf.names == []

    in_lab(scenario)


def test_what_cannot_be_stored_is_told_to_both_sides(tmp_path: Path) -> None:
    source = file_of(tmp_path, 3 * 2**20)

    async def scenario(lab: Lab) -> None:
        shelf = Shelf(lab.peer("ben"), tmp_path / "shelf", max_bytes=4 * 2**20)
        ada, ben = await lab.up("ada", "ben")

        async def refused(path: Path, words: str) -> None:
            stream = await ada.open_stream(ben.peer_id, "put")
            with pytest.raises(StreamAborted, match=words):
                await send_file(stream, path)
                await anext(stream)
            assert isinstance(shelf.failures[-1], FileNotStored)

        await refused(file_of(tmp_path, 5 * 2**20, "large"), "5,242,880 bytes")
        (shelf.directory / "data.bin").write_bytes(b"old")
        await refused(source, "such a file already")
        (shelf.directory / "data.bin").unlink()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
        try:
            await refused(source, "File too large")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert shelf.names == []

    in_lab(scenario)


def test_a_file_that_is_not_there_is_the_senders_error(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        shelf = Shelf(lab.peer("ben"), tmp_path / "shelf")
        ada, ben = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "put")
        with pytest.raises(FileNotFoundError):
            await send_file(stream, tmp_path / "nothing")
        await until(lambda: ben.counters()["streams_open"] == 0)
        assert shelf.names == []

    in_lab(scenario)
