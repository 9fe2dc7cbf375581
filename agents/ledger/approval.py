"""Whether an approval is of the work that a worker was given: the text, compared by the worker.

What is compared is what `voted` puts into a question's subject: the task, its skill, key, submitter
and payload, the worker, and an assignment that comes after the lease that the question names.

What this module does not know: signatures, who may vote, what was approved before.
"""

from __future__ import annotations

from agents.ledger.views import Work
from agents.ledger.voted import KIND, VotedTask, digest_of, id_made_of
from consensus.ballots import Proposal
from keys import PeerId


def fault_of_approval(proposal: Proposal, work: Work, worker: PeerId) -> str | None:
    """Why an approved question is not about this worker doing this work; None if it is."""
    said = VotedTask.read(proposal.subject)
    if said is None or proposal.kind != KIND:
        return "it is about something else than a task"
    if said.task_id != work.task_id:
        return "it is about another task"
    about = (work.task_id, work.skill, work.key, work.submitter)
    if (said.skill, said.key, said.submitter) != about[1:]:
        return "it is about another skill, key or submitter"
    if said.digest != digest_of(*about, work.payload):
        return "it is about another payload"
    if said.worker != worker:
        return "it is for another worker"
    numbers = (said.token, said.votes)
    if not all(type(number) is int and number >= 0 for number in numbers):
        return "its text is not as the ledger makes it"
    if said.token >= work.token:
        return "it is for an assignment that comes later than this one"
    if proposal.proposal_id != id_made_of(work.task_id, worker, *numbers):
        return "its id is not that of its text"
    return None
