"""Every reason the project can give is found in its source, and its mail says what to do.

The walk reads the source: each call of an error class, and the sentence it is called with.
"""

import ast
import importlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import pytest

from relocation import errors
from relocation.errors import MAX_REASON, NOTHING_TO_DO, RelocationError
from relocation.ledger.dispatch import LeaseLostError
from relocation.ledger.settle import UNEXPLAINED
from relocation.notices.building import Branding, NoticeError, build_notice
from relocation.notices.failure import Destination, failure_drafts
from relocation.notices.rendering import Templates
from relocation.notices.samples import REASONS
from relocation.request import RelocationRequest
from relocation.steps import POLICIES

ROOT = Path(__file__).parents[2]
FILLING = "acme"
UNTOLD = {
    errors.CannotRenewError,
    errors.CommandError,
    errors.FencedOut,
    errors.RevealedError,
    errors.UnknownRelocationError,
    LeaseLostError,
    NoticeError,
}
"""No FAILED notice can tell them: they end no relocation."""


def _classes(base: type[RelocationError] = RelocationError) -> Iterator[type[RelocationError]]:
    yield base
    for one in base.__subclasses__():
        yield from _classes(one)


BY_NAME = {one.__name__: one for one in _classes() if not one.__module__.startswith("test")}


class _Module:
    """A module's source: which sentences an expression in it can be."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.relative_to(ROOT))
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.assigned: dict[str, list[ast.expr]] = {}
        self.functions: dict[str, list[ast.expr]] = {}
        self.imported: dict[str, str] = {}
        """The file that a name comes from."""
        self.parameters: dict[str, tuple[str, int]] = {}
        """The functions that have a parameter of this name, and its place."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.assigned.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if node.value is not None:
                    self.assigned.setdefault(node.target.id, []).append(node.value)
            elif isinstance(node, ast.ImportFrom):
                file = f"{(node.module or '').replace('.', '/')}.py"
                self.imported |= {alias.name: file for alias in node.names}
            elif isinstance(node, ast.FunctionDef):
                returned = [r.value for r in ast.walk(node) if isinstance(r, ast.Return)]
                self.functions[node.name] = [value for value in returned if value is not None]
                for place, parameter in enumerate(node.args.args):
                    self.parameters[parameter.arg] = (node.name, place)

    def passed(self, function: str, place: int) -> Iterator[ast.expr]:
        """Yield what is passed to a function in one place."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == function and len(node.args) > place:
                yield node.args[place]

    def errors(self) -> Iterator[tuple[int, type[RelocationError], ast.expr]]:
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in BY_NAME and node.args:
                yield node.lineno, BY_NAME[node.func.id], node.args[0]

    def sentences(self, node: ast.expr) -> list[str]:
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=parts):
                return [
                    "".join(str(p.value) if isinstance(p, ast.Constant) else FILLING for p in parts)
                ]
            case ast.IfExp(body=one, orelse=other):
                options = [one, other]
            case ast.Name(id=name) if name in self.assigned:
                options = self.assigned[name]
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                options = self.functions[name]
            case ast.Subscript(value=ast.Name(id=name)) if name in self.assigned:
                (table,) = self.assigned[name]
                options = table.values if isinstance(table, ast.Dict) else []
            case ast.Attribute(value=ast.Name(id="policy" | "told"), attr="reason"):
                return [policy.reason for policy in POLICIES.values()]
            case ast.Name(id=name) if name in self.parameters:
                return [
                    sentence
                    for module in _modules()
                    for passed in module.passed(*self.parameters[name])
                    for sentence in module.sentences(passed)
                ]
            case ast.Name(id=name) if name in self.imported:
                return [
                    sentence
                    for module in _modules()
                    if module.name == self.imported[name]
                    for value in module.assigned.get(name, ())
                    for sentence in module.sentences(value)
                ]
            case _:
                options = []
        return [sentence for option in options for sentence in self.sentences(option)]


@cache
def _modules() -> list[_Module]:
    return [
        _Module(path)
        for folder in ("flows", "tasks", "relocation")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


@cache
def _sites() -> list[tuple[str, _Module, type[RelocationError], ast.expr]]:
    """Return each call of an error class: its place, the module, the class and what it is given."""
    return [
        (f"{module.name}:{line}", module, cls, argument)
        for module in _modules()
        for line, cls, argument in module.errors()
        if module.name not in {"relocation/errors.py", "relocation/notices/samples.py"}
    ]


def _told() -> Iterator[tuple[str, type[RelocationError] | None, str]]:
    """Yield the sentences that a FAILED notice can tell: the place, the class and the sentence."""
    for site, module, cls, argument in _sites():
        if cls not in UNTOLD:
            yield from ((site, cls, sentence) for sentence in module.sentences(argument))
    yield from ((task.value, None, policy.reason) for task, policy in POLICIES.items())
    yield from (("settled", None, sentence) for sentence in _settled())
    yield "unexplained", None, UNEXPLAINED


def _settled() -> list[str]:
    """Return what the settling process says where nothing was raised, or not in it."""
    return [
        sentence
        for module in _modules()
        if module.name == "relocation/recovery/settlement.py"
        for said in module.functions["_why"]
        if isinstance(said, ast.Tuple)
        for sentence in module.sentences(said.elts[0])
    ]


def test_the_walk_finds_the_raise_sites() -> None:
    """It would prove nothing if it found none: these are few of many, in every layer."""
    found = {module.name for _, module, _, _ in _sites()}
    assert {
        "tasks/receive.py",
        "relocation/request.py",
        "relocation/transfer/prepare/scan.py",
    } <= found
    assert len(list(_told())) > 60
    assert "it was interrupted" in " ".join(_settled())


def test_a_reason_is_raised_as_a_class_of_the_catalogue(subtests: pytest.Subtests) -> None:
    for site, module, cls, argument in _sites():
        with subtests.test(site):
            assert cls not in {errors.RelocationError, errors.PermanentError}, (
                "say what its reader can do: choose a subclass in relocation/errors.py, or add one"
            )
            assert module.sentences(argument), "write the sentence where the walk can read it"


def test_every_reason_gives_a_mail_that_says_what_failed_and_what_to_do(
    subtests: pytest.Subtests,
    branding: Branding,
    templates: Templates,
    text_of: Callable[[EmailMessage], str],
    html_of: Callable[[EmailMessage], str],
) -> None:
    for place, cls, sentence in _told():
        advice = cls(sentence).next_step if cls else NOTHING_TO_DO
        with subtests.test(place, sentence=sentence):
            assert len(sentence) <= MAX_REASON
            assert sentence.rstrip()[-1] in ".:"
            message = _mail(sentence, advice, branding, templates)
            for part in (text_of(message), html_of(message)):
                shown = part.replace("\u2060", "").replace("&#34;", '"').replace("&#39;", "'")
                assert sentence.strip() in shown
                assert advice.replace("'", "&#39;") in part or advice in shown


def _mail(sentence: str, advice: str, branding: Branding, templates: Templates) -> EmailMessage:
    request = RelocationRequest(archive="a", organizations=["acme"], owner="olivia")
    (draft,) = failure_drafts(
        request,
        reason=sentence,
        advice=advice,
        destination=Destination.UNCHANGED,
        operator="operator@example.org",
        now=datetime(2026, 3, 19, 14, 5, tzinfo=UTC),
    )
    return build_notice(
        draft.kind,
        recipient=draft.recipient,
        context={**draft.context, "relocation_id": "r-1"},
        message_id="<abc@relocation.example.org>",
        date=datetime(2026, 3, 19, 14, 6, tzinfo=UTC),
        branding=branding,
        templates=templates,
    )


def test_only_a_fault_that_an_operator_mends_leaves_the_reader_nothing_to_do() -> None:
    idle = {cls.__name__ for cls in BY_NAME.values() if cls.next_step == NOTHING_TO_DO}
    idle -= {cls.__name__ for cls in UNTOLD}
    ours = {"ConfigurationError", "TransientError", "TriesUsedUpError"}
    assert idle == ours | {"RelocationError", "PermanentError"}


def test_the_samples_show_every_class_that_can_be_told() -> None:
    told = {cls for cls in BY_NAME.values() if cls not in UNTOLD}
    told -= {errors.RelocationError, errors.PermanentError}
    assert {type(error) for error in REASONS} == told


def test_no_class_is_made_outside_the_catalogue() -> None:
    """A class of another module would have no line that a reader of the catalogue sees."""
    for name in ("relocation.notices.building", "relocation.ledger.dispatch"):
        importlib.import_module(name)
    elsewhere = {cls for cls in BY_NAME.values() if cls.__module__ != errors.__name__}
    assert elsewhere <= UNTOLD
