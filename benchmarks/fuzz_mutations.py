"""Change a good export, and a good archive, in all the ways that a stranger might."""

import base64
import copy
import io
import json
import tarfile
from collections.abc import Callable
from random import Random
from typing import Any

from relocation.catalogue import load_catalogue

SECRET = "s3cr3t-0f-n0b0dy"  # noqa: S105 - what no reason may show
Elements = list[Any]

ODD_NUMBERS: list[Any] = [
    *(0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1),
    *(0.0, -0.0, 1.0, 1.5, 1e308, 5e-324, 10**30, 10**400),
    *(float("nan"), float("inf"), float("-inf")),
]
ODD_DATES: list[Any] = [
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00"),
    *("2023-02-30T00:00:00Z", "1883-11-18T12:03:57-23:59", "2023-06-22", "T", "2023-W01-1"),
    *("2016-12-31T23:59:60Z", "-4713-01-01T00:00:00Z", "294277-01-01T00:00:00Z", "infinity"),
    *("2023-06-22T22:54:28.773Z" + "0" * 300, "٢٠٢٣-٠٦-٢٢T٢٢:٥٤:٢٨Z"),
]
ODD_TEXTS: list[Any] = [
    *("", " ", "\0", "a\0b", "\ud800", "\udc00x", "\u202e\u2066", "\x1b[2J", "\r\n", "é" * 40),
    *(
        "x" * 31,
        "x" * 129,
        "x" * 300,
        "x" * 70_000,
        "😀" * 200,
        "\uff41\uff43\uff4d\uff45",
        "İ",
        "ß",
        "ACME ",
        "acme",
    ),
    *("null", "true", "1", "1e999", "NaN", "9" * 5000, '"', "'", "\\", "%s", "{0}", "$(id)", "--"),
    *("127.0.0.1", "::1", "fe80::1%eth0", "1.2.3.4/8", "::ffff:1.2.3.4", "256.1.1.1"),
    *("00000000-0000-0000-0000-000000000000", "0" * 32, "urn:uuid:" + "1" * 32, "{" + "1" * 32),
    *("[]", "['a'", "[" * 2000, '{"a":' * 300 + "1" + "}" * 300, "[" * 900 + "]" * 900),
    *("['a', None, 1.5]", "[1+1]", "[" + "-" * 3000 + "1]", "()", "__import__('os')"),
    *('{"a": NaN}', '{"a": "\\u0000"}', '"\\ud800"', "[" + "[]," * 3000 + "[]]"),
    *("UTC", "../../etc/passwd", "sentry", "404", "-", "a" * 50 + "-", "Größe", "x,y;z", "a/b"),
    *("'; DROP TABLE auth_user; --", "<script>alert(1)</script>", "\\N", "\\.", "\t"),
]
ODD_SHAPES: list[Any] = [
    *(None, True, False, [], {}, [None], [[]], {"": None}, ["ada"], ["ada", "ben"], [1], {"pk": 1}),
    *({"a\0": 1}, {"\ud800": 1}, {"a": {"b": [10**30]}}, [float("nan")], ["\0"], list(range(3000))),
    json.loads("[" * 29 + "]" * 29),
    json.loads("[" * 120 + "]" * 120),
    {str(number): [[], {}] for number in range(500)},
]
ODD = (ODD_NUMBERS, ODD_DATES, ODD_TEXTS, ODD_SHAPES)
PIECES = [
    *(b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b'"', b"\\", b"\\u0000", b"\\ud800", b"["),
    *(b"]", b"{", b"}", b",", b":", b"9" * 30, b"9" * 5000, b"NaN", b"-", b"1e999", b"[" * 40),
    *(b"\xef\xbb\xbf", b"/**/", b"\r\n", b'{"model":"a.b","pk":1,"fields":{}},', b" " * 5000),
]


