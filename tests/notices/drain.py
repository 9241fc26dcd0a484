"""Work through an outbox in a process of its own: drain.py LEDGER_URL PORT NAME SENDER."""

import sys

from sqlalchemy import create_engine, make_url

from relocation.database import engine_options, prepare
from relocation.delivery.context import DeliveryContext
from relocation.delivery.deliver import deliver_due
from relocation.delivery.smtp import Mailer, MailServerSettings
from relocation.ledger.dispatch import DeliveryPolicy
from relocation.ledger.tables import utc_now
from relocation.notices.building import Branding
from relocation.notices.operator import Operator
from relocation.notices.rendering import load_templates
from relocation.settings import Settings

if __name__ == "__main__":
    url, port, name, sender = sys.argv[1:]
    options = engine_options(make_url(url).get_backend_name())
    server = MailServerSettings("127.0.0.1", int(port), "none", None, None, sender)
    with Mailer(server) as mailer:
        delivery = DeliveryContext(
            prepare(create_engine(url, **options)),
            mailer,
            load_templates(),
            Branding.of(Settings(sender_email=sender)),
            DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=True),
        )
        input("ready\n")  # all of them begin at once
        report = deliver_due(delivery, worker=name, now=utc_now)
        print(report)  # noqa: T201 - for the test that reads it
