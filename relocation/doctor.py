"""Say what is configured, from where, and whether it works."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine, text

from relocation import deployments
from relocation.archive.keys import public_key_of
from relocation.blocks import (
    load_destination,
    load_ledger,
    load_mail_server,
    load_private_key,
    load_storage,
)
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import RelocationError
from relocation.flow_runs import RELOCATE
from relocation.ledger.migrate import is_current
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import load_template
from relocation.settings import Settings
from relocation.transfer.schema import reflect
from relocation.transfer.skew import blocks, check_schema


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    good: bool
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the check as plain JSON data."""
        return asdict(self)


def examine(settings: Settings) -> list[Check]:
    """Look at the server, the five blocks with what is behind them, deployments and workers.

    Never raises and changes nothing. Nothing more can be looked at where the server is silent.
    """
    server = _check("Prefect server", _server, "start it, and set PREFECT_API_URL")
    if not server.good:
        return [server]
    return [
        server,
        _check("deployment", _deployment, "relocation setup"),
        _check("worker", _worker, f"prefect worker start --pool {deployments.WORK_POOL}"),
        _check(f"ledger ({settings.ledger_block})", lambda: _ledger(settings), "relocation setup"),
        _check(
            f"destination ({settings.destination_block})",
            lambda: _destination(settings),
            "relocation setup; or correct the block in the Prefect UI",
        ),
        _check(
            f"storage ({settings.storage_block})", lambda: _storage(settings), "relocation setup"
        ),
        _check(f"key ({settings.key_block})", lambda: _key(settings), "relocation setup"),
        _check("templates", lambda: _templates(settings), "correct it, or take it away"),
        _check(
            f"mail ({settings.mail_block})",
            lambda: _mail(settings),
            "start the mail server, or correct the block in the Prefect UI",
        ),
    ]


class _BadError(Exception):
    """What was looked at does not work; the message says how."""


def _check(what: str, look: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(what, good=True, detail=look())
    except RelocationError as err:
        return Check(what, good=False, detail=err.internal or err.reason, remedy=remedy)
    except Exception as err:  # noqa: BLE001 - whatever is wrong is what was asked for
        first_line = str(err).partition("\n")[0]
        return Check(what, False, f"{type(err).__name__}: {first_line}", remedy)


def _server() -> str:
    problem = deployments.server_problem()
    if problem:
        raise _BadError(problem)
    return deployments.server_address()


def _deployment() -> str:
    if not deployments.deployment_exists():
        raise _BadError(f"{RELOCATE} is not deployed")
    return RELOCATE


def _worker() -> str:
    online = deployments.workers_online()
    if not online:
        raise _BadError(f"none is online on the pool {deployments.WORK_POOL}: nothing will run")
    return f"{online} online"


def _ledger(settings: Settings) -> str:
    ledger = load_ledger(settings)
    if not is_current(ledger):
        raise _BadError(f"{_address(ledger)} is not migrated")
    return _address(ledger)


def _destination(settings: Settings) -> str:
    destination = load_destination(settings)
    models = load_catalogue().admitted(Scope.ORGANIZATION)
    skew = check_schema(reflect(destination, models), {one.name: set(one.fields) for one in models})
    unfit = [finding for finding in skew if blocks(finding)]
    if unfit:
        raise _BadError(f"{unfit[0].model}: {unfit[0].reason} ({len(unfit)} such findings)")
    return _address(destination)


def _storage(settings: Settings) -> str:
    storage, key = load_storage(settings), "doctor/probe"
    storage.write(key, b"probe")
    with storage.open(key) as probe:
        same = probe.read() == b"probe"
    storage.delete(key)
    if not same:
        raise _BadError("what was written was not read back")
    return "can be written, read and deleted"


def _key(settings: Settings) -> str:
    public_key_of(load_private_key(settings))
    return "is a private key"


def _templates(settings: Settings) -> str:
    Branding.of(settings)
    # Of a broken OPERATOR template only the log would tell, since the built-in one stands in.
    for kind in NoticeKind:
        load_template(kind, settings.templates)
    return str(settings.templates or "the built-in ones")


def _mail(settings: Settings) -> str:
    server = load_mail_server(settings)
    signed = ", signed" if server.signing_key(settings.sender_domain) else ""
    with server.mailer(settings.sender_email) as mailer:
        mailer.connect()
    return f"{server.host}:{server.port} ({server.tls}{signed})"


def _address(engine: Engine) -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return engine.url.render_as_string(hide_password=True)