def change_export(random: Random, good: Elements) -> bytes:
    """Return the text of an export that was changed in one to four ways."""
    elements = copy.deepcopy(good)
    for _ in range(random.choice((1, 1, 2, 4))):
        _pick(random, _ELEMENTS, (random, elements))
    text = json.dumps(elements, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return _change_bytes(random, text) if random.random() < 0.15 else text


def change_archive(random: Random, archive: bytes) -> bytes:
    """Return an archive that was changed in its bytes, its headers or its members."""
    change = random.choice((_change_bytes, _change_headers, _change_headers, _change_members))
    return change(random, archive)


def _pick(random: Random, among: list[Callable[..., None]], given: tuple[Any, ...]) -> None:
    random.choice(among)(*given)


def _some(random: Random, elements: Elements) -> dict[str, Any]:
    """Return a whole record of the export; a new one where none is left."""
    records = [one for one in elements if isinstance(one, dict) and "fields" in one]
    whole = [one for one in records if isinstance(one["fields"], dict)]
    return random.choice(whole) if whole else {"model": "sentry.user", "pk": 1, "fields": {}}


def _odd(random: Random) -> Any:
    return copy.deepcopy(random.choice(random.choice(ODD)))


def _change_field(random: Random, elements: Elements) -> None:
    fields = _some(random, elements)["fields"]
    if fields:
        fields[random.choice(list(fields))] = _odd(random)


def _change_one_field_of_all(random: Random, elements: Elements) -> None:
    model = _some(random, elements)["model"]
    records = [one for one in elements if isinstance(one, dict) and one.get("model") == model]
    records = [one for one in records if isinstance(one.get("fields"), dict)]
    names = [name for one in records for name in one["fields"]]
    if names:
        name, value = random.choice(names), _odd(random)
        for one in records:
            one["fields"][name] = value


def _drop_field(random: Random, elements: Elements) -> None:
    fields = _some(random, elements)["fields"]
    if fields:
        del fields[random.choice(list(fields))]


def _add_field(random: Random, elements: Elements) -> None:
    name = random.choice(("of_tomorrow", "", "a\0", "id", "pk", "x" * 5000, "password", "fields"))
    _some(random, elements)["fields"][name] = _odd(random)


def _change_key(random: Random, elements: Elements) -> None:
    record = _some(random, elements)
    record[random.choice(("pk", "pk", "model", "fields"))] = _odd(random)


def _change_shape(random: Random, elements: Elements) -> None:
    elements.insert(random.randint(0, len(elements)), _odd(random))


def _drop_part(random: Random, elements: Elements) -> None:
    _some(random, elements).pop(random.choice(("model", "pk", "fields")), None)


def _repeat(random: Random, elements: Elements) -> None:
    record = copy.deepcopy(_some(random, elements))
    if random.random() < 0.5:
        record["pk"] = random.choice((10**6, 2**63 - 1, 7))
    elements.insert(random.randint(0, len(elements)), record)


def _drop_records(random: Random, elements: Elements) -> None:
    record = _some(random, elements)
    elements[:] = [
        one for one in elements if not isinstance(one, dict) or one.get("model") != record["model"]
    ]


def _shuffle(random: Random, elements: Elements) -> None:
    random.shuffle(elements)


def _refer_in_circles(random: Random, elements: Elements) -> None:
    """Let every reference of a model point at any key, its own among them."""
    record = _some(random, elements)
    model = load_catalogue().get(str(record["model"]))
    for field in model.foreign_keys if model else ():
        record["fields"][field] = random.choice((record["pk"], 1, 404, True, 1.0, ["ada"], "1"))


def _add_models(random: Random, elements: Elements) -> None:
    count = random.choice((1, 300, 3000))
    elements += [{"model": f"m{n}.x", "pk": n + 1, "fields": {}} for n in range(count)]


def _add_large(random: Random, elements: Elements) -> None:
    record = _some(random, elements)
    value: object = random.choice(
        ("é" * 400_000, "x" * 3_000_000, [[]] * 100_000, {"a": ["\n" * 300_000]})
    )
    if record["fields"]:
        record["fields"][random.choice(list(record["fields"]))] = value


_ELEMENTS: list[Callable[[Random, Elements], None]] = [
    *[_change_field] * 8,
    *[_change_one_field_of_all] * 3,
    *(_drop_field, _add_field, _change_key, _change_key, _change_shape, _drop_part),
    *(_repeat, _drop_records, _shuffle, _refer_in_circles, _refer_in_circles, _add_models),
    _add_large,
]


def _change_bytes(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 20))):
        at = random.randint(0, len(changed))
        match random.randint(0, 4):
            case 0:
                changed[at : at + 1] = bytes([random.randint(0, 255)])
            case 1:
                changed[at:at] = random.choice(PIECES)
            case 2:
                del changed[at : at + random.choice((1, 10, 5000))]
            case 3:
                changed[at:at] = changed[at : at + random.choice((10, 600))]
            case _:
                del changed[at + random.choice((0, 500, 10**6)) :]
    return bytes(changed)


def _change_headers(random: Random, data: bytes) -> bytes:
    """Change a header's fields, and give it a checksum that fits again."""
    changed = bytearray(data)
    offsets = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    for at in random.sample(offsets, min(len(offsets), random.randint(1, 2))):
        begin, end = random.choice(((0, 100), (100, 108), (124, 136), (156, 157), (157, 257)))
        odd = random.choice(
            (
                random.randbytes(end - begin),
                b"7" * (end - begin),
                b"\x80" + b"\xff" * (end - begin - 1),
                random.choice(b"0123456789xgLKSDMNVX").to_bytes() * (end - begin),
                b"export.json".ljust(end - begin, b"\0")[: end - begin],
            )
        )
        changed[at + begin : at + end] = odd
        changed[at + 148 : at + 156] = b" " * 8
        changed[at + 148 : at + 156] = b"%06o\0 " % (sum(changed[at : at + 512]) & 0o777777)
    return bytes(changed)


def _change_members(random: Random, data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(one, tar.extractfile(one).read()) for one in tar.getmembers()]  # type: ignore[union-attr]
    for _ in range(random.randint(1, 3)):
        info, content = copy.copy(random.choice(members)[0]), random.choice(members)[1]
        info.type = random.choice((b"0", b"0", b"5", b"2", b"1", b"x", b"L", b"g", b"K", b"S"))
        info.linkname = random.choice(("", "export.json"))
        info.name = random.choice(("export.json", "data.key", "é" * 80, "a/../../b", "x" * 300))
        content = random.choice((content, b"", base64.b64encode(content), b"9" * 700, b"=" * 9000))
        info.size = len(content)
        members[random.randrange(len(members))] = (info, content)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=random.choice((0, 1, 2))) as tar:
        for info, content in members:
            info.name = info.name[:45] if tar.format == 0 else info.name
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()
