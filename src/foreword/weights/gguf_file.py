"""GGUF files as they lie on a disk: what their headers say, and where their tensors are.

The package ``gguf`` has a reader too. It makes two arrays of each string, so a vocabulary of 49,000 tokens takes it seconds;
here the header is walked once. Types and their sizes are the package's.
"""

import mmap
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from foreword.errors import ModelError

MAGIC, VERSIONS = b"GGUF", (2, 3)
ALIGNMENT = 32
"""Of tensors, where a file names none."""
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Kinds of values by their numbers in a file, as struct has them."""
MOST = 2**24
"""Values of one list, tensors, or keys of metadata: no model has more, and a file that says so would fill the memory."""
DEEPEST = 4
"""Lists within lists."""
SPLIT = re.compile(r"^(?P<stem>.*)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf$")
MEND = "Check the file, or download it again."
LONGEST_NAME = 255
"""Bytes of a tensor's name; ggml takes 63."""
SHOWN = 80
"""Characters of a value from a file that a message shows."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: ``shape`` as torch has it, the last dimension being the one in which numbers are neighbours."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    begin: int
    """Of its bytes in the file."""
    row_bytes: int
    """Of one row, which is the last dimension."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.begin + self.rows * self.row_bytes


def shown(value: Any) -> str:
    """A value from a file, in one line that is not too long to be read."""
    text = repr(value[: SHOWN + 1] if isinstance(value, str | list) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


class _Cursor:
    """A place in a file's header. What does not lie within the file is a ModelError."""

    def __init__(self, content: mmap.mmap, path: Path):
        self.content, self.path, self.at = content, path, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        begin, self.at = self.at, self.at + count
        if self.at > len(self.content):
            raise self.cut_off()
        return self.content[begin : self.at]

    def cut_off(self) -> ModelError:
        """What to say of a header that goes on behind the file's end."""
        return ModelError(f"GGUF file {str(self.path)!r} is cut off within its header, at byte {len(self.content)}. {MEND}")

    def number(self, kind: str) -> Any:
        """The next number."""
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def text(self) -> str:
        """The next string."""
        raw = self.take(self.number("Q"))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ModelError(
                f"GGUF file {str(self.path)!r} holds a string that is no UTF-8: {raw[:40]!r}. {MEND}"
            ) from error

    def count(self, what: str) -> int:
        """The next number, of things that follow: no more than there can be."""
        found: int = self.number("Q")
        if found > MOST:
            raise ModelError(f"GGUF file {str(self.path)!r} says that it holds {found} {what}, which no model does. {MEND}")
        return found

    def value(self, kind: int, deep: int = 0) -> Any:
        """The next value of a kind: a number, a string, or a list, which is in as many others as it is ``deep``."""
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, count = self.number("I"), self.count("values of a list")
            if inner in SCALARS:
                size = struct.calcsize("<" + SCALARS[inner])
                return np.frombuffer(self.take(count * size), np.dtype("<" + SCALARS[inner])).tolist()
            if deep == DEEPEST:
                raise ModelError(f"GGUF file {str(self.path)!r} holds lists within lists, {deep} deep and more. {MEND}")
            return self._texts(count) if inner == STRING else [self.value(inner, deep + 1) for _ in range(count)]
        if kind not in SCALARS:
            raise ModelError(f"GGUF file {str(self.path)!r} holds a value of the unknown kind {kind}. {MEND}")
        return self.number(SCALARS[kind])

    def _texts(self, count: int) -> list[str]:
        """Strings one after another: there may be hundreds of thousands."""
        content, at, size = self.content, self.at, struct.Struct("<Q")
        found = []
        try:
            for _ in range(count):
                begin = at + 8
                at = begin + size.unpack_from(content, at)[0]
                found.append(content[begin:at].decode())
        except struct.error:
            raise self.cut_off() from None
        except UnicodeDecodeError as error:
            raise ModelError(f"GGUF file {str(self.path)!r} holds a string that is no UTF-8: {error}. {MEND}") from error
        if at > len(content):
            raise self.cut_off()
        self.at = at
        return found


class GgufPart:
    """One file: its metadata, and its tensors, mapped into memory and not read. ModelError for one that is damaged."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open("rb") as file:
                self._stamp = _stamp(os.fstat(file.fileno()))
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise ModelError(f"GGUF file {str(path)!r} cannot be read: {error}. {MEND}") from error
        cursor = _Cursor(self._content, path)
        count, pairs = _counts(cursor)
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = cursor.text()
            if key in self.metadata:
                raise ModelError(f"GGUF file {str(path)!r} says {shown(key)} a second time. {MEND}")
            self.metadata[key] = cursor.value(cursor.number("I"))
        infos = [_tensor_info(cursor) for _ in range(count)]
        self.tensors: dict[str, StoredTensor] = {}
        for tensor in self._placed(infos, cursor.at):
            if tensor.name in self.tensors:
                raise second_time(tensor.name, path)
            self.tensors[tensor.name] = tensor

    def rows(self, tensor: StoredTensor) -> npt.NDArray[np.uint8]:
        """A tensor's bytes, [rows, bytes of a row]: a view of the file. ModelError if the file has changed meanwhile."""
        try:
            unchanged = _stamp(self.path.stat()) == self._stamp
        except OSError:
            unchanged = False
        if not unchanged:
            raise ModelError(f"GGUF file {str(self.path)!r} was changed while it was read. Start again.")
        flat = np.frombuffer(self._content, np.uint8, tensor.end - tensor.begin, tensor.begin)
        return flat.reshape(tensor.rows, tensor.row_bytes)

    def _placed(self, infos: list[tuple[str, tuple[int, ...], int, int]], header: int) -> Iterator[StoredTensor]:
        """The tensors where they lie, in the order of the file.

        Each has to be of a size that its type can have, and to lie within the file, alone, with less than
        the alignment between two of them, and behind the last. ModelError for others.
        """
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ModelError(
                f"GGUF file {str(self.path)!r} has the alignment {shown(alignment)}; it is a power of two. {MEND}"
            )
        first = -(-header // alignment) * alignment
        placed = sorted((self._tensor(info, first) for info in infos), key=lambda tensor: tensor.begin)
        for tensor in placed:
            self._check_place(tensor, alignment)
        behind = [(following.begin, f"tensor {following.name!r}") for following in placed[1:]]
        for tensor, (end, what) in zip(placed, [*behind, (len(self._content), "the file's end")], strict=False):
            if tensor.end > end:
                raise self._wrong_size(tensor, f"run into {what}")
            if end - tensor.end >= alignment:
                raise self._wrong_size(tensor, f"leave {end - tensor.end} bytes before {what}")
            yield tensor

    def _check_place(self, tensor: StoredTensor, alignment: int) -> None:
        """ModelError for a tensor that does not lie within the file, or not where one may begin."""
        if tensor.end > len(self._content):
            raise ModelError(
                f"GGUF file {str(self.path)!r} is cut off: its tensor {tensor.name!r} would end at byte {tensor.end}, "
                f"but the file has {len(self._content)}. {MEND}"
            )
        if tensor.begin % alignment:
            raise ModelError(
                f"Tensor {tensor.name!r} of GGUF file {str(self.path)!r} begins at byte {tensor.begin}, which is no "
                f"multiple of {alignment}. {MEND}"
            )

    def _wrong_size(self, tensor: StoredTensor, what: str) -> ModelError:
        """What to say of a tensor that is not as large as the room that it has."""
        return ModelError(
            f"Tensor {tensor.name!r} of GGUF file {str(self.path)!r} has the wrong size: as {tensor.type.name} of shape "
            f"{list(tensor.shape)} it would {what}. {MEND}"
        )

    def _tensor(self, info: tuple[str, tuple[int, ...], int, int], first: int) -> StoredTensor:
        name, shape, number, offset = info
        try:
            kind = GGMLQuantizationType(number)
            block, size = GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            raise ModelError(
                f"Tensor {name!r} of GGUF file {str(self.path)!r} is of type {number}, which this version of the package "
                f"'gguf' does not know. Update it, or take a file with another quantisation."
            ) from None
        if not shape or shape[-1] % block:
            raise ModelError(
                f"Tensor {name!r} of GGUF file {str(self.path)!r} has the shape {list(shape)}, which {kind.name} cannot "
                f"have: its rows are made of blocks of {block}. {MEND}"
            )
        return StoredTensor(name, kind, shape, first + offset, shape[-1] // block * size)


class GgufFile:
    """A model's GGUF file, or all files that one was split into: one metadata, one set of tensors."""

    def __init__(self, path: Path):
        """``path``: of the file, or of any part. ModelError for what is damaged, or a part that is missing."""
        self.path = path
        self.parts = [GgufPart(part) for part in part_paths(path)]
        self.metadata: Mapping[str, Any] = self.parts[0].metadata
        for number, part in enumerate(self.parts):
            _check_split(part, number, len(self.parts))
        wanted = self.metadata.get("split.tensors.count")
        if isinstance(wanted, int) and len(self.parts) > 1 and wanted != len(self._places):
            raise ModelError(
                f"The {len(self.parts)} parts of GGUF file {str(path)!r} hold {len(self._places)} tensors, but {wanted} are "
                f"announced. Check that all parts are of one model."
            )

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors by name."""
        return {name: part.tensors[name] for name, part in self._places.items()}

    def rows(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's bytes: see GgufPart.rows."""
        part = self._places[name]
        return part.rows(part.tensors[name])

    @cached_property
    def _places(self) -> dict[str, GgufPart]:
        places: dict[str, GgufPart] = {}
        for part in self.parts:
            for name in part.tensors:
                if name in places:
                    raise second_time(name, part.path)
                places[name] = part
        return places


def part_paths(path: Path) -> list[Path]:
    """The parts of the file that one of them names, in order; a file that was not split is its only part."""
    found = SPLIT.match(path.name)
    if found is None or not 1 <= int(found["part"]) <= int(found["count"]):
        return [path]
    count = int(found["count"])
    paths = [path.with_name(f"{found['stem']}-{part:05}-of-{count:05}.gguf") for part in range(1, count + 1)]
    if missing := [part.name for part in paths if not part.is_file()]:
        raise ModelError(
            f"GGUF file {str(path)!r} is one of {count} parts, and {len(missing)} of them are not beside it: {missing[0]}. "
            f"Put all parts into one directory."
        )
    return paths


def _check_split(part: GgufPart, number: int, count: int) -> None:
    """ModelError for a file that is, by what it says, another part than the one of its name, or of another model."""
    told = part.metadata.get("split.count") or 1
    own = part.metadata.get("split.no", number)
    if told != count:
        raise ModelError(
            f"GGUF file {str(part.path)!r} is one of {shown(told)} parts by what it says, and one of {count} by its name. "
            f"Put all parts into one directory, under the names that they were published with."
        )
    if own != number:
        raise ModelError(
            f"GGUF file {str(part.path)!r} is part {shown(own)} by what it says, counted from 0, and part {number} by its "
            f"name. Check that all parts are of one model, under the names that they were published with."
        )


def _counts(cursor: _Cursor) -> tuple[int, int]:
    """Of tensors and of metadata, behind what every file begins with."""
    path = str(cursor.path)
    begin = cursor.content[:4]
    if begin != MAGIC:
        raise ModelError(f"{path!r} is no GGUF file: it begins with {begin!r}, not with {MAGIC!r}. {MEND}")
    cursor.take(len(MAGIC))
    version = cursor.number("I")
    if version not in VERSIONS:
        if version & 0xFFFF == 0:
            raise ModelError(
                f"GGUF file {path!r} is big-endian, which cannot be read here. Take the little-endian file of this model, "
                f"or convert it with gguf-convert-endian (of the package 'gguf')."
            )
        raise ModelError(f"GGUF file {path!r} is of version {version}; 2 and 3 can be read. Convert the model again.")
    return cursor.count("tensors"), cursor.count("values")


def _tensor_info(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape as torch has it, number of the type, and offset of one tensor."""
    name, dimensions = cursor.text(), cursor.number("I")
    if len(name) > LONGEST_NAME:
        raise ModelError(f"GGUF file {str(cursor.path)!r} has a tensor whose name is too long: {shown(name)}. {MEND}")
    if dimensions > 4:
        raise ModelError(f"Tensor {name!r} of GGUF file {str(cursor.path)!r} has {dimensions} dimensions; at most 4. {MEND}")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    return name, shape, cursor.number("I"), cursor.number("Q")


def second_time(tensor: str, path: Path) -> ModelError:
    """What to say of a tensor that was there before."""
    return ModelError(f"Tensor {tensor!r} is in GGUF file {str(path)!r} a second time. {MEND}")


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    """What is another one when a file was written to, or replaced."""
    return status.st_ino, status.st_size, status.st_mtime_ns
