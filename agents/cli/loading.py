"""Finding agents in modules and files: `MODULE`, `FILE.py`, either with `:OBJECT`.

What this module does not know: what is done with them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from agents.agent import Agent
from agents.errors import BadAgent


def load_agents(words: Iterable[str]) -> tuple[Agent, ...]:
    """Return the agents that these words name; a module without `:OBJECT` gives all of its agents.

    Raises:
        BadAgent: a word names none; the text says what was looked for and where.
    """
    return tuple(agent for word in words for agent in _load(word))


def _load(word: str) -> list[Agent]:
    place, _, wanted = word.partition(":")
    module = _module_of(place, word)
    if wanted:
        found = getattr(module, wanted, None)
        if not isinstance(found, Agent):
            raise BadAgent(f"{place} has no agent called {wanted!r}; it has: {_names(module)}")
        return [found]
    agents = list({id(v): v for v in vars(module).values() if isinstance(v, Agent)}.values())
    if not agents:
        raise BadAgent(f'{place} holds no agent; write `agent = Agent("name")` in it')
    return agents


def _module_of(place: str, word: str) -> ModuleType:
    path = Path(place)
    try:
        if path.suffix == ".py" or "/" in place:
            return _module_of_file(path)
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    except BadAgent:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        where = _where(error, path)
        raise BadAgent(f"{word} cannot be loaded: {type(error).__name__}: {error}{where}") from None


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadAgent(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise BadAgent(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Annotations and pickling look their module up by name.
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    return module


def _where(error: BaseException, path: Path) -> str:
    """Return the line of the user's own file that failed, if any."""
    traceback = error.__traceback__
    line = None
    while traceback is not None:
        if Path(traceback.tb_frame.f_code.co_filename).name == path.name:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f" (line {line})" if line is not None else ""


def _names(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Agent)]
    return ", ".join(names) or "none"
