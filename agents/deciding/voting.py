"""One node's ballots: asked for, judged, stored, answered. The shell around `Voter`.

A question is voted on only when the log has opened that very text; the caller reads it there. A
ballot is in the box, durable, before it is sent to anybody; writing it takes a few milliseconds of
the loop, once a question.

What this module does not know: the log, who collects, how agents judge.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from agents.errors import VoteRefused
from consensus import StorageError
from consensus.ballots import (
    AskChoice,
    Ballot,
    BallotBox,
    BallotsError,
    Choice,
    ChoiceMade,
    EpochBegan,
    Proposal,
    ProposalClosed,
    ProposalOpened,
    ProposalReceived,
    RequestRefused,
    SendBallot,
    Signer,
    StoreBallot,
    TwoTextsFound,
    Voter,
    VoterEffect,
)

log = logging.getLogger("conclave.agents.voting")

FORGOTTEN_AT_ONCE: Final = 256
FORGET_AFTER_MS: Final = 60_000  # what a person did not answer; it comes back when asked again

Said = tuple[Choice, str]


class Voting:
    """This node as one elector.

    Args:
        open_box: opens what this node has signed; called once, when it is first needed.
        judge: what the agents of this node say, or None if a person has to.
        send: hands a ballot to somebody who asked for it and went.
        on_fatal: this node cannot know what it has signed, and must stop.
    """

    def __init__(
        self,
        signer: Signer,
        cluster_id: str,
        open_box: Callable[[], BallotBox],
        judge: Callable[[Proposal], Awaitable[Said]],
        has_judge: Callable[[str], bool],
        send: Callable[[str, Ballot], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._signer = signer
        self._cluster_id = cluster_id
        self._open_box = open_box
        self._judge = judge
        self._has_judge = has_judge
        self._send = send
        self._on_fatal = on_fatal
        self._box: BallotBox | None = None
        self._core: Voter | None = None
        self._minding: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        tasks = list(self._minding.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._box is not None:
            self._box.close()

    def ballot_on(self, proposal_id: str, round_number: int) -> Ballot | None:
        """What this node has said on it."""
        self._voter()
        assert self._box is not None
        return self._box.find(proposal_id, round_number)

    def asked(self, sender: str, proposal: bytes, opened: bytes) -> tuple[Ballot | None, str]:
        """The ballot of this node, or why there is none: "" if it is still to be decided on.

        Args:
            proposal: what the sender asks about.
            opened: what the log opened under that id.
        """
        return self._perform(
            [*self._step_opened(opened), *self._voter().step(ProposalReceived(sender, proposal))],
            sender,
        )

    def cast(self, opened: bytes, choice: Choice, reason: str) -> Ballot:
        """Vote by hand on what the log has open.

        Raises:
            VoteRefused: this node does not vote on it, or has said something else.
        """
        proposal = Proposal.decode(opened)
        place = (proposal.proposal_id, proposal.round)
        effects = self._step_opened(opened)
        _, why = self._perform(effects, None, is_judged=False)
        if not why:
            _, why = self._perform(self._voter().step(ChoiceMade(*place, choice, reason)), None)
        ballot = self.ballot_on(*place)
        if why or ballot is None:
            raise VoteRefused(proposal.proposal_id, why or "it could not be stored")
        self._done(proposal.proposal_id)
        return ballot

    def closed(self, proposal_id: str) -> None:
        """The log decided on it."""
        if self._core is not None:
            self._core.step(ProposalClosed(proposal_id))
        self._done(proposal_id)

    def forget(self, is_over: Callable[[str, int], bool]) -> int:
        """Let go of ballots that nobody can ask for again; how many.

        Raises:
            StorageError: the box cannot be written.
        """
        if self._core is None or self._box is None:
            return 0  # nothing was asked since the start; so there is no haste
        held = [Ballot.decode(raw) for raw in self._box.ballots()]
        places = [(b.proposal_id, b.round) for b in held if is_over(b.proposal_id, b.round)]
        places = places[:FORGOTTEN_AT_ONCE]
        self._box.forget(places)
        self._core.forget(places)
        return len(places)

    def _done(self, proposal_id: str) -> None:
        task = self._minding.pop(proposal_id, None)
        if task is not None:
            task.cancel()

    # -- the core ------------------------------------------------------------------------------

    def _voter(self) -> Voter:
        if self._core is None:
            try:
                self._box = self._open_box()
            except StorageError as error:
                self._on_fatal(error)
                raise
            self._core = Voter(
                self._signer,
                self._cluster_id,
                self._box.ballots(),
                self._box.floor(),
                self._box.forgotten(),
            )
        return self._core

    def _step_opened(self, opened: bytes) -> list[VoterEffect]:
        """The log has opened it, and with it named this electorate for its epoch."""
        proposal = Proposal.decode(opened)
        core = self._voter()
        core.step(EpochBegan(proposal.epoch, proposal.electors))
        return core.step(ProposalOpened(opened))

    def _perform(
        self, effects: list[VoterEffect], asker: str | None, *, is_judged: bool = True
    ) -> tuple[Ballot | None, str]:
        """In their order; return the ballot for the asker, or why it was refused."""
        answer: Ballot | None = None
        why = ""
        for effect in effects:
            match effect:
                case AskChoice(proposal):
                    if is_judged:
                        self._mind(proposal)
                case StoreBallot(ballot):
                    if not self._store(ballot):
                        return None, "its ballot box cannot be written"
                case SendBallot(to, ballot):
                    if to == asker:
                        answer = ballot
                    else:
                        self._send(to, ballot)
                case TwoTextsFound():
                    log.warning(
                        "two texts under one id",
                        extra={
                            "decision": effect.proposal_id,
                            "first_from": effect.first_from or "the log",
                            "second_from": effect.second_from or "the log",
                        },
                    )
                case RequestRefused(_, refusal):
                    why = refusal.value
        return answer, why

    def _store(self, ballot: Ballot) -> bool:
        assert self._box is not None
        try:
            self._box.store(ballot)
        except (BallotsError, StorageError) as error:
            self._on_fatal(error)
            return False
        return True

    # -- who decides for this node -------------------------------------------------------------

    def _mind(self, proposal: Proposal) -> None:
        key = proposal.proposal_id
        self._done(key)
        self._minding[key] = asyncio.get_running_loop().create_task(self._decide(proposal))

    async def _decide(self, proposal: Proposal) -> None:
        """Have the agents say what they think; leave it to a person for as long as it is open."""
        try:
            async with asyncio.timeout((proposal.deadline_ms + FORGET_AFTER_MS) / 1000):
                if self._has_judge(proposal.kind):
                    choice, reason = await self._judge(proposal)
                    place = (proposal.proposal_id, proposal.round)
                    self._perform(self._voter().step(ChoiceMade(*place, choice, reason)), None)
                    return
                await asyncio.Event().wait()
        except TimeoutError:
            self._voter().step(ProposalClosed(proposal.proposal_id))
        finally:
            if self._minding.get(proposal.proposal_id) is asyncio.current_task():
                del self._minding[proposal.proposal_id]
