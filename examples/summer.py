"""The smallest agent: it adds. Run it with `conclave up examples/summer.py`."""

from agents import Agent

agent = Agent("summer")


@agent.serve("math.add")
async def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    agent.run()
