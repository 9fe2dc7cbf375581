"""The methods of p2p/PROTOCOL.md are those that a node serves, with their permissions."""

from __future__ import annotations

import re
from pathlib import Path

from node_lab import NodeLab, in_lab, until

import p2p
from keys import roles_with

assert p2p.__file__ is not None
TEXT = (Path(p2p.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `([a-z.]+)` \| (?:control|data|bulk) \| [NRS, ]+ \| ([A-Z_]+) \|", re.MULTILINE
)


def test_every_method_of_a_voter_is_documented_with_its_permission(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        voter = await lab.up("a")
        await until(lambda: voter.quorum.leader() is not None)
        served = {method: p.name for method, p in voter.peer.declared().items()}
        assert served == dict(ROW.findall(TEXT))
        for method, permission in voter.peer.declared().items():
            assert permission, f"{method} declares no permission"
            assert roles_with(permission), f"no role may {method}"

    in_lab(tmp_path, scenario, voters=1)
