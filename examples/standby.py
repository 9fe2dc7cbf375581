"""An indexer of which one serves and the others stand by. Put this file on two or three nodes:

    conclave up examples/standby.py
    conclave call index.add "some words"
    conclave agents                        # who is active, and under which token

Kill the active one, and another one takes over when its lease has run out, within seconds.
"""

from __future__ import annotations

from agents import Agent, Context, Fence

agent = Agent("indexer", standby=True)
index: dict[str, int] = {}
fence = Fence(1)  # stands for a disk or a database that all of them write to; see docs/state.md


@agent.on_start
def load() -> None:
    """Read what the one before has left; here it begins with nothing."""
    index.clear()


@agent.serve("index.add")
async def add(words: str, context: Context) -> dict[str, int]:
    """Count words, under the token of this term: a write of an earlier one is refused."""
    assert context.fence is not None, "a stand-by agent serves in a term only"
    fence.check("index", context.fence)
    for word in words.split():
        index[word] = index.get(word, 0) + 1
    return index
