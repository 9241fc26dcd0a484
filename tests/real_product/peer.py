"""Answer questions about a database with the product's own code: Python 3.8, a line a question.

Reads {"ask": name, ...arguments} from standard input, and writes {"answer": ...} or
{"error": ...} for each. It runs inside the product's environment and imports nothing of ours.
"""

import json
import os
import sys
import threading
import traceback
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever the product prints is no answer


class Queries(BaseHTTPRequestHandler):
    """Stands where the product runs its queries: takes each subscription, and counts nothing."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/subscriptions"):
            self.say(202, {"subscription_id": f"0/{uuid.uuid4().hex}"})
        else:
            self.say(200, {"data": [{"count": 0}], "meta": [{"name": "count", "type": "UInt64"}]})

    def do_DELETE(self):
        self.say(202, {})

    def say(self, status, body):
        written = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)


queries = ThreadingHTTPServer(("127.0.0.1", 0), Queries)
threading.Thread(target=queries.serve_forever, daemon=True).start()
os.environ["SNUBA"] = f"http://127.0.0.1:{queries.server_port}"

from sentry.runner import configure  # noqa: E402

configure()

from unittest.mock import patch  # noqa: E402

import growing  # noqa: E402
import redis  # noqa: E402
from django.apps import apps  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.exceptions import ValidationError  # noqa: E402
from django.db import DatabaseError, connection, models, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from sentry import models as sentry  # noqa: E402
from sentry.snuba.models import QuerySubscription  # noqa: E402

settings.ALLOWED_HOSTS = ["*"]
CREATE = "sentry.snuba.tasks.create_subscription_in_snuba.delay"
clients = {}


def use(database):
    """Turn to another database; nothing is remembered of the one before."""
    connection.close()
    connection.settings_dict["NAME"] = database
    redis.Redis(port=int(os.environ["REAL_REDIS_PORT"])).flushall()
    cache.clear()
    clients.clear()


def person(username, password=None, **fields):
    user = sentry.User(username=username, email=username, name=username.split("@")[0], **fields)
    user.set_password(password or "nobody-knows-7162")
    user.save()
    return user.id


def login(username, password):
    if username in clients:  # it counts how often somebody tries
        return [302, "_auth_user_id" in clients[username].session]
    client = clients[username] = Client(SERVER_NAME="127.0.0.1")
    client.get("/auth/login/")  # it looks for the cookie that this sets
    said = client.post("/auth/login/", {"op": "login", "username": username, "password": password})
    return [said.status_code, "_auth_user_id" in client.session]


def call(username, method, path, body=None):
    """Send one request as somebody who is logged in, or as nobody."""
    client = clients.get(username) or Client(SERVER_NAME="127.0.0.1")
    given = {"data": json.dumps(body), "content_type": "application/json"} if body else {}
    said = getattr(client, method)(path, **given)
    kind = said.get("Content-Type", "")
    shown = json.loads(said.content) if "json" in kind and said.content else None
    return {"status": said.status_code, "to": said.get("Location", ""), "json": shown}


def fill():
    """Make an organization as people do, with something of everything that they look at."""
    person("ann@example.org", "ann-s-password-1")
    person("ben@example.org", "ben-s-password-1")
    ann, ben = (sentry.User.objects.get(username=f"{one}@example.org") for one in ("ann", "ben"))
    acme = sentry.Organization.objects.create(name="Acme", slug="acme")
    member = sentry.OrganizationMember.objects.create
    owner = member(organization=acme, user_id=ann.id, role="owner")
    plain = member(organization=acme, user_id=ben.id, role="member")
    member(organization=acme, email="cid@example.org", role="member", token="t" * 64)
    team = sentry.Team.objects.create(organization=acme, name="Core", slug="core")
    for one in (owner, plain):
        sentry.OrganizationMemberTeam.objects.create(team=team, organizationmember=one)
    web = sentry.Project.objects.create(
        organization=acme, name="Web", slug="web", platform="python"
    )
    web.add_team(team)
    sentry.ProjectKey.objects.create(project=web, label="Second")
    sentry.Environment.get_or_create(web, "production")
    sentry.UserIP.objects.create(user=ben, ip_address="2001:db8::7")
    login("ann@example.org", "ann-s-password-1")
    made = [
        call(
            "ann@example.org",
            "post",
            "/api/0/projects/acme/web/rules/",
            {
                "name": "Tell the team",
                "owner": f"team:{team.id}",
                "actionMatch": "any",
                "filterMatch": "all",
                "frequency": 30,
                "conditions": [
                    {"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}
                ],
                "actions": [
                    {
                        "id": "sentry.mail.actions.NotifyEmailAction",
                        "targetType": "Team",
                        "targetIdentifier": team.id,
                    }
                ],
            },
        ),
        call(
            "ann@example.org",
            "post",
            "/api/0/organizations/acme/dashboards/",
            {"title": "Overview", "widgets": []},
        ),
        call(
            "ann@example.org",
            "post",
            "/api/0/organizations/acme/monitors/",
            {
                "project": "web",
                "name": "Nightly",
                "slug": "nightly",
                "type": "cron_job",
                "config": {"schedule_type": "crontab", "schedule": "0 0 * * *"},
            },
        ),
    ]
    from sentry.incidents.logic import create_alert_rule, create_alert_rule_trigger
    from sentry.incidents.models import AlertRuleThresholdType
    from sentry.models.actor import ActorTuple

    rule = create_alert_rule(
        acme,
        [web],
        "Too many",
        "level:error",
        "count()",
        10,
        AlertRuleThresholdType.ABOVE,
        1,
        owner=ActorTuple(team.id, sentry.Team),
    )
    create_alert_rule_trigger(rule, "critical", 100)
    QuerySubscription.objects.filter(project=web).update(status=0, subscription_id="1/" + "a" * 32)
    return [[one["status"], one["json"] if one["status"] >= 300 else None] for one in made]


def validate():
    """Load every row through its model, and count what its validation says, by model and field.

    That a field is empty which people have to fill in a form is no fault of a row.
    """
    said = Counter()
    loaded = Counter()
    for model in apps.get_app_config("sentry").get_models():
        for row in model._default_manager.all():
            loaded[model._meta.db_table] += 1
            try:
                row.full_clean()
            except ValidationError as err:
                for field, errors in err.error_dict.items():
                    for one in (one for one in errors if one.code != "blank"):
                        said[f"{model._meta.model_name}.{field}: {one.code}"] += 1
    return {"loaded": loaded, "said": said}


def dangling():
    """Count references to rows that are not there, with a constraint behind them or without."""
    found = Counter()
    for model in apps.get_app_config("sentry").get_models():
        for field in model._meta.concrete_fields:
            target = getattr(field, "related_model", None)
            if target is None and hasattr(field, "foreign_model_name"):
                target = apps.get_model(field.foreign_model_name)
            if (
                target is None
                or not isinstance(target, type)
                or not issubclass(target, models.Model)
            ):
                continue
            missing = model._default_manager.exclude(**{field.attname: None}).exclude(
                **{f"{field.attname}__in": target._default_manager.values("pk")}
            )
            if count := missing.count():
                found[f"{model._meta.db_table}.{field.column}"] = count
    return found


def add_rows(tables):
    """Insert a copy of the last row of each table, under the key that its sequence gives next."""
    refused = {}
    for model in apps.get_models():
        row = model._default_manager.order_by("pk").last()
        if model._meta.db_table not in tables or row is None:
            continue
        names = [f'"{f.column}"' for f in model._meta.concrete_fields if not f.primary_key]
        listed = ", ".join(names)
        table = model._meta.db_table
        try:
            with transaction.atomic(using="default"), connection.cursor() as cursor:
                cursor.execute(
                    f'INSERT INTO "{table}" ({listed}) '
                    f'SELECT {listed} FROM "{table}" WHERE id = %s',
                    [row.pk],
                )
                transaction.set_rollback(True, using="default")
        except DatabaseError as err:
            if "_pkey" in str(err):
                refused[table] = str(err)
    return refused


def drain():
    """Run the product's own job for its outbox."""
    from sentry.celery import app
    from sentry.tasks.deliver_from_outbox import enqueue_outbox_jobs

    app.conf.task_always_eager = True
    for _ in range(20):
        enqueue_outbox_jobs()
        if not sentry.RegionOutbox.objects.exists():
            break
    app.conf.task_always_eager = False
    return {
        "left": sentry.RegionOutbox.objects.count(),
        "organizations": sentry.OrganizationMapping.objects.count(),
        "members": sentry.OrganizationMemberMapping.objects.count(),
    }


