"""A switch in a process of its own, whose links can be bad: what chaos runs join their hosts by.

It is light, since it is started for every run: nothing of a node is imported.

What this package does not know: hosts, scripts, who starts it.
"""

from agents.switching.links import Links
from agents.switching.trouble import LinkTrouble, Trouble

__all__ = ["LinkTrouble", "Links", "Trouble"]
