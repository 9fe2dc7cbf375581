"""Whether somebody may do something, quickly: roles, then namespaces, then each policy in force.

    role        the certificate's roles give the permission that the action needs
    namespace   what is acted on lies in one of the certificate's namespaces, or in none
    file        the policy of this node's own file allows it
    replicated  the policy that the network has decided on allows it

All of them must agree, so a policy only narrows. Where there is no policy, it does not stand in the
way. What was decided is remembered per certificate, action and name until a policy changes or
rights are withheld (`rights_changed`), so that a message costs one look into a set. Denials are
counted, and told to whoever listens.

What belongs to the network itself stands below `conclave/`. Such topics are about the network and
not about its contents, and may be read with SUBSCRIBE_METADATA; whoever may publish may do so there
too, and speaks for itself alone. Such keys need CONFIG_READ, except the policy, what is known of
tokens and who is in which cluster, which all have to obey; and nobody writes them as keys.

What this module does not know: where policies come from, what is done with a denial.

Invariants: nothing is remembered but what the policies in force decide; memory is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from keys.names import namespace_in, within
from keys.policy import FOR_ALL_OF_IT, NEEDS, Action, Effect, Policy
from keys.principal import Principal
from keys.roles import Permission, lacking

RESERVED: Final = "conclave/"  # topics and keys of the network itself
POLICY_KEY: Final = "conclave/policy"
TOKENS: Final = "conclave/tokens/"  # clients outside, and tokens that were taken back
CLUSTERS: Final = "conclave/clusters/now/"  # who is in which cluster, and who leads it
MAX_REMEMBERED: Final = 16_384
MAX_DENIED: Final = 4096
MAX_NAME_CHARS: Final = 256  # longer ones are nobody's, and are judged each time

MAX_TOLD: Final = 1024
TOLD_AGAIN_MS: Final = 60_000  # the same denial is told so seldom
WINDOW_MS: Final = 10_000
TOLD_IN_A_WINDOW: Final = 20  # of one certificate

OnDenied = Callable[[Principal, str, str, str], None]  # who, action, what, rule


class Source(StrEnum):
    """What decided."""

    ROLE = "role"
    NAMESPACE = "namespace"
    FILE = "file"
    REPLICATED = "replicated"
    BUILT_IN = "built-in"


class Verdict(NamedTuple):
    """
    Attributes:
        rule: the name of the rule that decided; empty where no rule matched, or none was asked.
        why: in words, for whoever was refused.
    """

    is_allowed: bool
    source: Source
    rule: str
    why: str

    @property
    def cause(self) -> str:
        """For logs: `replicated:no-billing`, `file:nothing matches`, `role`."""
        if self.source in (Source.FILE, Source.REPLICATED):
            return f"{self.source.value}:{self.rule or 'nothing matches'}"
        return self.source.value


class Guard:
    """The judge of one node.

    Args:
        now_ms: a monotonic clock; it only limits how often a denial is told again.

    Attributes:
        listeners: told whenever a policy has changed, after it is in force.
        on_denied: told of denials, repeats of them seldom; must neither block nor raise.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.file: Policy | None = None
        self.replicated: Policy | None = None
        self.listeners: list[Callable[[], None]] = []
        self.on_denied: list[OnDenied] = []
        self.counts: Counter[str] = Counter()
        self._allowed: set[tuple[bytes, Action, str]] = set()
        self._denied: dict[tuple[bytes, Action, str], Verdict] = {}
        self._told = _Told(now_ms)

    def set_file(self, policy: Policy | None) -> None:
        """Put this policy in force for this node."""
        self.file = policy
        self.rights_changed()

    def set_replicated(self, policy: Policy | None) -> None:
        """Put the network's policy in force."""
        self.replicated = policy
        self.rights_changed()

    def rights_changed(self) -> None:
        """Judge everybody anew: a policy has changed, or what certificates give just now."""
        self._allowed.clear()
        self._denied.clear()
        for listener in self.listeners:
            listener()

    # -- judging -------------------------------------------------------------------------------

    def may(self, who: Principal, action: Action, what: str) -> bool:
        """Whether it is allowed; a denial is nobody's fault here, and is told to nobody."""
        return (who.certificate_digest, action, what) in self._allowed or self._judge_anew(
            who, action, what
        ).is_allowed

    def refusal(self, who: Principal, action: Action, what: str) -> str | None:
        """Why this must not be done, in words; None where it may. A denial is told."""
        if (who.certificate_digest, action, what) in self._allowed:
            return None
        verdict = self._judge_anew(who, action, what)
        if verdict.is_allowed:
            return None
        self.deny(who, action, what, verdict.cause)
        return verdict.why

    def prefix_refusal(self, who: Principal, action: Action, prefix: str) -> str | None:
        """Why nothing that begins so may be looked at; None where each name is to be judged."""
        verdict = self._judge_anew(who, action, prefix)
        is_open = verdict.source in (Source.FILE, Source.REPLICATED) and not verdict.rule
        if verdict.is_allowed or is_open:
            return None
        self.deny(who, action, prefix, verdict.cause)
        return verdict.why

    def judge(self, who: Principal, action: Action, what: str) -> Verdict:
        """What is decided, and by what; nothing is remembered or told."""
        return judge(who, action, what, self.file, self.replicated)

    def _judge_anew(self, who: Principal, action: Action, what: str) -> Verdict:
        key = (who.certificate_digest, action, what)
        verdict = self._denied.get(key) or judge(who, action, what, self.file, self.replicated)
        if len(what) > MAX_NAME_CHARS:
            return verdict
        if verdict.is_allowed:
            if len(self._allowed) >= MAX_REMEMBERED:
                self._allowed.clear()
            self._allowed.add(key)
        else:
            if len(self._denied) >= MAX_DENIED:
                self._denied.clear()
            self._denied[key] = verdict
        return verdict

    def deny(self, who: Principal, action: str, what: str, cause: str) -> None:
        """Count a denial, and tell of it unless that was done just now."""
        self.counts[f"denied_{cause.partition(':')[0]}"] += 1
        what = what[:MAX_NAME_CHARS]
        if self._told.is_news(who.certificate_digest, action, what):
            for told in self.on_denied:
                told(who, action, what, cause)
        else:
            self.counts["denied_untold"] += 1