def stuck_subscriptions():
    """Run the product's checker, and say which subscriptions it would create."""
    from sentry.snuba.tasks import subscription_checker

    with patch(CREATE) as create:
        subscription_checker()
    return sorted(one[1]["query_subscription_id"] for one in create.call_args_list)


def subscribe():
    """Run the product's checker and what it has done, and say what became of each subscription."""
    from sentry.celery import app
    from sentry.snuba.tasks import subscription_checker

    app.conf.task_always_eager = True
    subscription_checker()
    app.conf.task_always_eager = False
    return list(QuerySubscription.objects.order_by("id").values_list("status", "subscription_id"))


def resolve(public_key):
    """Say whose events a DSN's key stands for."""
    key = sentry.ProjectKey.objects.get_from_cache(public_key=public_key)
    return [key.project.slug, key.project.organization.slug, key.is_active]


def invite(slug):
    """Return what an invited person is told: the page asks for it."""
    one = sentry.OrganizationMember.objects.get(organization__slug=slug, email="cid@example.org")
    one.regenerate_token()
    one.save()
    return call("", "get", f"/api/0/accept-invite/{one.id}/{one.token}/")


def claim(user_id, token, password):
    """Set a password by the link of a mail."""
    client = Client(SERVER_NAME="127.0.0.1")
    path = f"/account/recover/confirm/{user_id}/{token}/"
    opened = client.get(path).status_code
    user = sentry.User.objects.get(id=user_id)
    given = {"user": user.username, "password": password, "username": user.username}
    return [opened, client.post(path, given).status_code, login(user.username, password)]


def delete(slug):
    """Delete an organization as the product does when its owner asks for it."""
    from sentry import deletions

    organization = sentry.Organization.objects.get(slug=slug)
    task = deletions.get(model=sentry.Organization, query={"id": organization.id})
    with patch("sentry.snuba.tasks.delete_subscription_from_snuba.delay"):
        while task.chunk():
            pass
    return sentry.Organization.objects.filter(slug=slug).count()


ASKED = {
    one.__name__: one
    for one in (
        use,
        person,
        login,
        call,
        fill,
        validate,
        dangling,
        add_rows,
        drain,
        stuck_subscriptions,
        subscribe,
        resolve,
        invite,
        claim,
        delete,
    )
}
ASKED.update(growing.ASKED)


def main():
    answers.write(json.dumps({"answer": "ready"}) + "\n")
    answers.flush()
    for line in sys.stdin:
        given = json.loads(line)
        try:
            said = {"answer": ASKED[given.pop("ask")](**given)}
        except Exception:  # noqa: BLE001 - whatever it raises is told
            said = {"error": traceback.format_exc()}
        answers.write(json.dumps(said, default=str) + "\n")
        answers.flush()


main()
