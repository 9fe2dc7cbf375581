"""The two directions of a sealed stream: chunks that cannot be read, changed, moved or cut off.

One session key, sealed once for the provider, gives a key for each direction. The chunks of a
direction are libsodium's secretstream (XChaCha20-Poly1305): the sequence of a chunk is part of its
nonce, so that one left out, repeated or moved does not open; the key is replaced by a hash of
itself every hour and after 2^32 chunks, which cannot be undone; the last chunk says that it is the
last, so that an end that was cut off is seen.

What this module does not know: who the two are, sockets, how the session key travels.
"""

from __future__ import annotations

import hashlib
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.utils import random as random_bytes

from keys.identity import PeerId, decode_id
from keys.sealing.refusals import SealedStreamBroken

SESSION_KEY_BYTES: Final = 32
CHUNK_OVERHEAD_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
REKEY_MS: Final = 3_600_000

_HEADER_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_MESSAGE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_REKEY: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_REKEY
_FINAL: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


def new_session_key() -> bytes:
    """A fresh key for one stream."""
    return random_bytes(SESSION_KEY_BYTES)


def direction_key(session_key: bytes, sender: PeerId, reader: PeerId) -> bytes:
    """The key of what `sender` says to `reader` in this stream."""
    both = decode_id(sender) + decode_id(reader)
    return hashlib.blake2b(
        both, key=session_key, digest_size=32, person=b"conclave stream"
    ).digest()


class ChunkSealer:
    """Seals the chunks of one direction in their order."""

    def __init__(self, key: bytes, now_ms: int) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        self._header: bytes = bindings.crypto_secretstream_xchacha20poly1305_init_push(
            self._state, key
        )
        self._keyed_ms = now_ms
        self._is_finished = False

    def seal(self, chunk: bytes, now_ms: int, *, is_last: bool = False) -> bytes:
        """The next chunk as it travels; the first one brings the direction's header."""
        assert not self._is_finished, "nothing follows the last chunk"
        tag = _MESSAGE
        if is_last:
            tag, self._is_finished = _FINAL, True
        elif now_ms - self._keyed_ms >= REKEY_MS:
            tag, self._keyed_ms = _REKEY, now_ms
        sealed: bytes = bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, chunk, tag=tag
        )
        header, self._header = self._header, b""
        return header + sealed


class ChunkOpener:
    """Opens the chunks of one direction in their order."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._state: bindings.crypto_secretstream_xchacha20poly1305_state | None = None
        self.is_over = False

    def open(self, data: bytes) -> bytes:
        """The next chunk; `is_over` says that it was the last.

        Raises:
            SealedStreamBroken: it is not the one that comes next.
        """
        if self.is_over:
            raise SealedStreamBroken("a chunk follows the last one")
        try:
            if self._state is None:
                self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
                bindings.crypto_secretstream_xchacha20poly1305_init_pull(
                    self._state, data[:_HEADER_BYTES], self._key
                )
                data = data[_HEADER_BYTES:]
            chunk, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, data)
        except (CryptoError, RuntimeError, ValueError) as error:
            raise SealedStreamBroken("a chunk was changed, left out, repeated or moved") from error
        self.is_over = tag == _FINAL
        opened: bytes = chunk
        return opened

    def finish(self) -> None:
        """The transport says that nothing more comes.

        Raises:
            SealedStreamBroken: the last chunk has not come.
        """
        if not self.is_over:
            raise SealedStreamBroken("it was cut off before its last chunk")
