"""A survey of Python source: one task a file, reduced to one report.

    conclave up examples/survey.py                      on every node that should work
    conclave submit survey.file '{"path": "x.py"}' --wait
    conclave run examples/survey.py --path DIR          the whole tree, with live progress

The files are read where the task runs, so every node must see the tree at the same path.
"""

from __future__ import annotations

import ast
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents import Agent, Net, map_reduce

agent = Agent("surveyor", capacity=2)

# Two threads in `ast.parse` at once make CPython 3.11 and 3.12 raise SystemError now and then: the
# depth of its recursion is counted in one place for all threads.
PARSING = threading.Lock()

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@agent.serve("survey.file")
def survey_file(path: str) -> dict[str, Any]:
    """Count lines, functions, classes, docstrings and imports of one file."""
    source = Path(path).read_bytes()
    found: dict[str, Any] = {"path": path, "lines": source.count(b"\n"), "parsed": True}
    found |= {"functions": 0, "classes": 0, "documented": 0, "longest": ["", 0], "imports": {}}
    try:
        with PARSING:
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return found | {"parsed": False}
    imports: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found["classes" if isinstance(node, ast.ClassDef) else "functions"] += 1
            found["documented"] += ast.get_docstring(node, clean=False) is not None
        if isinstance(node, FUNCTIONS):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            found["longest"] = max(found["longest"], [node.name, length], key=lambda f: f[1])
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports[node.module.partition(".")[0]] += 1
    return found | {"imports": dict(imports)}


def python_files(path: str | Path) -> list[str]:
    """Return the Python files below a directory, installed packages left out, in order."""
    root = Path(path).resolve()
    return sorted(str(p) for p in root.rglob("*.py") if "site-packages" not in p.parts)


def reduce(surveys: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fold the surveys of many files into one report."""
    imports: Counter[str] = Counter()
    longest: tuple[int, str, str] = (0, "", "")
    for survey in surveys:
        imports.update(survey["imports"])
        name, length = survey["longest"]
        longest = max(longest, (length, name, survey["path"]))
    definitions = sum(s["functions"] + s["classes"] for s in surveys)
    documented = sum(s["documented"] for s in surveys)
    return {
        "files": len(surveys),
        "unparsable": sum(not s["parsed"] for s in surveys),
        "lines": sum(s["lines"] for s in surveys),
        "functions": sum(s["functions"] for s in surveys),
        "classes": sum(s["classes"] for s in surveys),
        "documented_percent": round(100 * documented / max(1, definitions), 2),
        "longest_function": {"lines": longest[0], "name": longest[1], "file": longest[2]},
        "imports": sorted(imports.items(), key=lambda item: (-item[1], item[0]))[:10],
    }


def render(report: dict[str, Any]) -> str:
    """Return a report as text."""
    longest = report["longest_function"]
    imports = ", ".join(f"{name} {count}" for name, count in report["imports"])
    return "\n".join(
        (
            f"files        {report['files']:>9,}   ({report['unparsable']} cannot be parsed)",
            f"lines        {report['lines']:>9,}",
            f"functions    {report['functions']:>9,}",
            f"classes      {report['classes']:>9,}",
            f"documented   {report['documented_percent']:>8} %",
            f"longest      {longest['lines']:>9,}   {longest['name']} in {longest['file']}",
            f"imports      {imports}",
        )
    )


@agent.job(render=render)
async def survey(net: Net, path: str) -> dict[str, Any]:
    """Survey every Python file below a directory."""
    return await map_reduce(net, "survey.file", python_files(path), reduce, job="survey")


if __name__ == "__main__":
    agent.run()
