"""`relocation scan` and `relocation compare`: on files alone, without any service."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from relocation.archive.envelope import seal_export
from relocation.archive.keys import create_private_key, public_key_of
from relocation.archive.records import Record
from relocation.cli.main import app
from relocation.example import example_export, write_export

EXAMPLE = example_export(organizations=2, members=3, projects=2)
KEY = create_private_key(2048)
CLAIMED = {"is_unclaimed": False}
STABLE = [
    record._replace(fields={**record.fields, **CLAIMED})
    if record.model == "sentry.user"
    else record
    for record in EXAMPLE
    if record.model not in {"sentry.monitor", "sentry.querysubscription"}
]
"""Records that may stay as they are; an import has to renew something in the others."""

Put = Callable[[str, bytes | str | list[Record]], Path]


def plain(records: list[Record]) -> bytes:
    out = io.BytesIO()
    write_export(records, out)
    return out.getvalue()


def sealed(text: bytes, private_pem: str = KEY) -> bytes:
    out = io.BytesIO()
    seal_export(text, public_key_of(private_pem), out)
    return out.getvalue()


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def scratch_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; a test can see whether any stay."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a file and return its path."""

    def write(name: str, content: bytes | str | list[Record]) -> Path:
        path = tmp_path / name
        data = plain(content) if isinstance(content, list) else content
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def told(file: Path, *arguments: object, code: int = 0) -> Any:
    """Return what `scan --json` says, which must end with the code."""
    result = run("scan", file, "--json", *arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_scan_says_what_is_in_an_export(put: Put) -> None:
    said = told(put("export.json", EXAMPLE))
    assert said["accepted"] is True
    assert said["format"] == "plain export"
    assert [(one["slug"], one["name"]) for one in said["organizations"]] == [
        ("acme", "Acme"),
        ("birch-labs", "Birch Labs"),
    ]
    for one in said["organizations"]:
        assert one["members"] == sum(
            record.model == "sentry.organizationmember"
            and record.fields["organization"] == one["pk"]
            and record.fields["user_id"] is not None
            for record in EXAMPLE
        )
    assert said["users"] == sum(record.model == "sentry.user" for record in EXAMPLE)
    assert sum(said["records"].values()) == len(EXAMPLE)
    assert said["newest_record"] == max(
        record.fields["date_added"] for record in EXAMPLE if record.fields.get("date_added")
    )
    assert said["in_dependency_order"] is True
    assert said["natural_keys"] is False


def test_scan_accounts_for_every_record_of_the_file(put: Put) -> None:
    """B-4: in the file = left out + skipped + dropped + arriving, for each model."""
    team = next(record for record in EXAMPLE if record.model == "sentry.projectteam")
    orphan = team._replace(pk=7000, fields={**team.fields, "team": 7001})
    stranger = Record("sentry.stranger", 1, {})
    said = told(put("export.json", [*EXAMPLE, orphan, stranger]), "-o", "acme")
    for model, number in said["records"].items():
        left_out = sum(said["left_out"].get(model, {}).values())
        account = said["imported"].get(model, {"read": 0})
        assert number == left_out + account["read"], model
        assert account["read"] == sum(v for k, v in account.items() if k != "read"), model


def test_scan_reads_an_encrypted_archive_with_its_key(put: Put) -> None:
    archive, key = put("acme.tar", sealed(plain(EXAMPLE))), put("key.pem", KEY)
    said = told(archive, "--key", key)
    assert said["format"] == "encrypted archive"
    encrypted_at = datetime.fromisoformat(said["encrypted_at"])
    assert timedelta() <= datetime.now(UTC) - encrypted_at < timedelta(hours=1)
    assert said["records"] == told(put("export.json", EXAMPLE))["records"]


def test_scan_of_some_organizations_moves_nothing_of_the_others(put: Put) -> None:
    said = told(put("export.json", EXAMPLE), "--organizations", "acme")
    assert [one["slug"] for one in said["organizations"] if one["to_move"]] == ["acme"]
    assert said["to_move"]["sentry.project"] == 2
    assert said["left_out"]["sentry.project"] == {"NotRequested": 2}
    assert said["imported"]["sentry.organization"]["inserted"] == 1


@pytest.mark.parametrize(
    "given", [["acme, birch-labs,"], ["acme,\tbirch-labs"], ["acme", "birch-labs"]]
)
def test_slugs_may_come_in_a_list_or_one_by_one(put: Put, given: list[str]) -> None:
    """A-126"""
    options = [word for slugs in given for word in ("-o", slugs)]
    said = told(put("export.json", EXAMPLE), *options)
    assert all(one["to_move"] for one in said["organizations"])


@pytest.mark.parametrize(
    "given", [",,", "acme,,birch-labs", "acme\nbirch-labs", "acme\tbirch-labs"]
)
def test_a_badly_formed_slug_is_refused_by_name(put: Put, given: str) -> None:
    """A-126, A-108"""
    said = told(put("export.json", EXAMPLE), "-o", given, code=1)
    assert said["reason"].startswith("Not a valid organization slug: ")
    assert said["records"]  # what is in the file is told all the same


def test_what_the_import_would_drop_is_told_with_its_primary_keys(put: Put) -> None:
    team = next(record for record in EXAMPLE if record.model == "sentry.projectteam")
    orphans = [
        team._replace(pk=7000 + n, fields={**team.fields, "team": 8000 + n}) for n in range(5)
    ]
    file = put("export.json", [*EXAMPLE, *orphans])
    lost = [f for f in told(file)["findings"] if f["kind"] == "LostReference"]
    assert [finding["pk"] for finding in lost] == [7000, 7001, 7002, 7003, 7004]
    shown = run("scan", file).stdout
    assert re.search(r"sentry\.projectteam +team +5 +7000, 7001, 7002 \.\.\.", shown)


def test_unknown_models_and_fields_are_named(put: Put) -> None:
    team = next(record for record in EXAMPLE if record.model == "sentry.team")
    odd = team._replace(pk=7000, fields={**team.fields, "slug": "odd", "mood": "good"})
    said = told(put("export.json", [*EXAMPLE, odd, Record("sentry.group", 1, {})]))
    assert said["unknown_models"] == ["sentry.group"]
    kinds = {(finding["kind"], finding["model"], finding["field"]) for finding in said["findings"]}
    assert ("UnknownModel", "sentry.group", None) in kinds
    assert ("UnknownField", "sentry.team", "mood") in kinds


def test_unknown_models_do_not_grow_the_report_without_bound(put: Put) -> None:
    strangers = [Record(f"stranger.model{number}", 1, {}) for number in range(1000)]
    said = told(put("export.json", [*EXAMPLE, *strangers]))
    assert len(said["records"]) < 400
    assert sum(said["records"].values()) == len(EXAMPLE) + 1000


def test_an_export_of_an_old_version_would_arrive_whole(put: Put) -> None:
    """A-15, A-47: names for references, models that are no more, any order."""
    names = {r.pk: r.fields["username"] for r in EXAMPLE if r.model == "sentry.user"}
    old = [
        record._replace(fields={**record.fields, "user_id": [names[record.fields["user_id"]]]})
        if record.model == "sentry.organizationmember" and record.fields["user_id"]
        else record
        for record in EXAMPLE
    ]
    removed = [Record("sites.site", 1, {}), Record("sentry.organizationmapping", 1, {})]
    said = told(put("old.json", [*removed, *reversed(old)]))
    assert (said["natural_keys"], said["in_dependency_order"]) == (True, False)
    new = told(put("new.json", EXAMPLE))
    assert said["imported"] == new["imported"]
    assert all(one["inserted"] == one["read"] for one in new["imported"].values())


@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("MAX_ORGANIZATIONS", "1", "at most 1."),
        ("MAX_USERS", "2", "members in total, but one relocation can move at most 2."),
        ("MAX_ARCHIVE_BYTES", "10", "The limit is 10"),
    ],
)
def test_the_limits_of_the_settings_hold(
    put: Put, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, part: str
) -> None:
    """A-108"""
    monkeypatch.setenv(f"RELOCATION_{setting}", value)
    assert part in told(put("export.json", EXAMPLE), code=1)["reason"]


