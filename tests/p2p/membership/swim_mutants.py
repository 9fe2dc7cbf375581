"""`python tests/p2p/membership/swim_mutants.py`: breaks each rule, and says which test finds it.

Each mutant is one text of one file with another in its place, planted in a copy of the source. The
exit code is the number of those that live.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SWIM = "p2p/membership/swim"
TESTS = "tests/p2p/membership"


@dataclass(frozen=True)
class Mutant:
    rule: str
    mistake: str
    file: str
    old: str
    new: str

    @property
    def path(self) -> str:
        return f"{SWIM}/{self.file}"


MUTANTS = (
    Mutant(
        "S1", "a refutation keeps its number", "core.py", "number), origin)", "number) - 1, origin)"
    ),
    Mutant(
        "S1",
        "any number that is accused of is outbid",
        "core.py",
        "elif number > self.incarnation and is_accused:",
        "elif False:",
    ),
    Mutant(
        "S1",
        "what was said in an earlier life is let stand",
        "core.py",
        "elif is_accused or statement.body() != self.word().body():",
        "elif is_accused:",
    ),
    Mutant(
        "S1",
        "who holds an old accusation is not told the answer",
        "core.py",
        "self._queue([origin], (self.word(),))  # it",
        "pass  # it",
    ),
    Mutant(
        "S1",
        "a refutation is not spread",
        "core.py",
        "self._queue(sorted(to), (self.word(),))",
        "pass",
    ),
    Mutant(
        "S2",
        "alive of the same number ends an accusation",
        "table.py",
        "return Merged.KNOWN if statement.mark == record.word.mark else Merged.CONFLICT",
        "return Merged.NEWS",
    ),
    Mutant(
        "S2",
        "an accusation of an older number counts",
        "table.py",
        "if statement.incarnation < record.incarnation or record.has_left:",
        "if record.has_left:",
    ),
    Mutant(
        "S2",
        "an accusation counts without its subject's word",
        "table.py",
        "    if record is None or statement.incarnation > record.incarnation:\n        return",
        "    if record is None:\n        return",
    ),
    Mutant(
        "S2",
        "alive of the same number undoes a goodbye",
        "table.py",
        "return Merged.KNOWN if statement.say is Say.LEFT else Merged.STALE",
        "return Merged.KNOWN if statement.say is Say.LEFT else Merged.NEWS",
    ),
    Mutant(
        "S3",
        "suspicion goes on from where an older one began",
        "picture.py",
        "        elif not record.accusations:\n            self.suspects.pop(subject, None)\n",
        "        elif not record.accusations:\n",
    ),
    Mutant(
        "S3",
        "the suspect is not told",
        "speaking.py",
        "if accused and accused[0] not in statements:",
        "if False:",
    ),
    Mutant(
        "S3", "the dead are not knocked at", "core.py", "        if dead:\n", "        if False:\n"
    ),
    Mutant(
        "S4",
        "signatures are not looked at",
        "core.py",
        "        elif self._is_signed(statement, origin):",
        "        elif True:",
    ),
    Mutant(
        "S4",
        "signatures of our own are not looked at",
        "core.py",
        "            if not self._is_signed(statement, origin):",
        "            if False:",
    ),
    Mutant(
        "S4",
        "one key counts as often as it speaks",
        "table.py",
        "    if statement.signer in signers:\n        return Merged.KNOWN\n",
        "",
    ),
    Mutant(
        "S4",
        "accusers shorten nothing",
        "../swim_settings.py",
        "        if accusers >= enough:\n            return shortest\n",
        "        return longest\n",
    ),
    Mutant(
        "S4",
        "one accuser is enough",
        "../swim_settings.py",
        "        if accusers <= 1:\n            return longest\n",
        "        if accusers <= 1:\n            return shortest\n",
    ),
    Mutant(
        "S4",
        "the accusers that are kept depend on who came first",
        "table.py",
        "return Merged.KNOWN if is_full and statement.signer > signers[-1] else Merged.NEWS",
        "return Merged.KNOWN if is_full else Merged.NEWS",
    ),
    Mutant(
        "S5",
        "the last of two words stays",
        "table.py",
        "if statement.mark < record.word.mark:",
        "if True:",
    ),
    Mutant(
        "S5",
        "a conflict is not told",
        "core.py",
        "            self._effects.append(Conflict(subject))  # S5",
        "            pass",
    ),
    Mutant(
        "S6",
        "a stall is the silence of the others",
        "core.py",
        "            self._watch.forgive(lag_ms, self._now_ms)\n",
        "",
    ),
    Mutant(
        "S6",
        "a stall ends the time of suspects",
        "core.py",
        "            self._picture.forgive(lag_ms, self._now_ms)\n",
        "",
    ),
    Mutant(
        "S6",
        "a stall does not lower health",
        "core.py",
        '            self._distrust_self("own stalls")\n',
        "",
    ),
    Mutant(
        "S6",
        "nobody answers, and the others are to blame",
        "watching.py",
        "return bool(self.helpers) and not self.was_helped and not self.is_again",
        "return False",
    ),
    Mutant(
        "S6",
        "health never returns",
        "health.py",
        "            self.score -= 1\n",
        "            pass\n",
    ),
    Mutant(
        "probes",
        "nobody is asked to help",
        "watching.py",
        "return [(subject, Ping(nonce)), *((helper, asked) for helper in helpers)]",
        "return [(subject, Ping(nonce))]",
    ),
    Mutant(
        "probes",
        "what a helper heard is not passed on",
        "watching.py",
        "            return [(helped.asker, Ack(helped.nonce))]",
        "            return []",
    ),
    Mutant(
        "ears",
        "own ears count for nothing",
        "picture.py",
        "elif now_ms - due_ms <= due_ms - since_ms and is_heard(peer_id):",
        "elif False:",
    ),
    Mutant(
        "ears",
        "own ears count for ever",
        "picture.py",
        "elif now_ms - due_ms <= due_ms - since_ms and is_heard(peer_id):",
        "elif is_heard(peer_id):",
    ),
    Mutant(
        "gossip",
        "news stays where it arrives",
        "core.py",
        "            self._spread(statement, origin)",
        "            pass",
    ),
    Mutant(
        "gossip",
        "a newcomer tells everybody all that it learns",
        "core.py",
        "        if not self._is_newcomer or origin == self._own:",
        "        if True:",
    ),
    Mutant(
        "anti-entropy",
        "pictures that differ are not compared",
        "core.py",
        "            self._compare(sender)\n\n    def _on_ping_for",
        "            pass\n\n    def _on_ping_for",
    ),
    Mutant(
        "anti-entropy",
        "what the other lacks is not given",
        "core.py",
        "                self._queue([sender], given)\n",
        "",
    ),
    Mutant(
        "anti-entropy",
        "a wish is not fulfilled",
        "core.py",
        "                self._queue([sender], self._comparing.on_want(body, table))",
        "                pass",
    ),
    Mutant(
        "anti-entropy",
        "who was met is asked once",
        "core.py",
        "            self._compare(stranger)\n",
        "            pass\n",
    ),
    Mutant(
        "rings",
        "the dead stay on the rings",
        "picture.py",
        "        self.gone[peer_id] = now_ms\n        self.rings.remove(peer_id)\n",
        "        self.gone[peer_id] = now_ms\n",
    ),
    Mutant(
        "forgetting",
        "hearsay brings the forgotten back",
        "core.py",
        "elif statement.incarnation <= self._picture.forgotten.get(subject, -1):",
        "elif False:",
    ),
    Mutant(
        "leaving",
        "nobody is told of a goodbye",
        "core.py",
        "            self._send(peer_id, News(), (left,))",
        "            pass",
    ),
    Mutant(
        "numbers",
        "a restart is not told as one",
        "picture.py",
        "if before in PRESENT and start_of(old) != start_of(record.incarnation):",
        "if False:",
    ),
    Mutant(
        "numbers",
        "a later start of ours is outbid within itself",
        "statements.py",
        "return start_of(said) + START_NUMBERS",
        "return said + 1",
    ),
    Mutant(
        "liars", "nobody is a liar", "liars.py", "        if not is_one:\n", "        if True:\n"
    ),
    Mutant(
        "liars",
        "whoever was right about a dead start is one",
        "core.py",
        "            and start_of(number) == start_of(record.incarnation)\n",
        "",
    ),
    Mutant(
        "liars",
        "a liar is answered each time",
        "core.py",
        "if origin == statement.signer and self._is_lie(statement):",
        "if False:",
    ),
    Mutant(
        "liars",
        "what others believe of a liar is not answered",
        "core.py",
        "if origin == statement.signer and self._is_lie(statement):",
        "if self._is_lie(statement):",
    ),
    Mutant(
        "papers",
        "who has no papers is believed",
        "core.py",
        "return bool(is_signed)",
        "return is_signed is not False",
    ),
    Mutant(
        "papers",
        "the expelled stay on the rings",
        "picture.py",
        "        self.gone.pop(peer_id, None)\n        self.rings.remove(peer_id)\n",
        "        self.gone.pop(peer_id, None)\n",
    ),
    Mutant(
        "isolation",
        "the cut off wait for accusers that they cannot hear",
        "../swim_settings.py",
        "members - 1, witnesses))",
        "members - 1))",
    ),
    Mutant(
        "isolation",
        "one accuser is always enough",
        "picture.py",
        "witnesses = members - len(self.suspects)",
        "witnesses = 1",
    ),
    Mutant(
        "crowds",
        "whom we have not met is probed like others",
        "watching.py",
        "if not self._is_met(peer_id):",
        "if False:",
    ),
    Mutant("crowds", "the audience gets all", "telling.py", "[self._beats % turns :: turns]", ""),
    Mutant("crowds", "and more than one at rest", "telling.py", "= len(audience)", "= turns"),
    Mutant("crowds", "each beat has the status", "telling.py", "is_new or", "True or"),
    Mutant("crowds", "no status is repeated", "telling.py", "return is_new or", "return is_new #"),
    Mutant("crowds", "who is new is told late", "telling.py", "- self._new_at", "- self._own_at"),
    Mutant(
        "crowds",
        "a crowd makes nobody patient",
        "health.py",
        "score = self._settings.max_health if self.is_crowd else self.score",
        "score = self.score",
    ),
    Mutant(
        "crowds",
        "whoever was just met was not heard",
        "core.py",
        "                self._watch.hear(event.peer_id, now_ms)\n",
        "",
    ),
)


def planted(mutant: Mutant, source: str) -> str:
    found = source.count(mutant.old)
    assert found == 1, f"its text occurs {found} times in {mutant.path}: {mutant.mistake}"
    return source.replace(mutant.old, mutant.new)


def hunt(mutant: Mutant, base: Path) -> str | None:
    """The test that finds it, or None."""
    whole = (ROOT / mutant.path).read_text(encoding="utf-8")
    (base / mutant.path).write_text(planted(mutant, whole), encoding="utf-8")
    parts = ("table", "core", "words", "wiring", "messages", "scale")
    names = [f"{TESTS}/test_swim_{part}.py" for part in parts]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *names]
    environment = {**os.environ, "PYTHONPATH": str(base)}
    try:
        run = subprocess.run(
            command,
            cwd=base,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "the clock: 300 s"
    finally:
        (base / mutant.path).write_text(whole, encoding="utf-8")
    found = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return found[0].split("::")[-1].split(" - ")[0] if found else None


def main() -> int:
    wanted = sys.argv[1:]
    alive = 0
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        for part in ("p2p", "keys", "consensus", "agents", TESTS):
            shutil.copytree(ROOT / part, base / part)
        shutil.copy(ROOT / "pyproject.toml", base)
        for mutant in MUTANTS:
            if wanted and mutant.rule not in wanted:
                continue
            killer = hunt(mutant, base)
            alive += killer is None
            print(f"{mutant.rule:13}{mutant.mistake:60}{killer or 'ALIVE'}", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(main())
