"""`conclave token`, between real processes."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cli_lab import Node, Said, conclave, eventually, lab, refused

from keys import Identity
from keys.tokens import TokensNotKnown, make_assertion

pytestmark = pytest.mark.e2e


def token(node: Node, *words: str, **more: str) -> Said:
    return conclave("token", *words, "--home", str(node.home), **more)


def test_tokens_from_the_command_line(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        ada, bob, _ = nodes
        words = ("--scope", "call:math.*", "--audience", "network")
        made = token(ada, "issue", *words)
        text = made.out.strip()
        assert made.status == 0, made.err
        assert made.out.count("\n") == 1, "a pipe gets the token and nothing else"
        said = eventually(lambda: _json(token(bob, "show", "--json", stdin=text)), "bob knows")
        assert (said["issuer_name"], said["scope"]) == ("ada", "call:math.*")
        refused(token(bob, "show", stdin=text[:-8]), "token")
        refused(token(bob, "issue", *words), "bob may not issue tokens", "TOKEN_ISSUE")
        refused(token(ada, "issue", "--scope", "call"), "call:math.*")
        refused(token(ada, "issue", *words, "--minutes", "16"), "15 min")
        refused(token(ada, "issue", *words, "--roles", "manager"), "manager")
        refused(token(ada, "revoke", "nonsense"), "jti")
        assert token(ada, "revoke", said["jti"]).status == 0
        eventually(lambda: "was revoked" in token(bob, "show", stdin=text).err, "the revocation")

        key = Identity.generate()
        add = ("client", "add", "web", "--key", key.public_key.hex(), "--scope", "call:math.*")
        refused(token(bob, *add), "CONFIG_CHANGE")
        refused(token(ada, *add[:4], "junk", *add[5:]), "43 characters")
        assert token(ada, *add).status == 0
        eventually(lambda: "client:web" in token(bob, "client", "list").out, "the list")
        # A node that has just begun takes no assertion that it may have taken before.
        given = eventually(lambda: exchanged(ada, key), "an exchange")
        assert token(ada, "show", "--json", stdin=given).json["subject"] == "client:web"
        file = tmp_path / "token"
        file.write_text(given)
        assert "client:web" in token(ada, "show", str(file)).out
        assert token(ada, "client", "remove", "web").status == 0
        eventually(lambda: "no client 'web'" in token(bob, "show", stdin=given).err, "the removal")
        for node in nodes:
            assert text not in node.log
            assert given not in node.log


def exchanged(node: Node, key: Identity) -> str | None:
    shown = make_assertion(key, "web", node.status()["peer"], _now_ms(), secrets.token_hex(8))

    async def exchange(net):  # type: ignore[no-untyped-def]
        return await net.tokens.exchange(shown, audience="network")

    with suppress(TokensNotKnown):
        return str(node.ask(exchange)["token"])
    return None


def _json(said: Said):  # type: ignore[no-untyped-def]
    return said.json if said.status == 0 else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