def test_what_is_beyond_the_limits_is_examined_all_the_same(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATION_MAX_ORGANIZATIONS", "1")
    said = told(put("export.json", EXAMPLE), code=1)
    assert len(said["organizations"]) == 2
    assert said["imported"]["sentry.project"]["inserted"] == 4
    assert "Name fewer organizations" in run("scan", put("export.json", EXAMPLE)).stdout


def test_a_record_that_no_destination_takes_is_refused(put: Put) -> None:
    """A-25"""
    user = next(record for record in EXAMPLE if record.model == "sentry.user")
    long = user._replace(fields={**user.fields, "username": "x" * 129})
    records = [long if record is user else record for record in EXAMPLE]
    reason = told(put("export.json", records), code=1)["reason"]
    assert reason.startswith(f"sentry.user {user.pk} cannot be imported: its username")


BAD = {
    "empty": (b"", "The archive file is empty"),
    "cut-off.tar": (sealed(plain(EXAMPLE))[:5000], "cut off or damaged"),
    "object.json": (b'{"a": 1}', "is not a tar file"),
    "numbers.json": (b"[1, 2]", "Element 1 of the export is not an object"),
    "cut-off.json": (plain(EXAMPLE)[:20000], "The export is cut off after element"),
    "no-users.json": (b"[]", "The export contains no users"),
    "binary": (bytes(range(256)) * 50, "is not a tar file"),
    "archive.tar.gz": (
        gzip.compress(sealed(plain(EXAMPLE))),
        "is not a tar file, or it is compressed",
    ),
    "no-organizations.json": (
        plain([record for record in EXAMPLE if record.model == "sentry.user"]),
        "The export contains no organizations",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("keyed", [False, True])
def test_a_bad_file_is_refused_with_a_sentence(
    put: Put, scratch_space: Path, name: str, keyed: bool
) -> None:
    content, part = BAD[name]
    options = ["--key", put("key.pem", KEY)] if keyed else []
    result = run("scan", put(name, content), *options)
    assert result.exit_code == 1
    assert part in result.stdout
    assert "It would be refused." in result.stdout
    assert "Traceback" not in result.output
    assert list(scratch_space.iterdir()) == []


def test_what_was_read_before_a_fault_is_told(put: Put) -> None:
    said = told(put("cut.json", plain(EXAMPLE)[:20000]), code=1)
    assert said["complete"] is False
    assert said["records"]["sentry.organization"] == 2


def test_a_wrong_key_is_told_from_a_missing_one(put: Put) -> None:
    """A-37"""
    archive = put("acme.tar", sealed(plain(EXAMPLE), create_private_key(2048)))
    wrong = run("scan", archive, "--key", put("key.pem", KEY))
    assert wrong.exit_code == 1
    assert "encrypted with a different key" in wrong.stdout
    missing = run("scan", archive)
    assert missing.exit_code == 2
    assert "--key" in missing.stderr


@pytest.mark.parametrize("command", ["scan", "compare"])
@pytest.mark.parametrize("bad", ["folder", "missing", "device", "no permission", "bad key"])
def test_what_cannot_be_worked_on_ends_with_code_2(
    put: Put, tmp_path: Path, command: str, bad: str
) -> None:
    good, key = put("good.json", STABLE), put("key.pem", KEY)
    file = {"folder": tmp_path, "missing": tmp_path / "none", "device": Path("/dev/null")}.get(bad)
    if bad == "no permission":
        good.chmod(0)
        if os.access(good, os.R_OK):
            pytest.skip("nothing is forbidden to this user")
    if bad == "bad key":
        key = put("key.pem", public_key_of(KEY))
    files = [file or good] if command == "scan" else [put("other.json", STABLE), file or good]
    result = run(command, *files, "--key", key)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["scan", "compare"])
def test_a_machine_without_room_for_working_files_ends_with_code_2(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not-there"))
    file = put("export.json", STABLE)
    result = run(command, *[file] * (1 if command == "scan" else 2))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.fullmatch(r"error: .*not-there.*: No such file or directory\n", result.stderr)


def test_a_file_that_fails_while_it_is_read_ends_with_code_2(put: Put) -> None:
    memory = Path("/proc/self/mem")  # nothing is at its beginning: reading there is an I/O error
    if not memory.exists():
        pytest.skip("no file that fails is at hand")
    result = run("compare", put("left.json", STABLE), memory)
    assert result.exit_code == 2
    assert result.stderr.endswith("mem: Input/output error\n")


def test_nothing_stays_of_a_scan(put: Put, scratch_space: Path) -> None:
    told(put("export.json", EXAMPLE))
    run("compare", put("left.json", STABLE), put("right.json", STABLE))
    assert list(scratch_space.iterdir()) == []


INTERRUPTED = """
import os, signal, sys
from relocation.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
working_files = []


def interrupt(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".part"):
        working_files.append(arguments[0])
        if len(working_files) == 2:
            os.kill(os.getpid(), signal.SIGINT)


sys.addaudithook(interrupt)
main()
"""
"""What presses Ctrl-C itself once there is a working file: nobody outside is sure to be in time."""


def test_an_interrupted_scan_leaves_nothing(tmp_path: Path, put: Put) -> None:
    scratch_space = tmp_path / "temporary"
    scratch_space.mkdir()
    interrupted = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "scan", put("export.json", STABLE)],
        env={**os.environ, "TMPDIR": str(scratch_space)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert interrupted.returncode == 128 + signal.SIGINT
    assert interrupted.stdout == ""
    assert "Traceback" not in interrupted.stderr
    assert list(scratch_space.iterdir()) == []


@pytest.mark.parametrize("command", ["scan", "compare"])
def test_neither_command_needs_prefect(tmp_path: Path, put: Put, command: str) -> None:
    file = put("export.json", STABLE)
    files = [str(file)] if command == "scan" else [str(file), str(file)]
    program = (
        "import sys\n"
        "from relocation.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith('prefect')], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, *files],
        env={"PREFECT_API_URL": "http://127.0.0.1:9/api", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "[]\n"
    assert done.stdout
    assert not (tmp_path / ".relocation").exists()


def test_equal_exports_compare_equal_whatever_they_come_in(put: Put) -> None:
    """A-1: encrypted and plain exports of the same data are equal once decrypted."""
    archive = put("acme.tar", sealed(plain(STABLE)))
    result = run("compare", put("plain.json", STABLE), archive, "--key", put("key.pem", KEY))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "equal" in result.stdout


def test_differences_are_told_without_what_they_are_about(put: Put) -> None:
    """A-88, W-31: nulls are kept in JSON, and left out of what a person reads."""
    secret = "the-name-of-a-secret-project"
    project = next(record for record in STABLE if record.model == "sentry.project")
    other = project._replace(fields={**project.fields, "name": secret})
    left = put("left.json", STABLE)
    right = put("right.json", [other if record is project else record for record in STABLE])
    result = run("compare", left, right, "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert said["equal"] is False
    [finding] = said["findings"]
    assert (finding["model"], finding["field"], finding["pk"]) == (
        "sentry.project",
        "name",
        project.pk,
    )
    fewer = put("fewer.json", [record for record in STABLE if record is not project])
    counted = json.loads(run("compare", left, fewer, "--json").stdout)["findings"]
    assert {"field": None, "pk": None}.items() <= counted[0].items()
    shown = run("compare", left, fewer)
    assert shown.exit_code == 1
    assert "None" not in shown.stdout
    assert secret not in result.output


def test_what_is_unknown_is_counted_and_said_not_to_be_compared(put: Put) -> None:
    odd = [*STABLE, Record("sentry.group", 1, {"title": "x"})]
    changed = [*STABLE, Record("sentry.group", 1, {"title": "y"})]
    result = run("compare", put("left.json", odd), put("right.json", changed), "--json")
    assert result.exit_code == 0
    [unknown] = json.loads(result.stdout)["not_compared"]
    assert unknown == {"model": "sentry.group", "field": None, "left": 1, "right": 1}
    more = put("more.json", [*odd, Record("sentry.group", 2, {})])
    assert run("compare", put("left.json", odd), more).exit_code == 1


def test_references_by_name_are_compared(put: Put) -> None:
    """T-13"""
    users = [Record("sentry.user", pk, {"username": name}) for pk, name in ((1, "ann"), (2, "bob"))]
    address = Record("sentry.useremail", 1, {"user": ["bob"], "email": "bob@example.org"})
    now = address._replace(fields={**address.fields, "user": 2})
    wrong = address._replace(fields={**address.fields, "user": 1})
    lost = address._replace(fields={**address.fields, "user": ["nobody"]})
    left = put("left.json", [*users, address])
    assert run("compare", left, put("right.json", [*users, now])).exit_code == 0
    assert run("compare", left, put("right.json", [*users, wrong])).exit_code == 1
    assert run("compare", left, put("right.json", [*users, lost])).exit_code == 1


@pytest.mark.parametrize(
    "name", sorted(BAD.keys() - {"empty", "no-users.json", "no-organizations.json"})
)
def test_an_unreadable_side_ends_with_code_2_and_is_named(put: Put, name: str) -> None:
    content, part = BAD[name]
    result = run("compare", put("good.json", STABLE), put(name, content))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert name in result.stderr
    assert part in result.stderr


def test_a_long_name_is_not_cut_in_a_file_or_pipe(put: Put) -> None:
    shown = run("scan", put("export.json", EXAMPLE)).stdout
    assert "sentry.organizationmemberteam " in shown
