"""Settings: who wins over whom, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.errors import BadSettings
from agents.settings import default_home, load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "SEEDS", "INTERFACES", "MDNS", "METRICS_PORT", "LOG_LEVEL"):
        monkeypatch.delenv(f"CONCLAVE_{name}", raising=False)


def test_arguments_win_over_the_environment_over_the_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(tmp_path, {}).port == 0
    (tmp_path / "conclave.toml").write_text('port = 1\nhost = "127.0.0.1"\n')
    assert load_settings(tmp_path, {}).port == 1
    monkeypatch.setenv("CONCLAVE_PORT", "2")
    assert load_settings(tmp_path, {}).port == 2
    assert load_settings(tmp_path, {"port": 3}).port == 3
    settings = load_settings(tmp_path, {"port": None})
    assert (settings.port, settings.host, settings.mdns) == (2, "127.0.0.1", True)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("a:1", ("a:1",)), ("a:1, b", ("a:1", "b")), ('["a:1", "b"]', ("a:1", "b")), ("", ())],
)
def test_lists_of_the_environment_have_commas_or_are_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, seeds: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CONCLAVE_SEEDS", text)
    assert load_settings(tmp_path, {}).seeds == seeds


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *(("mdns", text, False) for text in ("0", "false", "False", "no", "OFF")),
        *(("mdns", text, True) for text in ("1", "true", "TRUE", "yes", "on")),
        ("port", "4747", 4747),
        ("metrics_port", "0", 0),
        ("key_rotation_hours", "1.5", 1.5),
    ],
)
def test_text_of_the_environment_is_what_its_setting_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"CONCLAVE_{name.upper()}", text)
    found = getattr(load_settings(tmp_path, {}), name)
    assert (found, type(found)) == (value, type(value))


def test_a_value_that_does_not_fit_and_does_not_count_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "conclave.toml").write_text("port = 'many'")
    assert load_settings(tmp_path, {"port": 1}).port == 1


def test_the_home_comes_from_the_environment_or_lies_in_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONCLAVE_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.setenv("CONCLAVE_HOME", "~/there")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_home() == tmp_path / "there"
    monkeypatch.delenv("CONCLAVE_HOME")
    assert default_home() == tmp_path / ".conclave"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["conclave.toml: prot", "no such setting", "port"]),
        ("[port]\nx = 1", ["conclave.toml: port", "integer"]),
        ("port = 'many'", ["conclave.toml: port", "integer"]),
        ("port = 65528", ["conclave.toml: port", "65527"]),
        ("port = -1", ["conclave.toml: port"]),
        ("seeds = 'one'", ["conclave.toml: seeds", "list"]),
        ("log_level = 'loud'", ["conclave.toml: log_level", "'debug'"]),
        ("metrics_port = 70000", ["conclave.toml: metrics_port"]),
        ("port = true", ["conclave.toml: port", "True", "integer"]),
        ("mdns = 2", ["conclave.toml: mdns", "true or false"]),
        ("key_rotation_hours = nan", ["conclave.toml: key_rotation_hours", "number"]),
        ("port = ", ["conclave.toml is not TOML"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    (tmp_path / "conclave.toml").write_text(text)
    with pytest.raises(BadSettings) as caught:
        load_settings(tmp_path, {})
    for word in words:
        assert word in str(caught.value)


def test_bytes_that_are_no_text_and_a_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "conclave.toml").write_bytes(b"\xff")
    with pytest.raises(BadSettings, match=r"conclave\.toml is not TOML"):
        load_settings(tmp_path, {})
    (tmp_path / "conclave.toml").unlink()
    (tmp_path / "conclave.toml").mkdir()
    with pytest.raises(BadSettings, match=r"conclave\.toml cannot be read"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("CONCLAVE_PROT", "1", ["environment: CONCLAVE_PROT", "no such setting"]),
        ("CONCLAVE_PORT", "many", ["environment: CONCLAVE_PORT"]),
        ("CONCLAVE_MDNS", "perhaps", ["environment: CONCLAVE_MDNS"]),
        ("CONCLAVE_SEEDS", "[1, 2", ["environment: CONCLAVE_SEEDS"]),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(BadSettings) as caught:
        load_settings(tmp_path, {})
    for word in words:
        assert word in str(caught.value)


def test_an_argument_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="argument: prot"):
        load_settings(tmp_path, {"prot": 1})
