"""Keep records between tasks: per model, in dependency order, compressed and encrypted.

A form lies under a prefix of the storage: `<prefix>/<model>/<number>.part` holds records of one
model, and `<prefix>/manifest.json`, written last, makes the form exist. Its data key is fresh, and
is stored nowhere but in the manifest, wrapped for the relocation key: parts that a killed process
left behind can be read by nobody.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress
from typing import Any

import orjson

from relocation.archive.records import Record
from relocation.archive.storage import Storage
from relocation.catalogue import load_catalogue
from relocation.errors import MissingWorkError
from relocation.transfer.prepare.key_table import USER, natural_key
from relocation.transfer.prepare.sealing import Cipher, damaged, new_data_key, unwrap, wrap
from relocation.transfer.source import Portion, weigh

_PARSED_AT_ONCE = 200
_PARSED_BYTES = 128 * 1024
_AS_DIGITS = bytes([ord("0"), *[ord("1")] * 255])


def encode_record(record: Record) -> bytes:
    """Return a record as a line of a part.

    Raises orjson.JSONEncodeError when it holds what JSON of 64-bit numbers cannot.
    """
    return orjson.dumps((record.pk, record.fields), option=orjson.OPT_APPEND_NEWLINE)


class NormalisedWriter:
    """Write a form; it exists once `close` returns, and replaces what the prefix held before.

    Raises ConfigurationError when the key is no RSA public key.
    """

    def __init__(
        self,
        storage: Storage,
        prefix: str,
        public_pem: str,
        *,
        part_records: int = 5000,
        part_bytes: int = 4 * 1024**2,
        buffer_bytes: int = 32 * 1024**2,
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._part_records = part_records
        self._part_bytes = part_bytes
        self._buffer_bytes = buffer_bytes
        data_key = new_data_key()
        self._wrapped = wrap(data_key, public_pem)
        self._cipher = Cipher(data_key)
        self._buffers: dict[str, _Buffer] = {}
        self._buffered = 0
        storage.delete(_manifest(prefix))

    def add(self, record: Record) -> None:
        """Append a record of a catalogue model.

        Raises orjson.JSONEncodeError when it holds what JSON of 64-bit numbers cannot.
        """
        self.add_lines(record.model, [encode_record(record)])

    def add_lines(self, model: str, lines: Sequence[bytes]) -> None:
        """Append records of one catalogue model, as `encode_record` makes them."""
        buffer = self._buffers.get(model)
        if buffer is None:
            if model not in load_catalogue():
                raise ValueError(f"{model} is not in the catalogue")
            buffer = self._buffers[model] = _Buffer()
        text = b"".join([b"", *lines])  # a copy: orjson leaves kilobytes of room behind each line
        buffer.text.append(text)
        buffer.records += len(lines)
        buffer.size += len(text)
        self._buffered += len(text)
        if buffer.records >= self._part_records or buffer.size >= self._part_bytes:
            self._flush(model)
        elif self._buffered >= self._buffer_bytes:
            self._flush(max(self._buffers, key=lambda name: self._buffers[name].size))

    def close(
        self,
        selected: Mapping[str, bytes] | None = None,
        natural_keys: Mapping[str, int] | None = None,
        /,
        **facts: Any,
    ) -> None:
        """Make the form exist, with `facts` as plain JSON data.

        `selected` has a byte for each record in the order added, 0 to leave it out; without it all
        are in. `natural_keys` gives the pk for each username that stands for a reference (T-13).
        """
        for model, buffer in self._buffers.items():
            if buffer.records:
                self._flush(model)
        flags = {
            model: self._flags(buffer.parts, None if selected is None else selected[model])
            for model, buffer in self._buffers.items()
        }
        content = {"flags": flags, "natural_keys": natural_keys or {}, "facts": facts}
        key = _manifest(self._prefix)
        manifest = {
            "key": b64encode(self._wrapped).decode(),
            "parts": {model: len(buffer.parts) for model, buffer in self._buffers.items()},
            "sealed": b64encode(self._cipher.seal(key, orjson.dumps(content))).decode(),
        }
        self._storage.write(key, orjson.dumps(manifest))

    def discard(self) -> None:
        """Delete what was written, instead of closing."""
        written = {model: len(buffer.parts) for model, buffer in self._buffers.items()}
        _delete(self._storage, self._prefix, written)

    def _flush(self, model: str) -> None:
        buffer = self._buffers[model]
        key = _part(self._prefix, model, len(buffer.parts))
        self._storage.write(key, self._cipher.seal(key, b"".join(buffer.text)))
        self._buffered -= buffer.size
        buffer.parts.append(buffer.records)
        buffer.text.clear()
        buffer.records = buffer.size = 0

    @staticmethod
    def _flags(parts: Sequence[int], selected: bytes | None) -> list[str]:
        """Return a string of 0 and 1 for each part."""
        total = sum(parts)
        digits = (b"\1" * total if selected is None else selected).translate(_AS_DIGITS).decode()
        if len(digits) != total:
            raise ValueError("the selection must have a flag for each record")
        return [
            digits[end - size : end] for end, size in zip(accumulate(parts), parts, strict=True)
        ]


class Normalised:
    """Stream the selected records of a form; a `PortionedSource`, made by `open_normalised`."""

    def __init__(
        self, storage: Storage, prefix: str, cipher: Cipher, content: dict[str, Any]
    ) -> None:
        self.facts: dict[str, Any] = content["facts"]
        self._storage = storage
        self._prefix = prefix
        self._cipher = cipher
        self._flags: dict[str, list[str]] = content["flags"]
        self._natural_keys: dict[str, int] = content["natural_keys"]

    def models(self) -> Sequence[str]:
        """Return the names of the models that have selected records, in dependency order."""
        return [model for model in load_catalogue() if self.count(model)]

    def count(self, model: str) -> int:
        """Return how many records of the model are selected."""
        return sum(flags.count("1") for flags in self._flags.get(model, ()))

    def records(self, model: str) -> Iterator[Record]:
        """Stream the selected records of one model, in the order they were added.

        Raises TransientError when a part is missing, PermanentError when it was tampered with.
        """
        for records, _ in self.portions(model):
            yield from records

    def portions(self, model: str) -> Iterator[Portion]:
        """Stream them in portions; raises as `records` does."""
        people = self._people(model)
        for number, flags in enumerate(self._flags.get(model, ())):
            if "1" not in flags:
                continue
            key = _part(self._prefix, model, number)
            lines = self._cipher.unseal(key, _read(self._storage, key)).splitlines()
            for text in _together(compress(lines, [flag == "1" for flag in flags])):
                records = [Record(model, pk, fields) for pk, fields in orjson.loads(text)]
                for field in people:
                    for record in records:
                        username = natural_key(record.fields.get(field))
                        if username in self._natural_keys:
                            record.fields[field] = self._natural_keys[username]
                yield Portion(records, weigh(text))

    def _people(self, model: str) -> list[str]:
        """Return the fields in which a natural key may have to be replaced."""
        if not self._natural_keys:
            return []
        keys = load_catalogue()[model].foreign_keys
        return [field for field, key in keys.items() if key.to == USER]


def open_normalised(storage: Storage, prefix: str, private_pem: str) -> Normalised:
    """Open the form under the prefix.

    Raises TransientError when there is none, ConfigurationError when the key is not the one it was
    written for, PermanentError when it was tampered with.
    """
    key = _manifest(prefix)
    data = _read(storage, key)
    try:
        manifest = orjson.loads(data)
        wrapped = b64decode(manifest["key"])
        sealed = b64decode(manifest["sealed"])
    except (ValueError, KeyError, TypeError) as err:
        raise damaged(key) from err
    cipher = Cipher(unwrap(wrapped, private_pem))
    return Normalised(storage, prefix, cipher, orjson.loads(cipher.unseal(key, sealed)))


def delete_normalised(storage: Storage, prefix: str) -> None:
    """Delete the form, and the parts that a killed process left under its prefix; idempotent."""
    _delete(storage, prefix, _written(storage, prefix))


def _delete(storage: Storage, prefix: str, parts: Mapping[str, int]) -> None:
    """Delete at least the given number of parts of each model."""
    storage.delete(_manifest(prefix))
    for model in load_catalogue():
        count = parts.get(model, 0)
        while _exists(storage, _part(prefix, model, count)):
            count += 1
        # Downwards: what a killed deletion leaves can still be found by counting up from 0.
        for number in reversed(range(count)):
            storage.delete(_part(prefix, model, number))


def write_records(
    storage: Storage, prefix: str, public_pem: str, records: Iterable[Record], **facts: Any
) -> None:
    """Write a form of all the records."""
    writer = NormalisedWriter(storage, prefix, public_pem)
    for record in records:
        writer.add(record)
    writer.close(**facts)


def _together(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines to lists that are parsed at once: more than one only where they are short."""
    some: list[bytes] = []
    size = 0
    for line in lines:
        if some and (size + len(line) > _PARSED_BYTES or len(some) == _PARSED_AT_ONCE):
            yield b"[%b]" % b",".join(some)
            some, size = [], 0
        some.append(line)
        size += len(line)
    if some:
        yield b"[%b]" % b",".join(some)


class _Buffer:
    """The part of one model that is being filled, and the sizes of those written."""

    def __init__(self) -> None:
        self.text: list[bytes] = []
        self.records = self.size = 0
        self.parts: list[int] = []


def _read(storage: Storage, key: str) -> bytes:
    try:
        with storage.open(key) as stream:
            return stream.read()
    except FileNotFoundError as err:
        raise MissingWorkError(
            "A working file of this relocation is missing.",
            internal=f"{key} is not in the storage",
        ) from err


def _exists(storage: Storage, key: str) -> bool:
    try:
        storage.open(key).close()
    except FileNotFoundError:
        return False
    return True


def _written(storage: Storage, prefix: str) -> dict[str, int]:
    """Return how many parts the manifest names for each model; none when it cannot be read."""
    try:
        with storage.open(_manifest(prefix)) as stream:
            parts: dict[str, int] = orjson.loads(stream.read())["parts"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    return parts


def _manifest(prefix: str) -> str:
    return f"{prefix}/manifest.json"


def _part(prefix: str, model: str, number: int) -> str:
    return f"{prefix}/{model}/{number:06d}.part"
