"""What the doctor looks at of mails: where they go, what they say, where their links lead."""

import ssl
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import load_template
from relocation.prefect_api.blocks import (
    load_alerts,
    load_destination,
    load_mail_server,
    load_notification_block,
)
from relocation.prefect_api.check import FailedCheckError, Probe, WarningError
from relocation.process import LOOPBACK
from relocation.settings import Settings
from relocation.text import counted
from relocation.transfer.database.schema import lost_passwords


def claim_links(settings: Settings) -> str:
    """Say where the links to claim an account lead."""
    with load_destination(settings).connect() as connection:
        if lost_passwords(connection) is None:
            raise FailedCheckError("the destination has no table of lost-password records")
        embedded = connection.dialect.name == "sqlite"
    if "{token}" not in settings.claim_url:
        raise FailedCheckError("RELOCATION_CLAIM_URL has no {token}: nobody can claim an account")
    url = settings.claim_url.format(base_url=settings.base_url, user_id=1, token="t")  # noqa: S106
    if urlsplit(url).hostname in {None, "localhost"}:
        nowhere = f"lead to {url}, which recipients can't reach"
        if not embedded:
            raise FailedCheckError(nowhere)
        if not _is_local_inbox(settings):
            raise WarningError(nowhere, "set RELOCATION_BASE_URL")
    return url.rpartition("/1/")[0] or url


def product_name(settings: Settings) -> str:
    """Say what mails call the product."""
    default = Settings.model_fields["product_name"].default
    if settings.product_name == default and not _is_local_inbox(settings):
        raise WarningError(f'mails say "moved to {default}", which is not the name of your product')
    return settings.product_name


def _is_local_inbox(settings: Settings) -> bool:
    """Say whether mails stay on this machine, where nobody is misled by them."""
    return load_mail_server(settings).host in {LOOPBACK, "localhost"}


def templates(settings: Settings) -> str:
    """Say where the templates of the mails are."""
    Branding.of(settings)
    # Of a broken OPERATOR template only the log would tell, since the built-in one stands in.
    for kind in NoticeKind:
        load_template(kind, settings.templates)
    return str(settings.templates or "the built-in ones")


def mail(settings: Settings) -> str:
    """Say by which server mails go; connects to it."""
    server = load_mail_server(settings)
    signed = ", signed" if server.signing_key(settings.sender_domain) else ""
    try:
        with server.mailer(settings.sender_email) as mailer:
            mailer.connect()
    except ssl.SSLCertVerificationError as err:
        raise FailedCheckError(
            f"the certificate of {server.host} is not trusted: {err.verify_message}",
            "renew the certificate; or name its authority in cafile, or its host, in the block",
        ) from err
    except OSError as err:
        code = getattr(err, "smtp_code", None)
        if code is None:
            raise
        raise FailedCheckError(
            f"{server.host} refuses with {code}",
            "correct username and password in the block, or let the server accept this machine",
        ) from err
    return f"{server.host}:{server.port} ({server.tls}{signed})"


def mail_limit(settings: Settings) -> list[Probe]:
    """Return the check of the limit that senders hold, where one is named."""
    name = settings.mail_limit
    if not name:
        return []

    def look() -> str:
        with get_client(sync_client=True) as client:
            try:
                limit = client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound as err:
                raise FailedCheckError("does not exist, and so no mail is sent") from err
        return f"lets {counted(limit.limit, 'process', 'processes')} send at a time"

    return [(f"mail limit ({name})", look, f"prefect gcl create {name} --limit 1")]


def operator_block(settings: Settings) -> list[Probe]:
    """Return the check of the block that tells operators, where one is named."""
    name = settings.operator_block
    if not name:
        return []

    def look() -> str:
        load_notification_block(name)
        return "gets the operators' notices"

    return [(f"operators ({name})", look, "create the block in the Prefect UI")]


def alerts(settings: Settings) -> str:
    """Say where alerts go."""
    block = load_alerts(settings)
    url = getattr(block, "url", "")
    target = urlsplit(url.get_secret_value() if isinstance(url, SecretStr) else str(url))
    embedded = (target.scheme, target.hostname) == ("mailto", LOOPBACK)
    mail = load_mail_server(settings)
    if embedded and (mail.host, mail.port) != (target.hostname, target.port):
        there = f"{target.hostname}:{target.port}"
        raise FailedCheckError(f"go to a local inbox at {there}, and the notices to {mail.host}")
    if embedded:
        return "go to the local inbox"
    # The block's type is Slack's: of those that every server knows, it takes any address.
    return "go by mail" if target.scheme in {"mailto", "mailtos"} else "are set up"
