"""The methods of p2p/PROTOCOL.md are those that a node serves, with their permissions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

import p2p
from keys import roles_with
from p2p import MembershipSettings, SwimSettings

assert p2p.__file__ is not None
TEXT = (Path(p2p.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `([a-z.]+)` \| (?:control|data|bulk) \| [NRS, ]+ \| ([A-Z_]+) \|", re.MULTILINE
)


HEARTBEATS = {"presence.heartbeat", "presence.leave"}
SWIM = {
    "adverts.compare",
    "adverts.news",
    "adverts.tables",
    "members.message",
    "members.papers",
    "members.part",
}


@pytest.mark.parametrize("settings", [MembershipSettings(), SwimSettings()], ids=["beats", "swim"])
def test_every_method_of_a_voter_is_documented_with_its_permission(
    tmp_path: Path, settings: MembershipSettings | SwimSettings
) -> None:
    others = SWIM if isinstance(settings, MembershipSettings) else HEARTBEATS

    async def scenario(lab: NodeLab) -> None:
        lab.membership = settings
        voter = await lab.up("a")
        await until(lambda: voter.quorum.leader() is not None)
        served = {method: p.name for method, p in voter.peer.declared().items()}
        documented = dict(ROW.findall(TEXT))
        assert others <= documented.keys()
        assert served == {name: p for name, p in documented.items() if name not in others}
        for method, permission in voter.peer.declared().items():
            assert permission, f"{method} declares no permission"
            assert roles_with(permission), f"no role may {method}"

    in_lab(tmp_path, scenario, voters=1)
