"""The names that `agents` hands on are what they say, whatever was imported before."""

import importlib
import pkgutil
import types

import agents


def test_no_module_stands_where_a_handed_on_name_should_be() -> None:
    for found in pkgutil.walk_packages(agents.__path__, "agents."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    modules = [n for n in agents.__all__ if isinstance(getattr(agents, n), types.ModuleType)]
    assert not modules, f"a submodule hides {modules}: `from agents import ...` gives the module"
