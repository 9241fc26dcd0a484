"""The file of a plan, and what a request may ask for."""

from pathlib import Path

import pytest

from relocation.errors import RelocationError, RequestError
from relocation.plan import COLUMNS, Plan, read_plan, write_plan
from relocation.request import RelocationRequest, check_request
from relocation.settings import Settings


def ask(**plan: object) -> RelocationRequest:
    return RelocationRequest(
        archive="a.tar", organizations=["acme", "birch"], owner="olivia", plan=plan
    )


def test_a_proposal_changes_nothing_until_somebody_edits_it(tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    write_plan(
        file,
        [
            {"kind": "user", "name": "=ann, «x»", "status": "exists", "candidate": "7"},
            {"kind": "organization", "name": "acme", "status": "taken"},
        ],
    )
    assert read_plan(file) == Plan()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == list(COLUMNS)
    edited = [lines[0], '"user","=ann, «x»",7,,,', "organization,acme,globex,,,"]
    file.write_text("\ufeff" + "\r\n".join(edited), encoding="utf-8")  # as spreadsheets save it
    assert read_plan(file) == Plan(users={"=ann, «x»": 7}, slugs={"acme": "globex"})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind,name\nuser,ann", 1),
        ("kind,name,becomes\nuser,ann,ann", 2),
        ("kind,name,becomes\nuser,ann,-7", 2),
        ("kind,name,becomes\nuser,ann,7\nuser,ann,8", 3),
        ("kind,name,becomes\ngroup,ann,7", 2),
        ("kind,name,becomes\norganization,a,b\norganization,a,c", 3),
        ("", 1),
    ],
)
def test_a_line_that_cannot_be_obeyed_is_named(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "plan.csv"
    file.write_text(text)
    with pytest.raises(RequestError, match=f"Line {line} "):
        read_plan(file)


@pytest.mark.parametrize(
    "plan",
    [
        {"slugs": {"other": "x"}},
        {"slugs": {"acme": "Not A Slug"}},
        {"slugs": {"acme": "123"}},
        {"slugs": {"acme": "x" * 51}},
        {"slugs": {"acme": "x", "birch": "x"}},
        {"users": {"ann": 7, "bob": 7}},
    ],
)
def test_a_plan_that_no_destination_could_obey_is_refused(plan: dict[str, object]) -> None:
    with pytest.raises(RelocationError):
        check_request(ask(**plan), Settings(_env_file=None))


def test_a_sound_plan_is_taken() -> None:
    plan = {"slugs": {"acme": "globex", "birch": "birch-2"}, "users": {"ann": 7, "bob": 8}}
    check_request(ask(**plan), Settings(_env_file=None))