def judge(
    who: Principal, action: Action, what: str, file: Policy | None, replicated: Policy | None
) -> Verdict:
    """Decide anew; the first of roles, namespaces, file and replicated policy that says no."""
    needed = needed_for(action, what)
    missing = needed & ~who.permissions
    if missing:
        return Verdict(False, Source.ROLE, "", lacking(who.name, missing, who.roles))
    namespace, shown = namespace_in(what), repr(what[:MAX_NAME_CHARS])
    if (namespace or action in FOR_ALL_OF_IT) and not within(namespace, who.namespaces):
        where = f"{shown} is in the namespace {namespace[:64]!r}"
        if not namespace:
            where = f"to {action} {shown} concerns the whole network"
        own = ", ".join(who.namespaces) or "none"
        why = f"{where}, and the certificate of {who.name} has the namespaces: {own}"
        return Verdict(False, Source.NAMESPACE, "", why)
    if action is Action.READ and _is_everybodys(what):
        return Verdict(True, Source.BUILT_IN, "", "every member may read what all have to obey")
    last = Verdict(True, Source.BUILT_IN, "", f"the roles of {who.name} allow it")
    for source, policy in ((Source.FILE, file), (Source.REPLICATED, replicated)):
        if policy is None:
            continue
        rule = policy.decisive(who, action, what)
        if rule is None:
            why = f"no rule of the {source.value} policy allows {who.name} to {action} {shown}"
            return Verdict(False, source, "", why)
        if rule.effect is Effect.DENY:
            why = f"rule {rule.name!r} of the {source.value} policy denies {who.name} this"
            return Verdict(False, source, rule.name, f"{why}: to {action} {shown}")
        last = Verdict(True, source, rule.name, f"rule {rule.name!r} allows it")
    return last


def _is_everybodys(key: str) -> bool:
    """Whoever has to obey the policy, to refuse a token, or to take its part in a cluster must be
    able to know of it."""
    return key == POLICY_KEY or key.startswith((TOKENS, CLUSTERS))


def needed_for(action: Action, what: str) -> Permission:
    """The permission that an action needs by itself."""
    if what.startswith(RESERVED):
        if action is Action.SUBSCRIBE:
            return Permission.SUBSCRIBE_METADATA
        if action is Action.READ:
            return Permission.MEMBERSHIP if _is_everybodys(what) else Permission.CONFIG_READ
        if action in (Action.WRITE, Action.LOCK):
            return Permission.CONFIG_CHANGE
    return NEEDS[action]


class _Told:
    """Which denials were told lately."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._same: dict[tuple[bytes, str, str], int] = {}
        self._windows: dict[bytes, tuple[int, int]] = {}  # when it began, how many were told

    def is_news(self, digest: bytes, action: str, what: str) -> bool:
        now_ms, key = self._now_ms(), (digest, action, what)
        last_ms = self._same.get(key)
        if last_ms is not None and now_ms - last_ms < TOLD_AGAIN_MS:
            return False
        began_ms, told = self._windows.get(digest, (now_ms, 0))
        if now_ms - began_ms >= WINDOW_MS:
            began_ms, told = now_ms, 0
        if told >= TOLD_IN_A_WINDOW:
            return False
        for memory in (self._same, self._windows):
            if len(memory) >= MAX_TOLD:
                memory.clear()
        self._windows[digest] = (began_ms, told + 1)
        self._same[key] = now_ms
        return True
