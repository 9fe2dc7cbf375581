"""Three voters when something is amiss: a leader killed, a follower far behind, a long log to read,
a link full of bulk."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.clusters import Voters, our_voters
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import MIB, QUICK, pace
from benchmarks.workers import Worker

BYTES = 256
ELECTION_TIMEOUT_MS = 800
IN_TIME_S = 2 * ELECTION_TIMEOUT_MS / 1000
DEFAULT_S = 1.5
SHARE_IN_TIME = 0.99
BEHIND = 100_000
CAUGHT_UP_S = 10.0
WORSE = 2.0
OFFERED = 1_000.0
LONG_LOG = 1_000_000
READY_S = 3.0
NO_SNAPSHOT = 2**30
BULK_BYTES = 100 * MIB
LONG_S = 300.0


@measures("raft failover")
def failover() -> Iterator[Figure]:
    """SIGKILL to the leader; the time until a survivor has committed and applied a command."""
    rounds = 10 if pace() is QUICK else 100
    with our_voters() as voters:
        taken_s = [_kill_leader(voters) for _ in range(rounds)]
    how = (
        "from the signal to the next command committed and applied at a survivor; the killed voter "
        "comes back between two rounds; the survivors see the connection break, as the kernel "
        "closes it"
    )
    yield median_of("leader killed, next commit", taken_s, "s", how, target=DEFAULT_S)
    yield median_of(
        f"leader killed, next commit within {IN_TIME_S:g} s",
        [sum(one <= IN_TIME_S for one in taken_s) / rounds],
        "of all",
        f"{rounds} rounds; twice the election timeout of {ELECTION_TIMEOUT_MS} ms",
        target=SHARE_IN_TIME,
        more_is_better=True,
    )


def _kill_leader(voters: Voters) -> float:
    leader = voters.leader
    name = leader.ready["peer"]
    term = leader.ask("status")["term"]
    leader.ask("commit", bytes_=1, in_flight=1, seconds=0.05)
    survivors = [worker for worker in voters.workers.values() if worker is not leader]
    for worker in survivors:
        worker.order("take_over", term=term)
    at_s = voters.end(name)
    ends_s = [worker.answer()["at_s"] for worker in survivors]
    voters.restart(name).ask("wait", led=True)
    return min(end_s for end_s in ends_s if end_s is not None) - at_s


@measures("raft catching up")
def catching_up() -> Iterator[Figure]:
    """A follower that was away for 100,000 entries, which are in nobody's snapshot."""
    caught_up_s, quiet_us, busy_us = [], [], []
    for _ in range(pace().repeats):
        with our_voters(snapshot_entries=NO_SNAPSHOT) as voters:
            leader = voters.leader
            absent = voters.followers[0].ready["peer"]
            voters.end(absent)
            leader.ask("fill", count=BEHIND, bytes_=BYTES, answer_s=LONG_S)
            quiet_us.append(_offered(leader)["p99_us"])
            worker = voters.restart(absent)
            leader.order("offer_commits", bytes_=BYTES, rate=OFFERED, seconds=3.0)
            began_s = time.monotonic()
            end_s = worker.ask("wait", applied=BEHIND)["at_s"]
            caught_up_s.append(end_s - began_s)
            busy_us.append(leader.answer()["p99_us"])
    yield median_of(
        "follower 100,000 entries behind, caught up",
        caught_up_s,
        "s",
        "from taking part again to having applied them all; no snapshot helps; 1,000 commits a "
        "second are offered meanwhile",
        target=CAUGHT_UP_S,
    )
    yield median_of(
        "commits meanwhile, P99",
        busy_us,
        "us",
        "at the leader, 1,000 a second on a schedule for 3 s from then on",
        against=[Against("those before", quiet_us, WORSE)],
    )


def _offered(leader: Worker) -> dict[str, float]:
    said: dict[str, float] = leader.ask("offer_commits", bytes_=BYTES, rate=OFFERED, seconds=3.0)
    return said


@measures("raft restart")
def restart() -> Iterator[Figure]:
    """A voter that comes back to a log of a million entries."""
    runs, cpu_s = [], []
    with our_voters(snapshot_entries=NO_SNAPSHOT) as voters:
        leader = voters.leader
        leader.ask("fill", count=LONG_LOG, bytes_=1, answer_s=LONG_S)
        name = voters.followers[0].ready["peer"]
        for _ in range(pace().repeats):
            voters.end(name)
            said = voters.restart(name).ready
            assert said["entries"] >= LONG_LOG, said
            runs.append(said["ready_s"])
            cpu_s.append(said["cpu_s"])
    yield median_of(
        "restart with 1,000,000 entries",
        runs,
        "s",
        "reading and checking the log of small entries, after SIGKILL, until messages are taken; "
        "applying them anew comes behind that, and snapshots make it short",
        target=READY_S,
    )
    yield median_of(
        "restart with 1,000,000 entries, CPU", cpu_s, "s", "of the same: what a busy machine adds"
    )


@measures("raft beside bulk")
def beside_bulk() -> Iterator[Figure]:
    """100 MB from each follower to the leader on the bulk lane, while commits go on."""
    changes, quiet_us, busy_us = [], [], []
    with our_voters() as voters:
        for _ in range(pace().rounds):
            leader = voters.leader
            before = leader.ask("status")["term"]
            quiet_us.append(leader.ask("commit", bytes_=BYTES, in_flight=1, seconds=1.0)["p99_us"])
            followers = [w for w in voters.workers.values() if w is not leader]
            for follower in followers:
                follower.order(
                    "stream", to=leader.ready["peer"], total_bytes=BULK_BYTES, chunk_bytes=MIB
                )
            said = leader.ask("commit", bytes_=BYTES, in_flight=1, seconds=1.0)
            busy_us.append(said["p99_us"])
            for follower in followers:
                follower.answer()
            changes.append(float(voters.leader.ask("status")["term"] - before))
    yield median_of(
        "elections while 100 MB stream",
        [sum(changes)],
        "",
        f"terms that passed in {len(changes)} rounds, with a stream of 100 MB from each follower "
        "to the leader on the bulk lane",
        target=0.0,
    )
    yield median_of(
        "commits beside the streams, 1 in flight, P99",
        busy_us,
        "us",
        "the same rounds",
        against=[Against("those without", quiet_us)],
    )
