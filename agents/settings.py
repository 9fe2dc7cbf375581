"""The settings of a node: arguments over environment over `conclave.toml` over defaults.

The file lies in the node's directory; the environment's names are `CONCLAVE_` and the setting in
capitals. A key that does not exist, or a value that does not fit, is refused by name.

What this module does not know: what the settings do.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agents.errors import BadSettings

PREFIX = "CONCLAVE_"
FILE_NAME = "conclave.toml"
DEFAULT_PORT = 4747
_ELSEWHERE = frozenset({"CONCLAVE_HOME", "CONCLAVE_PASSPHRASE_FILE"})


class NodeSettings(BaseSettings):
    """How a node listens, finds others and reports.

    Attributes:
        host: the address to bind; `0.0.0.0` for all.
        port: of the introduction door; the three sockets take the next three. 0 takes
            4747 if it is free and any other ports if not.
        interfaces: names or addresses to use for mDNS and to tell others; empty for all that
            are not of containers or VPNs.
        seeds: `HOST[:PORT]` of doors to knock at where mDNS cannot reach.
        mdns: whether to announce and listen by multicast.
        metrics_port: where Prometheus may scrape, or none.
        metrics_host: the address to serve them at; loopback unless told otherwise.
        log_level, log_style: what is logged and as what, see `agents.observe`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    host: str = "0.0.0.0"
    port: int = Field(0, ge=0, le=65_532)
    interfaces: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    mdns: bool = True
    metrics_port: int | None = Field(None, ge=0, le=65_535)
    metrics_host: str = "127.0.0.1"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_style: Literal["text", "json"] = "text"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, cls.model_config.get("toml_file"))
        return init_settings, env_settings, toml


def default_home() -> Path:
    """Return the node's directory: `CONCLAVE_HOME`, or `~/.conclave`."""
    return Path(os.environ.get("CONCLAVE_HOME") or Path.home() / ".conclave")


def load_settings(home: Path, arguments: Mapping[str, Any]) -> NodeSettings:
    """Return the settings of the node in this directory.

    Args:
        arguments: those given on the command line or in the call; None means not given.

    Raises:
        BadSettings: a key or a value, with where it was said.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    _check_names("argument", given)
    _check_names(
        "environment variable",
        {
            key.removeprefix(PREFIX).lower(): key
            for key in os.environ
            if key.startswith(PREFIX) and key not in _ELSEWHERE
        },
    )
    path = home / FILE_NAME

    class _Located(NodeSettings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return _Located(**given)
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        place = "argument" if name in given else f"{PREFIX}{name.upper()} or {path}"
        if first["type"] == "extra_forbidden":
            raise BadSettings(f"{path}: there is no setting {name!r}; {_known()}") from None
        raise BadSettings(f"setting {name!r} ({place}): {first['msg']}") from None
    except Exception as error:  # noqa: BLE001 - pydantic-settings wraps bad JSON in many kinds
        raise BadSettings(f'{error}; lists are written as JSON, ["a", "b"]') from None


def _check_names(kind: str, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        if name not in NodeSettings.model_fields:
            shown = value if kind.startswith("env") else name
            raise BadSettings(f"there is no {kind} {shown!r}; {_known()}")


def _known() -> str:
    return "there are: " + ", ".join(sorted(NodeSettings.model_fields))
