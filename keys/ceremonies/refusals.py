"""Why a paper of a ceremony is refused: one class per reason.

Kept apart from `keys.errors` for its length only; the tree is drawn there. What this module does
not know: how papers are made and checked (`keys.ceremonies`).
"""

from __future__ import annotations

from keys.errors import Refused


class CeremonyRefused(Refused):
    """A paper of a ceremony cannot be signed or used."""

    code = "ceremony"


class CeremonyMalformed(CeremonyRefused):
    code = "ceremony-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"this is not a whole paper of a ceremony: {problem}; take the file again, unchanged, "
            "from whoever had it last"
        )
        self.problem = problem


class CeremonyOther(CeremonyRefused):
    code = "ceremony-other"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"this paper is {found}, and here one is needed that is {wanted}")
        self.found = found
        self.wanted = wanted


class CeremonyIncomplete(CeremonyRefused):
    code = "ceremony-incomplete"

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"this paper still needs {missing}; have it signed with "
            "`conclave root sign FILE --key KEY`"
        )
        self.missing = missing


class NotACustodian(CeremonyRefused):
    code = "ceremony-not-a-custodian"

    def __init__(self, key: str, wanted: str) -> None:
        super().__init__(
            f"the key {key} does not sign for this paper; {wanted} may. If the root was rotated "
            "since the paper was made, say --roots FILE with the rotation's paper"
        )
        self.key = key
