"""An agent: a name, and functions that serve capabilities.

    agent = Agent("summer")

    @agent.serve("math.add")
    async def add(a: float, b: float) -> float:
        return a + b

    agent.run()

A capability is offered for calls and as a skill for tasks alike. Several agents can live in one
node: `conclave up one.py two.py`. What an agent of a namespace serves is called with it before the
name: `Agent("eye", namespace="vision")` makes `vision:image.read` of `image.read`.

What this module does not know: sockets, consensus; `agents.node` hosts what is declared here.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from agents.choosing import BALANCERS, MAX_WEIGHT
from agents.deciding import Judge, marked, shown
from agents.errors import BadAgent
from agents.health import Life
from agents.hosting import Handler, Terms, demand_of
from agents.names import check_namespace, full_name
from keys import Permission

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H", bound=Callable[..., Any])
J = TypeVar("J", bound=Callable[..., Awaitable[Any]])

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Job(NamedTuple):
    """What `conclave run` does with an agent's file."""

    function: Callable[..., Awaitable[Any]]
    render: Callable[[Any], str] | None


class Agent:
    """What one agent offers.

    Args:
        name: lower case letters, digits, `-` and `_`; shown to people, never trusted.
        capacity: how many tasks it works on at once; default: the number of cores.
        namespace: where its capabilities belong; default: the namespace that is open to all. A
            node hosts it only if the node's certificate allows the namespace.
        standby: of all nodes that host an agent of this name, one serves and the others stand by;
            see docs/health.md. `Context.fence` is the token to write with.

    Raises:
        BadAgent: the name, the capacity or the namespace is not allowed.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int | None = None,
        namespace: str = "",
        standby: bool = False,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadAgent(
                f"agent name {name!r}: use 1 to 63 of a-z, 0-9, '-', '_', first a letter or digit"
            )
        if capacity is not None and not 1 <= capacity <= 1024:
            raise BadAgent(f"agent {name}: capacity {capacity} is not between 1 and 1024")
        check_namespace(namespace)
        self._name = name
        self._namespace = namespace
        self._capacity = capacity or os.cpu_count() or 1
        self._handlers: dict[str, Handler] = {}
        self._job: Job | None = None
        self._life = Life()
        if standby:
            self.stand_by()
        self._judges: dict[str, Judge] = marked(self)

    @property
    def name(self) -> str:
        """The label that people see."""
        return self._name

    @property
    def capacity(self) -> int:
        """How many tasks it works on at once."""
        return self._capacity

    @property
    def namespace(self) -> str:
        """Where its capabilities belong; empty for the default."""
        return self._namespace

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by the full names of their capabilities."""
        return self._handlers

    @property
    def judges(self) -> Mapping[str, Judge]:
        """Who votes on questions, by their kind."""
        return self._judges

    @property
    def life(self) -> Life:
        """Its check, and what begins and ends it."""
        return self._life

    def stand_by(self) -> None:
        """Be one of several that take over from each other, as `standby=True` declares."""
        self._life.role = f"agent/{self._namespace}/{self._name}"

    @property
    def declared_job(self) -> Job | None:
        """What was declared with `job`, if anything."""
        return self._job

    def serve(
        self,
        capability: str,
        *,
        permission: Permission = Permission.CALL,
        limit: int = 256,
        idempotent: bool = False,
        balance: str = "",
        weight: int = 1,
        approval: str | Sequence[str] | None = None,
    ) -> Callable[[F], F]:
        """Offer a function as a capability, for calls and tasks.

        Args:
            capability: dotted lower case, such as `math.add`.
            permission: what a caller's roles must include.
            limit: how many calls of it run at once; the next gets `Overloaded`. Calls of low
                priority may take half of these places, normal ones nine tenths.
            idempotent: running it twice for one call does no harm. Where all who offer it say so,
                a call that was lost under way is made again.
            balance: how callers choose among those who offer it, unless they say themselves; see
                `agents.choosing.BALANCERS`. `consistent_hash` is for calls that give a key.
            weight: 1 to 1000; the share of calls that this one wants, for `weighted`.
            approval: it does tasks only, and only those that this node has seen approved: by
                `"any"` vote, by a majority of the `"voters"`, or by each of these members.

        Raises:
            BadAgent: the capability's name, its signature, a second function for it, or an option.
        """
        full = full_name(self._namespace, capability)
        if full in self._handlers:
            raise BadAgent(f"agent {self.name} serves {full} twice")
        if balance and balance not in BALANCERS:
            raise BadAgent(f"{full}: balance {balance!r} is none of {', '.join(BALANCERS)}")
        if not 1 <= weight <= MAX_WEIGHT:
            raise BadAgent(f"{full}: weight {weight} is not between 1 and {MAX_WEIGHT}")
        if limit < 1:
            raise BadAgent(f"{full}: limit {limit} lets no call run; it is at least 1")
        terms = Terms(balance, weight, idempotent, demand_of(full, approval))

        def declare(function: F) -> F:
            self._handlers[full] = Handler(
                full, function, permission=permission, limit=limit, terms=terms
            )
            return function

        return declare

    def votes(self, kind: str = "") -> Callable[[F], F]:
        """Have a function of a context and a `Question` vote for this node; see `agents.votes`.

        It returns True, False, None (abstain) or a `Choice`, or a pair of one and a reason. What
        it raises is an abstention that says so.

        Args:
            kind: of the questions; without one, all that nobody else votes on.

        Raises:
            BadAgent: there is one for that kind already.
        """
        if kind in self._judges:
            raise BadAgent(f"agent {self.name} has two judges of {shown(kind)}")

        def declare(function: F) -> F:
            self._judges[kind] = function
            return function

        return declare

    def health(self, *, every: float = 2.0, limit: float = 2.0) -> Callable[[H], H]:
        """Have a function say how this agent is: `@agent.health()`.

        It returns "healthy", "degraded" or "failed", alone or with a reason for people, True,
        False or None. What it raises, and that it does not end in time, is a failure. Without one,
        the node judges by errors, full handlers, stuck ones and the lateness of its loop.

        Args:
            every: seconds between two looks.
            limit: seconds that one may take.

        Raises:
            BadAgent: there is one already, or a time is not positive.
        """
        if self._life.check is not None:
            raise BadAgent(f"agent {self.name} has two health checks")
        if not (0 < every <= 3600 and 0 < limit <= 60):
            raise BadAgent(f"agent {self.name}: a health check is every 0 to 3600 s, for 0 to 60")

        def declare(function: H) -> H:
            self._life.check, self._life.every_s, self._life.limit_s = function, every, limit
            return function

        return declare

    def on_start(self, function: H) -> H:
        """Have a function run before anything is served, and at every restart; it may take a
        `Net`. When it raises, the agent has failed, and is tried again.

        Raises:
            BadAgent: there is one already.
        """
        if self._life.on_start is not None:
            raise BadAgent(f"agent {self.name} has two functions for its start")
        self._life.on_start = function
        return function

    def on_stop(self, function: H) -> H:
        """Have a function run when nothing new is served any more; it may take a `Net`.

        Raises:
            BadAgent: there is one already.
        """
        if self._life.on_stop is not None:
            raise BadAgent(f"agent {self.name} has two functions for its end")
        self._life.on_stop = function
        return function

    def on_cluster(self, function: H) -> H:
        """Have an async function of a `ClusterSeat` run while this node is in a cluster for what
        this agent serves; it is cancelled when the node is in it no more. When it raises, it is
        begun again, ever later; when it returns, that is all.

        Raises:
            BadAgent: there is one already, or it is not async.
        """
        if self._life.on_cluster is not None:
            raise BadAgent(f"agent {self.name} has two functions for its clusters")
        if not inspect.iscoroutinefunction(function):
            raise BadAgent(f"agent {self.name}: what runs in a cluster is an async function")
        self._life.on_cluster = function
        return function

    def job(self, *, render: Callable[[Any], str] | None = None) -> Callable[[J], J]:
        """Declare what `conclave run FILE` does: an async function of a `Net` and options.

        Its further parameters become options of the command line: `path: str` is `--path`.

        Args:
            render: turns what the job returns into text for people; JSON otherwise.

        Raises:
            BadAgent: there is one already.
        """
        if self._job is not None:
            raise BadAgent(f"agent {self.name} declares two jobs")

        def declare(function: J) -> J:
            self._job = Job(function, render)
            return function

        return declare

    def run(self, **settings: Any) -> None:
        """Bring up a node with this agent and serve until Ctrl-C; the same as `conclave up`.

        Args:
            settings: as `conclave up --help` lists them: `home=`, `seeds=`, `port=`.
        """
        from agents.running import run_agents

        run_agents([self], **settings)

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, serves={sorted(self._handlers)})"
