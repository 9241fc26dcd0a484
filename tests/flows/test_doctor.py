"""Doctor finds what is wrong with a service, and says how to mend it."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from uuid import UUID

import prefect
import pytest
from aiosmtpd.controller import Controller
from embedded_service import Service
from prefect import get_client
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Failed
from prefect_blocks import save_block
from pydantic import SecretStr
from sqlalchemy import URL, create_engine, text

from flows.sweep import sweep
from relocation.archive.keys import create_private_key, public_key_of
from relocation.database import engine_options, prepare
from relocation.errors import ConfigurationError
from relocation.example import example_export
from relocation.local.processes import free_port
from relocation.prefect_api import deployments
from relocation.prefect_api.blocks import MailServer, load_mail_server
from relocation.prefect_api.check import Check, check
from relocation.prefect_api.doctor import probes, run_checks
from relocation.prefect_api.pools import make_pool
from relocation.settings import Settings


def look(service: Service | None, what: str) -> Check:
    """Return what doctor says of one thing."""
    (found,) = [check(*probe) for probe in probes(Settings()) if probe[0].startswith(what)]
    assert found.good or found.remedy
    return found


def break_off(service: Service, statement: str, *, database: str = "destination") -> None:
    """Run a statement in one of the databases."""
    with getattr(service, database).begin() as connection:
        connection.execute(text(statement))


def test_what_is_well_is_called_so(service: Service) -> None:
    checks = {check.what.partition(" (")[0]: check for check in run_checks(Settings())}
    # Nothing was deployed to the server of these tests, and no worker runs.
    unwell = {"deployments", "automations", "worker", "sweep"}
    assert {what for what, check in checks.items() if not check.good} == unwell
    assert len(checks) == 19
    assert all(bool(check.remedy) is not check.good for check in checks.values())


def test_a_server_that_is_away_ends_the_examination(service: Service) -> None:
    away = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: away}):
        (only,) = run_checks(Settings())
    assert away in only.detail
    assert "PREFECT_API_URL" in only.remedy


def test_a_server_of_another_version(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "__version__", "3.1.4")
    found = look(service, "Prefect version")
    assert not found.good
    assert "3.1.4" in found.detail


def test_a_clock_that_differs_from_the_servers(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = format_datetime(datetime.now(UTC) - timedelta(minutes=2), usegmt=True)
    monkeypatch.setattr(deployments, "server_about", lambda: (prefect.__version__, late))
    found = look(service, "clock")
    assert not found.good
    assert "120" in found.detail or "121" in found.detail


def test_a_server_to_which_nothing_was_applied(service: Service) -> None:
    missing = look(service, "deployments")
    assert not missing.good
    assert "handle-failure" in missing.detail
    unapplied = look(service, "automations")
    assert not unapplied.good
    assert '"A relocation ended without success" is not applied' in unapplied.detail
    assert "relocation setup" in missing.remedy
    worker = look(service, "worker")
    assert not worker.good
    assert worker.remedy == "prefect worker start --pool relocation"


class Sweeps(Protocol):
    """Makes the sweep's deployment, begun so long ago, with runs that ended in these states."""

    def __call__(self, age: timedelta, *states: State[Any], active: bool = True) -> None: ...


@pytest.fixture
def sweeps(service: Service) -> Iterator[Sweeps]:
    """Make the sweep's deployment, begun so long ago, with runs that ended in these states."""
    with get_client(sync_client=True) as client:

        def make(age: timedelta, *states: State[Any], active: bool = True) -> None:
            schedule = DeploymentScheduleCreate(
                schedule=IntervalSchedule(interval=timedelta(minutes=5)), active=active
            )
            flow_id = client.create_flow(sweep)
            made.append(client.create_deployment(flow_id, "sweep", schedules=[schedule]))
            for state in states:
                run = client.create_flow_run_from_deployment(made[0])
                client.set_flow_run_state(run.id, state, force=True)
            now = datetime.now(UTC) + age
            clock = SimpleNamespace(now=lambda _zone: now)
            patch.setattr("relocation.prefect_api.doctor.datetime", clock)

        made: list[UUID] = []
        with pytest.MonkeyPatch.context() as patch:
            yield make
        for deployment in made:
            client.delete_deployment(deployment)


@pytest.mark.parametrize(
    ("minutes", "states", "good"),
    [
        (14, [], True),  # just set up: none was due yet
        (16, [], False),  # no worker ever took one
        (14, [Completed()], True),
        (16, [Completed()], False),
        (16, [Completed(), Failed(), Cancelled()], False),
    ],
)
def test_a_safety_net_in_which_no_sweep_succeeds(
    sweeps: Sweeps, minutes: int, states: list[State[Any]], good: bool
) -> None:
    sweeps(timedelta(minutes=minutes), *states)
    found = look(None, "sweep")
    assert found.good is good
    assert good or "none has succeeded for 16 minutes" in found.detail


