"""What a file says becomes a block; what a person changed stays; what is wrong is said safely."""

import uuid
from pathlib import Path

import pytest
from embedded_service import Service
from prefect.blocks.notifications import SlackWebhook
from prefect_blocks import load_block, save_block
from prefect_sqlalchemy import SqlAlchemyConnector
from pydantic import SecretStr
from sqlalchemy import URL

from relocation.errors import ConfigurationError
from relocation.ledger.migrate import is_current
from relocation.ledger.relocations import list_relocations
from relocation.prefect_api.block_file import read_block_file
from relocation.prefect_api.blocks import load_alerts, load_ledger, load_mail_server
from relocation.prefect_api.setup import Fields, move_inbox, set_up
from relocation.settings import Settings

MAIL = """
mail:
  host: smtp.example.org
  username: relocation
  password: ${MAIL_PASSWORD}
"""


def fields(tmp_path: Path, text: str, **environment: str) -> Fields:
    """Read a file of blocks."""
    file = tmp_path / "blocks.yaml"
    file.write_text(text)
    return read_block_file(file, environment)


@pytest.fixture
def own(service: Service, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a service with a mail block that no other test has."""
    return _with_own("MAIL", service, monkeypatch)


@pytest.fixture
def own_ledger(service: Service, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a service with a ledger block that no other test has."""
    return _with_own("LEDGER", service, monkeypatch)


def _with_own(block: str, service: Service, patch: pytest.MonkeyPatch) -> Settings:
    patch.setenv(f"RELOCATION_{block}_BLOCK", f"own-{uuid.uuid4()}")
    settings = Settings()
    set_up(settings, inbox_port=service.inbox.port)
    return settings


def test_a_block_that_exists_is_kept_unless_told_to_overwrite(
    own: Settings, tmp_path: Path
) -> None:
    settings, name = own, own.mail_block
    given = fields(tmp_path, MAIL, MAIL_PASSWORD="hunter2")
    kept = set_up(settings, inbox_port=1, fields=given)
    assert kept.pop(name) == "kept, though it differs from the file"
    assert set(kept.values()) == {"kept"}
    assert load_mail_server(settings).host == "127.0.0.1"

    written = set_up(settings, inbox_port=1, fields=given, overwrite=True)
    assert written.pop(name) == "overwritten"
    assert set(written.values()) == {"kept"}  # above all the key: archives are made for it
    server = load_mail_server(settings)
    assert server.password is not None
    assert (server.host, server.password.get_secret_value()) == ("smtp.example.org", "hunter2")
    assert set_up(settings, inbox_port=1, fields=given)[name] == "kept"


def test_the_password_of_a_database_is_hidden_in_its_block(
    postgres_server: URL, own_ledger: Settings, tmp_path: Path
) -> None:
    address = postgres_server.set(password="hunter2").render_as_string(hide_password=False)
    given = fields(tmp_path, f"ledger: {{url: '{address}'}}")
    done = set_up(own_ledger, inbox_port=1, fields=given, overwrite=True)
    assert done[own_ledger.ledger_block] == "overwritten"
    block = load_block(SqlAlchemyConnector, own_ledger.ledger_block)
    assert "hunter2" not in f"{block!r} {block.model_dump(mode='json')}"
    ledger = load_ledger(own_ledger)
    assert (ledger.dialect.name, is_current(ledger)) == ("postgresql", True)
    ledger.dispose()


def test_a_ledger_changed_in_the_ui_is_used_by_the_next_run(
    service: Service, own_ledger: Settings, tmp_path: Path
) -> None:
    own = own_ledger
    assert service.relocate("archives/absent.tar", "acme").is_failed()
    (first,) = list_relocations(load_ledger(own))
    other = tmp_path / "other.db"
    other.touch()
    block = load_block(SqlAlchemyConnector, own.ledger_block)
    elsewhere = block.connection_info.model_copy(update={"database": f"file:{other}"})
    changed = SqlAlchemyConnector(connection_info=elsewhere)
    save_block(changed, own.ledger_block)
    set_up(own, inbox_port=1)
    assert service.relocate("archives/absent.tar", "acme").is_failed()
    (second,) = list_relocations(load_ledger(own))
    assert first.id != second.id


def test_a_storage_that_cannot_be_made_here_is_asked_for(
    service: Service,
) -> None:
    settings = service.settings.model_copy(update={"storage_block": "remote-file-system/absent"})
    with pytest.raises(ConfigurationError) as refused:
        set_up(settings, inbox_port=1)
    assert "remote-file-system/absent" in str(refused.value.internal)


def test_an_alert_comes_by_mail_with_the_lines_that_it_was_written_in(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_ALERT_BLOCK", f"slack-webhook/own-{uuid.uuid4()}")
    settings = Settings()
    set_up(settings, inbox_port=service.inbox.port)
    text = "A run is late.\n\nWHAT YOU CAN DO\n\n  relocation doctor\n"
    # Prefect's types do not show `_sync`, without which the call may return a coroutine.
    load_alerts(settings).notify(text, "An alert", _sync=True)  # type: ignore[call-arg,unused-coroutine]
    (mail,) = (one for one in service.inbox.messages() if one.message["Subject"] == "An alert")
    assert mail.part("plain").strip() == text.strip()
    assert not mail.part("html")


@pytest.mark.parametrize(
    ("address", "moves"),
    [
        ("mailto://127.0.0.1:{old}?from=a@example.org&to=b@example.org", True),
        ("mailto://127.0.0.1:1?to=b@example.org", False),  # not where the inbox was
        ("mailtos://user:hunter2@127.0.0.1:{old}?to=b@example.org", False),  # a relay with a login
        ("https://hooks.slack.com/services/A/B/{old}", False),
    ],
)
def test_alerts_move_with_the_inbox_they_go_to(
    own: Settings, monkeypatch: pytest.MonkeyPatch, address: str, moves: bool
) -> None:
    monkeypatch.setenv("RELOCATION_ALERT_BLOCK", f"slack-webhook/own-{uuid.uuid4()}")
    settings, old = Settings(), load_mail_server(own).port
    before = address.format(old=old)
    name = settings.alert_block.partition("/")[2]
    save_block(SlackWebhook(url=SecretStr(before)), name)
    move_inbox(settings, 4025)
    move_inbox(settings, 4025)
    after = load_block(SlackWebhook, name).url.get_secret_value()
    assert after == (before.replace(str(old), "4025") if moves else before)
    assert load_mail_server(settings).port == 4025


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mail: {host: '${NOWHERE}'}", "not set in the environment: NOWHERE"),
        ("mails: {host: x}", "there is no block mails"),
        ("mail: {hostess: hunter2}", "no field hostess"),
        ("mail: {host: x, port: hunter2}", "port: Input should be a valid integer"),
        ("mail: {host: x, tls: hunter2}", "tls"),
        ("ledger: {host: hunter2}", "one field, url"),
        ("ledger: {url: hunter2}", "the url cannot be read"),
        ("mail: [hunter2", "not valid YAML, at line"),
        ("hunter2", "not a mapping"),
        ("mail: hunter2", "not a mapping"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_values(
    tmp_path: Path, text: str, told: str
) -> None:
    """Before anything is made: no server is asked."""
    with pytest.raises(ConfigurationError) as refused:
        set_up(Settings(home=tmp_path), inbox_port=1, fields=fields(tmp_path, text))
    assert told in str(refused.value.internal)
    assert "hunter2" not in f"{refused.value} {refused.value.internal}"
