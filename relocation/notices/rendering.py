"""Load the templates of the notices, and fill them in.

Every value is untrusted unless it says otherwise: HTML is escaped, and what looks like a link is
broken so that no mail client makes it one (M-11).
"""

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from textwrap import shorten
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateSyntaxError
from markupsafe import Markup, escape

from relocation.errors import ConfigurationError
from relocation.notices.inlining import (
    TemplateInliningError,
    flatten,
    html_environment,
    inline_css,
)
from relocation.notices.kinds import NoticeKind
from relocation.text import counted, one_line

MAX_SUBJECT = 150
MAX_PREHEADER = 95
MAX_NAME = 60
MAX_SENTENCE = 120
MAX_LISTED = 10

_BUILT_IN = Path(__file__).parents[2] / "templates"
_LINK_LIKE = re.compile(r"(?<=\S)([.\u3002\uff0e\uff61@])(?=[^\W\d_])|(:)(?=//)")
_USERNAME = re.compile(r"[\w.@+ -]+")
_WORD_JOINER = "\u2060"
_BLANK_LINES = re.compile(r"\n{3,}")
_log = logging.getLogger(__name__)


class Trusted(str):
    """Text that a notice may show as it is: the operator's own, or a link of ours."""

    __slots__ = ()


@dataclass(frozen=True)
class NoticeTemplate:
    """The three templates of a kind; the HTML one has its CSS inlined."""

    subject: Template
    text: Template
    html: Template


class Templates(Mapping[NoticeKind, NoticeTemplate]):
    """The templates by kind, each loaded and inlined when it is first asked for.

    One that is broken keeps no other from being used: asking for it raises ConfigurationError,
    which names it. Only the OPERATOR notice, which has to tell of that, is then the built-in one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise _unusable(folder, "it is no folder")
        self._folder = folder
        self._loaded: dict[NoticeKind, NoticeTemplate] = {}

    def __getitem__(self, kind: NoticeKind) -> NoticeTemplate:
        if kind not in self._loaded:
            self._loaded[kind] = self._load(kind)
        return self._loaded[kind]

    def __iter__(self) -> Iterator[NoticeKind]:
        return iter(NoticeKind)

    def __len__(self) -> int:
        return len(NoticeKind)

    def _load(self, kind: NoticeKind) -> NoticeTemplate:
        try:
            return load_template(kind, self._folder)
        except ConfigurationError as err:
            if kind is not NoticeKind.OPERATOR or self._folder is None:
                raise
            _log.warning("The built-in OPERATOR templates are used: %s", err.internal)
            return load_template(kind, None)


@dataclass(frozen=True)
class Rendered:
    """A notice in words, not yet a message."""

    subject: str
    text: str
    html: str


@cache
def load_templates(folder: Path | None = None) -> Templates:
    """Return the templates, the same ones throughout a process; `folder` replaces built-in files.

    Raises ConfigurationError where there is no such folder.
    """
    return Templates(folder)


def render(template: NoticeTemplate, values: Mapping[str, Any]) -> Rendered:
    """Fill in the three templates.

    The HTML gets `subject`, and `preheader`, what an inbox shows beside the subject: the text's
    first paragraph. Raises jinja2.TemplateError, as for a value that is missing. In place of the
    reference's `render_html_body`.
    """
    subject = one_line(template.subject.render(values), limit=MAX_SUBJECT, keep=_WORD_JOINER)
    text = _BLANK_LINES.sub("\n\n", template.text.render(values)).strip() + "\n"
    preheader = shorten(text.partition("\n\n")[0], MAX_PREHEADER, placeholder=" …")
    html = template.html.render(values, subject=subject, preheader=preheader).strip() + "\n"
    return Rendered(subject, text, html)


def load_template(kind: NoticeKind, folder: Path | None) -> NoticeTemplate:
    """Load and inline the templates of a kind; ConfigurationError names one that is broken."""
    name = kind.lower()
    text = _with_filters(
        Environment(  # noqa: S701 - plain text has nothing to escape
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
    )
    html = _with_filters(html_environment())
    try:
        source = flatten(_read("layout.html", folder), _read(f"{name}/body.html", folder))
        return NoticeTemplate(
            subject=text.from_string(_read(f"{name}/subject.txt", folder)),
            text=text.from_string(
                flatten(_read("layout.txt", folder), _read(f"{name}/body.txt", folder))
            ),
            html=html.from_string(inline_css(source, _read("notice.css", folder))),
        )
    except (TemplateSyntaxError, TemplateInliningError, UnicodeDecodeError) as err:
        raise _unusable(folder or _BUILT_IN, f"{name}: {err}") from err


def _read(name: str, folder: Path | None) -> str:
    """Return the source of a template, the operator's own before the built-in one."""
    own = folder / name if folder else None
    return (own if own and own.is_file() else _BUILT_IN / name).read_text(encoding="utf-8")


def _unusable(folder: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "The templates of the notices cannot be used.", internal=f"{folder}: {why}"
    )


def _with_filters(environment: Environment) -> Environment:
    environment.finalize = _shown
    environment.filters |= {
        "listed": _listed,
        "short": _short,
        "moment": _moment,
        "counted": counted,
        "capitalized": _capitalized,
        "cut": partial(one_line, limit=MAX_SENTENCE),
        "copied": _copied_html if environment.autoescape else _copied,
    }
    return environment


def _shown(value: Any) -> Any:
    if isinstance(value, Trusted | Markup) or not isinstance(value, str):
        return value
    return _isolated(_defused(value))


def _copied(text: str) -> str:
    """Return a text that its reader copies, such as a username, to the letter.

    One with characters that no username has is broken as all others are.
    """
    return Trusted(text) if _USERNAME.fullmatch(text) else text


def _copied_html(text: str) -> Markup | str:
    """Return a text that its reader copies; marks alone keep it from becoming a link."""
    if isinstance(text, Trusted) or not _USERNAME.fullmatch(text):
        return text
    return Markup(_LINK_LIKE.sub(lambda match: f"<span>{match[0]}</span>", str(escape(text))))  # noqa: S704 - escaped


def _isolated(text: str) -> str:
    """Keep the words around it in their order where a text runs from right to left."""
    return f"\u2068{text}\u2069" if any(map(_runs_leftwards, text)) else text


def _runs_leftwards(char: str) -> bool:
    return unicodedata.bidirectional(char) in {"R", "AL"}


def _defused(text: str) -> str:
    """Put a word joiner where a mail client would see a link or an address (M-11)."""
    return _LINK_LIKE.sub(lambda match: match[0] + _WORD_JOINER, text)


def _listed(items: Sequence[str], show: int = MAX_LISTED) -> str:
    """Join names for a sentence, with "and N more" past `show` of them."""
    shown = [_isolated(one_line(item, limit=MAX_NAME)) for item in items[:show]]
    rest = len(items) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _short(text: str, limit: int = MAX_NAME) -> str:
    """Return a name cut to a bearable length; one that needs no cut stays as trusted as it was."""
    line = one_line(text, limit=limit)
    return text if line == text else line


def _moment(stamp: str) -> str:
    """Return an ISO time as "19 March 2026, 14:05 UTC", and an ISO date without the hour."""
    moment = datetime.fromisoformat(stamp)
    day = f"{moment.day} {moment:%B %Y}"
    if len(stamp) == len("2026-03-19"):
        return day
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


def _capitalized(words: str) -> str:
    """Return words with a capital first letter, the others as they are: "API keys"."""
    return words[:1].upper() + words[1:]
