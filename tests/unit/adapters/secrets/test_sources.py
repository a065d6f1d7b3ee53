"""SecretRef in, bytes out: environment and file, and what is refused."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest

from doorward.adapters.secrets.secret import Secret
from doorward.adapters.secrets.sources import SecretSources
from doorward.errors import ConfigError
from doorward.model import SecretRef


@pytest.fixture
def sources(tmp_path: Path) -> SecretSources:
    return SecretSources(tmp_path / "data")


def private(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{:>20}".format, "%s".__mod__, ascii])
def test_a_secret_never_shows_itself(show: object) -> None:
    """Every way to turn a secret into text says [secret] and not the value."""
    shown = show(Secret(b"hunter2"))  # type: ignore[operator]
    assert "hunter2" not in shown
    assert "[secret]" in shown


def test_a_secret_does_not_show_in_a_traceback_with_locals(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback that captures local variables, and a log line with one, hold no value."""
    password = Secret(b"hunter2")
    try:
        raise RuntimeError(f"cannot connect with {password}")
    except RuntimeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        logging.getLogger("test").exception("failed with %s and %r", password, {"password": password})
    assert "[secret]" in text
    assert "hunter2" not in text + caplog.text


def test_a_secret_is_bytes_and_cannot_be_pickled() -> None:
    """Whoever uses a secret gets bytes; nobody can serialize it."""
    assert Secret(b"hunter2") == b"hunter2"
    with pytest.raises(TypeError, match="serialized"):
        pickle.dumps(Secret(b"hunter2"))


def test_environment(sources: SecretSources, monkeypatch: pytest.MonkeyPatch) -> None:
    """env: reads the variable as bytes, each time."""
    monkeypatch.setenv("SHOP_PASSWORD", "pässword")
    assert sources.get(SecretRef("env", "SHOP_PASSWORD")) == "pässword".encode()
    monkeypatch.setenv("SHOP_PASSWORD", "rotated")
    assert sources.get(SecretRef("env", "SHOP_PASSWORD")) == b"rotated"
    monkeypatch.setenv("SHOP_PASSWORD", "")
    with pytest.raises(ConfigError, match=r"env:SHOP_PASSWORD.*not set, or empty"):
        sources.get(SecretRef("env", "SHOP_PASSWORD"))


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"hunter2", b"hunter2"), (b"hunter2\n", b"hunter2"), (b"hunter2\r\n", b"hunter2"), (b" a\n\n", b" a\n")],
)
def test_file(sources: SecretSources, tmp_path: Path, content: bytes, secret: bytes) -> None:
    """file: gives the content without one newline at its end."""
    path = private(tmp_path / "password", content)
    assert sources.get(SecretRef("file", str(path))) == secret


def test_a_file_is_followed_through_a_link(sources: SecretSources, tmp_path: Path) -> None:
    """Kubernetes mounts secrets as symbolic links."""
    private(tmp_path / "password", b"hunter2")
    (tmp_path / "link").symlink_to(tmp_path / "password")
    assert sources.get(SecretRef("file", str(tmp_path / "link"))) == b"hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_file_that_others_can_open_is_refused(sources: SecretSources, tmp_path: Path, mode: int) -> None:
    """Whatever group or others may do with it, the file is refused with the command that mends it."""
    path = private(tmp_path / "password", b"hunter2", mode)
    with pytest.raises(ConfigError, match="open to others") as caught:
        sources.get(SecretRef("file", str(path)))
    assert f"chmod 600 {path}" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(sources: SecretSources, tmp_path: Path) -> None:
    """A file whose owner is neither the gateway nor root could be changed by that owner."""
    path = private(tmp_path / "password", b"hunter2")
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        sources.get(SecretRef("file", str(path)))


def test_what_is_no_file_is_refused(sources: SecretSources, tmp_path: Path) -> None:
    """Missing, empty, too long, relative, a directory, a FIFO that nobody writes: each is one clear error at once."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    private(tmp_path / "empty", b"\n")
    private(tmp_path / "long", b"x" * (64 * 1024 + 1))
    for name, message in {
        str(tmp_path / "missing"): "No such file",
        str(tmp_path / "fifo"): "not a regular file",
        str(tmp_path / "directory"): "not a regular file",
        str(tmp_path / "empty"): "empty",
        str(tmp_path / "long"): "longer than 64 KiB",
        "password": "not absolute",
    }.items():
        with pytest.raises(ConfigError, match=message):
            sources.get(SecretRef("file", name))


def test_an_unknown_scheme_is_refused(sources: SecretSources) -> None:
    """The error lists the schemes that there are."""
    with pytest.raises(ConfigError, match="'s3'") as caught:
        sources.get(SecretRef("s3", "bucket"))
    assert "env:, file:, vault:" in caught.value.hint
