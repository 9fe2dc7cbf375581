"""Other programs see our nodes: `avahi-browse` of the system, on a host of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from lan_lab import Host, lan

PROGRAMS = ("avahi-daemon", "avahi-browse", "dbus-daemon", "unshare")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not all(shutil.which(program) for program in PROGRAMS),
        reason="avahi-daemon, avahi-browse or dbus-daemon is not installed",
    ),
]

# Its own /run, so that neither bus nor daemon of this machine is met.
SCRIPT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/avahi-daemon
dbus-daemon --system --nofork --nopidfile & BUS=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.2; done
avahi-daemon --no-drop-root --no-rlimits --no-chroot -f /dev/null & AVAHI=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/avahi-daemon/socket ] && break; sleep 0.2; done
sleep 2
timeout 10 avahi-browse -rtp _conclave._tcp
kill $AVAHI $BUS; wait
"""


def test_avahi_sees_every_node(tmp_path: Path) -> None:
    with lan(tmp_path) as here:
        nodes = here.members("ada", "bob", "cyd")
        here.start(nodes)
        onlooker = Host(here, 9, ipv6=False)
        here.hosts.append(onlooker)
        words = onlooker.inside("unshare", "--mount", "sh", "-c", SCRIPT)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        if "Server startup complete" not in done.stderr:
            pytest.skip(f"avahi-daemon does not start here: {done.stderr[-200:]}")
        rows = [row.split(";") for row in done.stdout.splitlines() if row.startswith("=")]
        seen = {row[3]: row[7] for row in rows if row[2] == "IPv4"}
        ids = {node.status()["peer"]: node.host.address for node in nodes}
        assert seen == ids, done.stderr[-500:]
