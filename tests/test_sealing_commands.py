"""`relocation encrypt` and `decrypt`: on files alone."""

import json
import stat
from io import BytesIO
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from relocation.archive.keys import create_private_key, public_key_of
from relocation.cli.main import app
from relocation.example import example_export, write_export

KEY = create_private_key(2048)
OTHER = create_private_key(2048)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with an export and keys."""
    plain = BytesIO()
    write_export(example_export(organizations=1), plain)
    (tmp_path / "export.json").write_bytes(plain.getvalue())
    (tmp_path / "mine.pem").write_text(KEY)
    (tmp_path / "other.pem").write_text(OTHER)
    (tmp_path / "mine.pub").write_text(public_key_of(KEY))
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_encrypted_is_decrypted_to_the_same_bytes(files: Path) -> None:
    sealed = run(
        "encrypt", files / "export.json", files / "a.tar", "--key", files / "mine.pub", "--json"
    )
    assert json.loads(sealed.stdout)["bytes"] == (files / "a.tar").stat().st_size
    assert b"acme" not in (files / "a.tar").read_bytes()
    assert stat.S_IMODE((files / "a.tar").stat().st_mode) == 0o600
    opened = run("decrypt", files / "a.tar", files / "b.json", "--key", files / "mine.pem")
    assert opened.exit_code == 0
    assert (files / "b.json").read_bytes() == (files / "export.json").read_bytes()
    assert stat.S_IMODE((files / "b.json").stat().st_mode) == 0o600


def test_no_file_is_overwritten(files: Path) -> None:
    before = (files / "other.pem").read_bytes()
    for arguments in (
        ("encrypt", files / "export.json", files / "other.pem", "--key", files / "mine.pub"),
        ("decrypt", files / "export.json", files / "other.pem", "--key", files / "mine.pem"),
    ):
        said = run(*arguments)
        assert said.exit_code == 1
        assert "not overwritten" in said.stderr
    assert (files / "other.pem").read_bytes() == before


def test_what_cannot_be_sealed_or_opened_leaves_no_file(files: Path) -> None:
    run("encrypt", files / "export.json", files / "a.tar", "--key", files / "mine.pub")
    before = names(files)
    for arguments in (
        ("decrypt", files / "a.tar", files / "new", "--key", files / "other.pem"),
        ("decrypt", files / "export.json", files / "new", "--key", files / "mine.pem"),
        ("encrypt", files / "a.tar", files / "new", "--key", files / "mine.pub"),
        ("encrypt", files / "export.json", files / "new", "--key", files / "mine.pem"),
    ):
        said = run(*arguments)
        assert said.exit_code == 1, said.output
        assert len(said.stderr.splitlines()) == 1
    assert names(files) == before
