"""The local vault: sealed, private, atomic."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from doorward.adapters.secrets import vault as module
from doorward.adapters.secrets.vault import PASSPHRASE, Vault
from doorward.errors import ConfigError, IntegrityError
from doorward.model import SecretRef

SHOP = SecretRef("vault", "shop")


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is the only thing that differs from real use; one test below uses the real one."""
    monkeypatch.setattr(module, "_SCRYPT_N", 1 << 10)


def test_set_get_list_remove(tmp_path: Path) -> None:
    """What was set comes back, also to another process; names are listed; what was removed is gone."""
    Vault(tmp_path, environ={}).set("shop", b"hunter2")
    Vault(tmp_path, environ={}).set("crm.read-only", b"\x00\xff")
    vault = Vault(tmp_path, environ={})
    assert vault.names() == ["crm.read-only", "shop"]
    assert (vault.get(SHOP), vault.get(SecretRef("vault", "crm.read-only"))) == (b"hunter2", b"\x00\xff")
    assert vault.remove("shop")
    assert not vault.remove("shop")
    with pytest.raises(ConfigError, match="vault:shop is not in the vault") as caught:
        vault.get(SHOP)
    assert caught.value.hint == "doorward secrets set shop"


def test_files_are_private_and_hold_no_value(tmp_path: Path) -> None:
    """Vault and key have mode 0600 in directories of 0700, nothing temporary stays, and neither name nor value is in
    any file."""
    vault = Vault(tmp_path / "data", environ={})
    vault.set("production-shop", b"hunter2hunter2")
    vault.set("production-shop", b"correct horse battery")
    files = sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert [path.name for path in files] == ["vault.key", "vault", "vault.lock"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "data" / "keys").stat().st_mode) == 0o700
    everything = b"".join(path.read_bytes() for path in files)
    assert not any(word in everything for word in (b"production", b"hunter2", b"correct horse"))


@pytest.mark.parametrize("environ", [{}, {PASSPHRASE: "correct horse"}])
def test_any_changed_byte_is_noticed(tmp_path: Path, environ: dict[str, str]) -> None:
    """Header, salt, nonce, ciphertext and tag: one flipped bit in any of them and the vault does not open."""
    Vault(tmp_path, environ=environ).set("shop", b"hunter2")
    path = tmp_path / "vault"
    sound = path.read_bytes()
    for at in [*range(62), 1000, len(sound) - 17, len(sound) - 1]:
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises((IntegrityError, ConfigError)):
            Vault(tmp_path, environ=environ).get(SHOP)
    for length in (0, 10, 17, 18, 50, 62, 77, len(sound) - 1):
        path.write_bytes(sound[:length])
        with pytest.raises(IntegrityError):
            Vault(tmp_path, environ=environ).get(SHOP)
    path.write_bytes(sound)
    assert Vault(tmp_path, environ=environ).get(SHOP) == b"hunter2"


def test_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With scrypt's real cost: the passphrase opens, another or none does not, and no key file is made."""
    monkeypatch.setattr(module, "_SCRYPT_N", 1 << 17)
    Vault(tmp_path, environ={PASSPHRASE: "correct horse"}).set("shop", b"hunter2")
    assert Vault(tmp_path, environ={PASSPHRASE: "correct horse"}).get(SHOP) == b"hunter2"
    with pytest.raises(IntegrityError, match="another one, or the file was changed"):
        Vault(tmp_path, environ={PASSPHRASE: "Correct horse"}).get(SHOP)
    with pytest.raises(ConfigError, match="sealed under a passphrase") as caught:
        Vault(tmp_path, environ={}).get(SHOP)
    assert PASSPHRASE in caught.value.hint
    assert not (tmp_path / "keys").exists()


def test_a_passphrase_takes_over_at_the_next_write(tmp_path: Path) -> None:
    """A vault that a key file opened is sealed under the passphrase from the first write that has one."""
    Vault(tmp_path, environ={}).set("shop", b"hunter2")
    with_passphrase = Vault(tmp_path, environ={PASSPHRASE: "correct horse"})
    assert with_passphrase.get(SHOP) == b"hunter2"
    with_passphrase.set("crm", b"x")
    with pytest.raises(ConfigError):
        Vault(tmp_path, environ={}).names()
    assert with_passphrase.get(SHOP) == b"hunter2"


def test_a_lost_key_is_said_and_never_replaced(tmp_path: Path) -> None:
    """Without its key the vault neither opens nor is overwritten by a new one."""
    Vault(tmp_path, environ={}).set("shop", b"hunter2")
    (tmp_path / "keys" / "vault.key").unlink()
    before = (tmp_path / "vault").read_bytes()
    with pytest.raises(ConfigError, match=r"vault\.key"):
        Vault(tmp_path, environ={}).set("shop", b"other")
    assert (tmp_path / "vault").read_bytes() == before


@pytest.mark.parametrize("name", ["vault", "keys/vault.key"])
def test_files_open_to_others_are_refused(tmp_path: Path, name: str) -> None:
    """A vault or key that group or others can read is not used until that is mended."""
    Vault(tmp_path, environ={}).set("shop", b"hunter2")
    (tmp_path / name).chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        Vault(tmp_path, environ={}).get(SHOP)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_rewrite_leaves_the_old_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """When the disk fails in mid-rewrite, the secrets that were there still are, and no temporary file stays."""
    vault = Vault(tmp_path, environ={})
    vault.set("shop", b"hunter2")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"doorward.adapters.secrets.vault.os.{step}", fail)
        with pytest.raises(OSError, match="No space"):
            vault.set("shop", b"other")
    assert vault.get(SHOP) == b"hunter2"
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    """Writers at the same time take turns: every secret is there afterwards."""
    names = [f"secret{number}" for number in range(12)]
    threads = [
        threading.Thread(target=Vault(tmp_path, environ={}).set, args=(name, name.encode())) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Vault(tmp_path, environ={}).names() == sorted(names)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a/b", "a b", "ä", "a" * 65, "a\n"])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    """A name is something that can be typed and cannot be a path."""
    with pytest.raises(ValueError, match="is not a name"):
        Vault(tmp_path, environ={}).set(name, b"x")


@pytest.mark.parametrize("value", [b"", b"x" * (64 * 1024 + 1)])
def test_bad_values_are_refused(tmp_path: Path, value: bytes) -> None:
    """A secret has a length between one byte and 64 KiB."""
    with pytest.raises(ValueError, match="1 to 65536 bytes"):
        Vault(tmp_path, environ={}).set("shop", value)
