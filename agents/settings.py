"""The settings of a node: arguments over environment over `conclave.toml` over defaults.

The file lies in the node's directory; the environment's names are `CONCLAVE_` and the setting in
capitals. A key that does not exist, or a value that does not fit, is refused by name.

msgspec checks, which every node has loaded for its envelopes; pydantic would be 10 MB more.

What this module does not know: what the settings do.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct, ValidationError, convert

from agents.errors import BadSettings

PREFIX = "CONCLAVE_"
FILE_NAME = "conclave.toml"
DEFAULT_PORT = 4747
_ELSEWHERE = frozenset({"CONCLAVE_HOME", "CONCLAVE_PASSPHRASE_FILE", "CONCLAVE_SUPERVISOR"})
_LISTS = frozenset({"interfaces", "seeds"})
_YES_NO: Final = {
    **dict.fromkeys(("yes", "on", "y", "t"), True),
    **dict.fromkeys(("no", "off", "n", "f"), False),
}


class NodeSettings(Struct, frozen=True):
    """How a node listens, finds others and reports.

    Attributes:
        host: the address to bind; `0.0.0.0` for all.
        port: of the introduction door; the four sockets take the next four, and the four after
            those by turns, as keys change. 0 takes 4747 if it is free and any other ports if not.
        interfaces: names or addresses to use for mDNS and to tell others; empty for all that
            are not of containers or VPNs.
        seeds: `HOST[:PORT]` of doors to knock at where mDNS cannot reach.
        mdns: whether to announce and listen by multicast.
        key_rotation_hours: how often the key that encrypts connections is changed; 0 for never.
        certificate_days: at an issuer: how long the certificates are good that it gives.
        revocation_freshness: what is refused while a revocation list is past its time: nothing,
            what changes the network, or everything.
        audit: `required` refuses what administrators do when it cannot be written to the audit log.
        audit_mb: how large that log may become; the oldest of it goes.
        metrics_port: where Prometheus may scrape, or none.
        metrics_host: the address to serve them at; loopback unless told otherwise.
        sealing: the suite of the keys that others seal for this node with: "hybrid" is X25519
            with ML-KEM-768, and wants `conclave-mesh[pq]`.
        log_level, log_style: what is logged and as what, see `agents.observe`.
    """

    host: str = "0.0.0.0"
    port: Annotated[int, Meta(ge=0, le=65_527)] = 0
    interfaces: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    mdns: bool = True
    key_rotation_hours: Annotated[float, Meta(ge=0, le=24 * 365)] = 12
    certificate_days: Annotated[int, Meta(ge=1, le=90)] = 90
    revocation_freshness: Literal["off", "admin", "all"] = "admin"
    audit: Literal["best-effort", "required"] = "best-effort"
    audit_mb: Annotated[int, Meta(ge=1, le=65_536)] = 64
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    metrics_host: str = "127.0.0.1"
    sealing: Literal["x25519", "hybrid"] = "x25519"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_style: Literal["text", "json"] = "text"


_KINDS: Final[Mapping[str, Any]] = get_type_hints(NodeSettings, include_extras=True)


def default_home() -> Path:
    """Return the node's directory: `CONCLAVE_HOME`, or `~/.conclave`."""
    return Path(os.environ.get("CONCLAVE_HOME") or "~/.conclave").expanduser()


def home_at(home: str | Path | None) -> Path:
    """Return the directory that was named, or the default one."""
    return Path(home).expanduser() if home is not None else default_home()


def load_settings(home: Path, arguments: Mapping[str, Any]) -> NodeSettings:
    """Return the settings of the node in this directory.

    Args:
        arguments: those given on the command line or in the call; None means not given.

    Raises:
        BadSettings: a key or a value, with where it was said.
    """
    path = home / FILE_NAME
    given = {name: value for name, value in arguments.items() if value is not None}
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for place, values in (
        (f"{path}: ", _of_file(path)),
        (f"environment: {PREFIX}", _of_environment()),
        ("argument: ", given),
    ):
        for name, value in values.items():
            origin[name] = place + (name.upper() if place.endswith(PREFIX) else name)
            if name not in _KINDS:
                known = ", ".join(sorted(_KINDS))
                raise BadSettings(f"{origin[name]}: there is no such setting; there are: {known}")
            merged[name] = value
    fit = {name: _fitting(origin[name], value, _KINDS[name]) for name, value in merged.items()}
    return NodeSettings(**fit)


def _fitting(origin: str, value: Any, kind: Any) -> Any:
    """Return a value as its setting has it; text from outside may be a number or a yes or no."""
    given = _YES_NO.get(value.lower(), value) if kind is bool and isinstance(value, str) else value
    try:
        return convert(given, kind, strict=False)
    except ValidationError:
        raise BadSettings(f"{origin}: {repr(value)[:80]} is not {_wanted(kind)}") from None


def _wanted(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(word) for word in get_args(kind))
    for each in (kind, *get_args(kind)):  # of `X | None` the X
        if get_origin(each) is Annotated:
            number, bounds = get_args(each)
            noun = "an integer" if number is int else "a number"
            return f"{noun} from {bounds.ge} to {bounds.le}"
    return {str: "text", bool: "true or false"}.get(kind, "a list of texts")


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # also UTF-8, or a number of 5,000 digits
        raise BadSettings(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from None


def _of_environment() -> dict[str, Any]:
    """Return what `CONCLAVE_...` variables say; lists are written as JSON or with commas."""
    found: dict[str, Any] = {}
    for key, text in os.environ.items():
        if not key.startswith(PREFIX) or key in _ELSEWHERE:
            continue
        name = key.removeprefix(PREFIX).lower()
        found[name] = _list_of(text) if name in _LISTS else text
    return found


def _list_of(text: str) -> Any:
    if text.strip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text  # validation says what is wrong with it
    return [word for word in (part.strip() for part in text.split(",")) if word]
