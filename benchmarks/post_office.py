"""django-post-office: what people use instead of the outbox, with its own sending in batches.

A process of its own: `python -m benchmarks.post_office DATABASE PORT MAILS` reads a message, queues
it for as many recipients, and prints the seconds that sending takes. A mail that is under way when
it dies is sent again, and so is the rest of its batch.
"""

import email
import email.policy
import json
import logging
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Engine, text

BATCH = 100
"""Its default, and ours."""


def seconds_of_post_office(ledger: Engine, port: int, mails: int, wire: bytes) -> float:
    """Return the seconds that it needs, in a database of its own on the ledger's server."""
    with ledger.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS post_office"))
        connection.execute(text("CREATE DATABASE post_office"))
    url = ledger.url
    database = {
        "NAME": "post_office",
        "USER": url.username,
        "PASSWORD": url.password or "",
        "HOST": url.query.get("host", url.host),
        "PORT": url.port or "",
    }
    command = [sys.executable, "-m", "benchmarks.post_office", json.dumps(database)]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, str(port), str(mails)], input=wire, capture_output=True, check=True
    )
    return float(done.stdout)


def versions() -> str:
    """Say which versions are measured."""
    return f"django-post-office {version('django-post-office')} on Django {version('django')}"


def _send(database: dict[str, str], port: int, mails: int, wire: bytes) -> float:
    import django  # noqa: PLC0415 - once it is imported it is there for good
    from django.conf import settings  # noqa: PLC0415

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **database}},
        INSTALLED_APPS=["django.contrib.contenttypes", "post_office"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        POST_OFFICE={
            "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
            "BATCH_SIZE": BATCH,
        },
    )
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from post_office import mail  # noqa: PLC0415
    from post_office.models import STATUS, Email  # noqa: PLC0415

    logging.disable()
    call_command("migrate", verbosity=0)
    message = email.message_from_bytes(wire, policy=email.policy.default)
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    one = {
        "sender": "noreply@relocation.example.org",
        "subject": str(message["Subject"]),
        "message": plain.get_content(),
        "html_message": html.get_content(),
    }
    mail.send_many([{**one, "recipients": [f"{n}@example.org"]} for n in range(mails)])
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        mail.send_queued_mail_until_done(lockfile=str(Path(folder, "lock")))
        seconds = time.perf_counter() - begin
    assert Email.objects.filter(status=STATUS.sent).count() == mails
    return seconds


if __name__ == "__main__":
    wire = sys.stdin.buffer.read()
    print(_send(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), wire))
