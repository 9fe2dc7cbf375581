"""An agent with a vote: every node that runs it decides for itself whether a release may go out.

Bring it up on the voters, `conclave up examples/approval.py`, and ask them from any node:

    conclave decide "Deploy v2?" --kind deploy --subject '{"tests": "green"}' --save v2.cert
    conclave verify-certificate v2.cert
"""

import json

from agents import Agent, Context, Question, votes


class Reviewer(Agent):
    @votes("deploy")
    async def judge(self, ctx: Context, question: Question) -> tuple[bool, str]:
        """Approve what is tested. What this raises would be an abstention."""
        release = json.loads(question.subject)
        if release.get("tests") != "green":
            return False, f"the tests are {release.get('tests', 'not run')}"
        return True, "the tests are green"


agent = Reviewer("reviewer")

if __name__ == "__main__":
    agent.run()