def test_a_safety_net_whose_schedule_is_off(sweeps: Sweeps) -> None:
    sweeps(timedelta(), Completed(), active=False)
    found = look(None, "sweep")
    assert not found.good
    assert "schedule is off" in found.detail


@pytest.fixture
def pool(service: Service, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Make the work pool of a file, or let one overwrite it; returns what was done."""
    file = tmp_path / "pool.yaml"

    def apply(text: str, *, overwrite: bool = False) -> str:
        file.write_text(text)
        return make_pool(Settings(), file, overwrite=overwrite)

    yield apply
    with get_client(sync_client=True) as client:
        client.delete_work_pool("relocation")


def _pool_id() -> UUID:
    with get_client(sync_client=True) as client:
        return client.read_work_pool("relocation").id


def test_a_pool_takes_what_a_file_says_when_it_is_told_to(pool: Callable[..., str]) -> None:
    assert pool("type: process") == "created (process)"
    before, quiet = _pool_id(), "{type: process, job_variables: {stream_output: false}}"
    assert pool(quiet) == "kept (process), though it differs from the file"
    assert pool(quiet, overwrite=True) == "overwritten (process)"
    assert pool(quiet, overwrite=True) == "kept (process)"
    assert _pool_id() == before
    with pytest.raises(ConfigurationError) as refused:
        pool("type: docker", overwrite=True)
    assert "of type process, which can't change" in str(refused.value.internal)


ENVIRONMENT = "job_variables: {env: {RELOCATION_LEDGER_BLOCK: other, RELOCATION_HOME: /data}}"


def test_a_pool_whose_runs_have_other_settings(pool: Callable[..., str]) -> None:
    pool("type: process")
    assert look(None, "pool").good
    pool(f"type: process\n{ENVIRONMENT}", overwrite=True)
    found = look(None, "pool")
    assert not found.good
    assert found.detail == "RELOCATION_LEDGER_BLOCK is other there and relocation-ledger here"
    assert "--overwrite" in found.remedy


def test_a_container_that_lacks_a_setting_which_a_process_has_from_its_worker(
    pool: Callable[..., str],
) -> None:
    pool("type: docker")
    found = look(None, "pool")
    assert found.good, "the image may set it"
    assert "RELOCATION_KEY_BLOCK is relocation-key there and test-key here" in found.detail


def test_a_ledger_that_is_not_migrated(service: Service) -> None:
    break_off(
        service, "UPDATE relocation_ledger_version SET version_num = '0001'", database="ledger"
    )
    found = look(service, "ledger")
    assert not found.good
    assert "not migrated" in found.detail


def test_a_destination_that_lacks_a_column(service: Service) -> None:
    break_off(service, "ALTER TABLE sentry_project RENAME COLUMN slug TO nickname")
    found = look(service, "destination")
    assert not found.good
    assert "sentry.project" in found.detail


def test_a_product_that_is_older_than_the_newest_exports_is_well(service: Service) -> None:
    """It is told what it lacks, from which version on that is there, and what it means."""
    break_off(service, "CREATE TABLE django_migrations (app VARCHAR, name VARCHAR)")
    break_off(service, "DROP TABLE sentry_dashboardfavoriteuser")
    break_off(service, "ALTER TABLE sentry_dashboardwidget DROP COLUMN thresholds")
    found = look(service, "destination")
    assert found.good
    assert "1 tables are missing (exports with their models are refused)" in found.detail
    assert "1 columns (their values are lost)" in found.detail
    assert "sentry.dashboardfavoriteuser (only after 24.7)" in found.detail
    assert "sentry.dashboardwidget.thresholds (from 24.7 on)" in found.detail


def test_a_product_that_is_too_old_for_any_relocation(service: Service) -> None:
    break_off(service, "CREATE TABLE django_migrations (app VARCHAR, name VARCHAR)")
    break_off(service, "ALTER TABLE auth_user DROP COLUMN password")
    found = look(service, "destination")
    assert not found.good
    assert "sentry.user.password" in found.detail
    assert "claim" in found.detail, "what it means"
    assert found.remedy == "ask its operator to upgrade it"


def test_a_product_whose_mappings_have_to_be_made_by_hand(service: Service) -> None:
    assert look(service, "mappings").good
    break_off(service, "CREATE TABLE sentry_organizationmapping (organization_id BIGINT)")
    found = look(service, "mappings")
    assert not found.good
    assert "outbox_for_update" in found.detail


def test_a_destination_without_lost_password_records(service: Service) -> None:
    break_off(service, "DROP TABLE sentry_lostpasswordhash")
    found = look(service, "claim links")
    assert not found.good
    assert "lost-password" in found.detail


def test_claim_links_without_a_token(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELOCATION_CLAIM_URL", "https://cloud.example.org/claim/")
    found = look(service, "claim links")
    assert not found.good
    assert "{token}" in found.detail


def test_claim_links_that_lead_home_from_a_destination_elsewhere(
    service: Service, postgres_server: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = prepare(create_engine(postgres_server, **engine_options("postgresql")))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS sentry_lostpasswordhash (id int)"))
    load = "relocation.prefect_api.doctor_mail.load_destination"
    monkeypatch.setattr(load, lambda _settings: engine)
    found = look(service, "claim links")
    engine.dispose()
    assert not found.good
    assert "localhost" in found.detail
    assert "RELOCATION_BASE_URL" in found.remedy


def test_a_storage_that_is_gone(service: Service) -> None:
    folder = service.settings.home / "storage"
    folder.rmdir()
    folder.write_text("a file where the folder was")
    assert not look(service, "storage").good


def test_a_key_that_is_none(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    save_block(Secret(value=SecretStr("no key")), "bad-key")
    monkeypatch.setenv("RELOCATION_KEY_BLOCK", "bad-key")
    found = look(service, "key")
    assert not found.good
    assert "no key" not in found.detail


def test_a_key_that_does_not_fit_an_unfinished_archive(service: Service) -> None:
    service.relocate(service.archive(example_export(organizations=1)), "nowhere")
    assert look(service, "archives").good
    other = public_key_of(create_private_key(2048))
    break_off(service, "UPDATE relocation SET status = 'PAUSED'", database="ledger")
    service.store(service.seal(b"[]", other), service.only().archive)
    found = look(service, "archives")
    assert not found.good
    assert service.only().id in found.detail
    assert "relocation keys public" in found.remedy


def test_an_archive_that_never_fitted_is_its_makers_mistake(service: Service) -> None:
    other = public_key_of(create_private_key(2048))
    service.relocate(service.store(service.seal(b"[]", other)), "acme")
    assert service.only().status == "FAILURE"
    found = look(service, "archives")
    assert found.good
    assert found.detail == "no unfinished relocation needs one"


def test_a_destination_whose_file_is_gone_is_put_back_and_not_made_anew(service: Service) -> None:
    Path(str(service.destination.url.database).removeprefix("file:")).unlink()
    found = look(service, "destination")
    assert not found.good
    assert "is missing" in found.detail
    assert "setup" not in found.remedy


def test_words_that_mislead_real_readers_are_warnings(service: Service) -> None:
    assert not look(service, "product").remedy
    mail_block(service, 25, host="mail.example.org")
    assert "RELOCATION_PRODUCT_NAME" in look(service, "product").remedy
    assert "RELOCATION_BASE_URL" in look(service, "claim links").remedy


def mail_block(service: Service, port: int, **more: object) -> None:
    """Let the mail block point at a port."""
    block = MailServer.model_validate({"host": "127.0.0.1", "port": port, "tls": "none", **more})
    save_block(block, service.settings.mail_block)


def test_a_mail_server_that_is_down(service: Service) -> None:
    service.lose_mail_server()
    found = look(service, "mail")
    assert not found.good
    assert "refused" in found.detail


@contextmanager
def refusing() -> Iterator[int]:
    """A mail server that serves nobody; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"554 not you\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_mail_server_that_refuses(service: Service) -> None:
    with refusing() as port:
        mail_block(service, port)
        found = look(service, "mail")
    assert not found.good
    assert "refuses with 554" in found.detail
    assert "username and password" in found.remedy


def test_a_mail_server_whose_certificate_nobody_trusts(service: Service, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    port = free_port()
    controller = Controller(object(), hostname="127.0.0.1", port=port, tls_context=context)
    controller.start()
    try:
        mail_block(service, port, tls="starttls")
        found = look(service, "mail")
        assert not found.good
        assert "certificate" in found.detail
        assert "cafile" in found.remedy
        mail_block(service, port, tls="starttls", cafile=str(certificate))
        assert look(service, "mail").good
    finally:
        controller.stop()


def test_alerts_that_still_go_to_the_local_inbox(service: Service) -> None:
    block = load_mail_server(service.settings).model_copy(update={"host": "mail.example.org"})
    save_block(block, service.settings.mail_block)
    found = look(service, "alerts")
    assert not found.good
    assert "local inbox" in found.detail
    assert "mail.example.org" in found.detail


def test_alerts_that_are_no_notification_block(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_ALERT_BLOCK", "secret/test-key")
    found = look(service, "alerts")
    assert not found.good
    assert "not a notification block" in found.detail


def test_no_secret_is_in_what_doctor_says(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = SecretStr("https://hooks.example.org/hunter2")
    save_block(SlackWebhook(url=hook), "other-alerts")
    monkeypatch.setenv("RELOCATION_ALERT_BLOCK", "slack-webhook/other-alerts")
    assert look(service, "alerts").good
    assert "hunter2" not in str([check.as_json() for check in run_checks(Settings())])
