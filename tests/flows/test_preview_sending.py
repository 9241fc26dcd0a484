"""Sample notices can be sent, to see them in real mail clients."""

from pathlib import Path

from embedded_service import Service
from typer.testing import CliRunner

from relocation.cli.main import app
from relocation.ledger.relocations import list_relocations


def test_a_preview_can_be_sent_through_the_mail_block(service: Service, tmp_path: Path) -> None:
    preview = ["notices", "preview", "CLAIM", "--to", str(tmp_path / "out")]
    said = CliRunner().invoke(app, [*preview, "--send", "you@example.org"])
    assert said.exit_code == 0, said.output
    sent = [mail.message for mail in service.inbox.messages()]
    written = list((tmp_path / "out").glob("*.eml"))
    assert len(sent) == len(written) > 1
    assert {str(message["To"]) for message in sent} == {"you@example.org"}
    assert len({message["Message-ID"] for message in sent}) == len(sent)
    assert list_relocations(service.ledger) == []


def test_a_preview_that_cannot_be_sent_is_an_error_of_one_line(
    service: Service, tmp_path: Path
) -> None:
    service.lose_mail_server()
    preview = ["notices", "preview", "CLAIM", "--to", str(tmp_path / "out")]
    said = CliRunner().invoke(app, [*preview, "--send", "you@example.org"])
    assert said.exit_code == 1
    assert said.stderr.startswith("error: 0 of ")
    assert len(said.stderr.splitlines()) == 1
