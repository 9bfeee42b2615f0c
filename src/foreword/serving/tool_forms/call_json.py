"""Calls that are JSON objects with a name and arguments, one or several, in a list or not, in a fence or not."""

from collections.abc import Callable

from foreword.serving.tool_forms.base import ToolForm
from foreword.serving.tool_forms.json_text import JSON, MOST_NAME, JsonReader, Syntax, read_key, read_string, read_word
from foreword.serving.tool_forms.source import NoCall, Reading, Source, marks

NAMES = ("name", "function", "tool_name", "tool")
"""Keys under which the tool is named."""
ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input", "params")
"""Keys under which its arguments stand."""
BESIDE = ("id", "type", "index", "call_id", "tool_call_id")
"""Keys that may stand beside them and before them."""
WRAPPERS = ("tool_calls", "tool_call", "function_call", "function")
"""Keys that hold calls."""
FENCES = ("", "json", "json5", "jsonc", "tool_call", "tool_calls", "tool", "tool_use", "xml", "javascript")
"""What a fence around calls may be called."""
EMPTY = ("null", "None", "")
"""Words, and texts, that stand for no arguments."""


class CallJson:
    """Reads calls for a form.

    lenient
        Keys that say nothing to us may stand before a call's name.
    needs_arguments
        An object with a name alone is no call.
    """

    def __init__(self, form: ToolForm, lenient: bool = True, syntax: Syntax = JSON, needs_arguments: bool = False):
        self._form = form
        self._source = form.source
        self._lenient, self._needs_arguments = lenient, needs_arguments
        self._syntax = syntax

    def calls(self) -> Reading[bool]:
        """Read calls as long as they come; whether there were any. What stands behind the last one is kept."""
        source, parts = self._source, self._form.parts
        before, lists = parts.calls, 0
        while True:
            yield from source.blanks()
            sign = yield from source.sign()
            called = parts.calls > before
            if sign == "{":
                if not (yield from self._call()):
                    break
                source.keep()
            elif sign == "[" and not lists:
                source.take(1)
                lists += 1
            elif sign == "`" and (yield from self._fence(called)):
                if called:
                    source.keep()
            elif called and sign in tuple(",;]}"):
                source.take(1)
            else:
                break
        return parts.calls > before

    def named_arguments(self, name: str, call_id: str | None = None) -> Reading[bool]:
        """Read the arguments of a call whose name stood before them. NoCall where they are none."""
        call = _Call(self._form, name, call_id)
        whole = yield from self._arguments(call)
        return call.finish(whole)

    def _fence(self, called: bool) -> Reading[bool]:
        """Take the beginning or, behind a call, the end of a fence, if there is one; NoCall if it holds something else."""
        if not (yield from self._source.starts("```")):
            return False
        self._source.take(3)
        sign = yield from self._source.sign()
        if sign.isalpha() or (sign in tuple("\r\n") and not called):
            info, _ = yield from self._source.short(marks("\n"), 40)
            if info.strip() not in FENCES:
                raise NoCall
        return True

    def _call(self) -> Reading[bool]:
        """Read one object; whether it is a call. What holds calls is read as they are."""
        call = _Call(self._form)
        self._source.take(1)
        while True:
            yield from self._source.blanks()
            sign = yield from self._source.sign()
            if sign == "}":
                self._source.take(1)
                return (call.begun or not self._needs_arguments) and call.finish()
            if sign == ",":
                self._source.take(1)
                continue
            key = None
            if sign and sign not in "{[]<":
                key = yield from self._next_key(call)
            if key is None:
                return call.begun and call.finish()
            yield from self._source.blanks()
            inner = (yield from self._source.sign()) in tuple("{[")
            if inner and key in WRAPPERS and call.name is None:
                return (yield from self.calls())
            yield from self._member(call, key)

    def _next_key(self, call: "_Call") -> Reading[str | None]:
        try:
            return (yield from read_key(self._source))
        except NoCall:
            if call.begun:
                return None
            raise

    def _member(self, call: "_Call", key: str) -> Reading[None]:
        """Read what stands behind a key."""
        if key in NAMES and call.name is None:
            call.named(self._form.known((yield from self._name())))
        elif key in ARGUMENTS and not call.has_arguments:
            call.whole = yield from self._arguments(call)
        elif call.name is None and not self._lenient and key not in BESIDE:
            raise NoCall
        else:
            call.others |= key not in BESIDE
            yield from JsonReader(self._source, _nobody, self._syntax).value()

    def _name(self) -> Reading[str]:
        if (yield from self._source.sign()) not in ("'", '"'):
            return (yield from read_word(self._source))
        pieces: list[str] = []
        most = self._form.longest_name + 40
        source = self._source

        def told(piece: str) -> None:
            pieces.append(piece)
            if len(pieces) > most or len(piece) > most:
                raise NoCall

        if not (yield from read_string(source, told, {",", "}"}, ())):
            raise NoCall
        return "".join(pieces)

    def _arguments(self, call: "_Call") -> Reading[bool]:
        """Read arguments: an object, its text in a string, or nothing. Whether they are whole; NoCall for all else."""
        source = self._source
        yield from source.blanks()
        sign = yield from source.sign()
        call.has_arguments = True
        if sign == "{":
            return (yield from JsonReader(source, call.tell, self._syntax).value())
        if sign in ("'", '"'):
            return (yield from _TextOfObject(source, call.tell).read())
        if sign == "[":
            source.take(1)
            yield from source.blanks()
            if (yield from source.sign()) != "]":
                raise NoCall
            source.take(1)
        elif (yield from read_word(source)) not in EMPTY:
            raise NoCall
        call.tell("{}")
        return True


class _Call:
    """A call in the making. It begins, and cannot be taken back, when its name is known and its arguments begin."""

    def __init__(self, form: ToolForm, name: str | None = None, call_id: str | None = None):
        self.name = name
        self.begun = False
        self.has_arguments = False
        self.whole = True
        self.others = False
        self._form = form
        self._call_id = call_id
        self._waiting: list[str] = []

    def named(self, name: str) -> None:
        self.name = name
        if self._waiting:
            self._begin()
            self._form.parts.arguments("".join(self._waiting))

    def tell(self, text: str) -> None:
        if self.name is None:
            self._waiting.append(text)
            return
        self._begin()
        self._form.parts.arguments(text)

    def finish(self, whole: bool = True) -> bool:
        """No more is read of it; whether it is a call. One that has a name alone is a call without arguments."""
        if self.name is None or (self.others and not self.begun):
            return False
        if not self.begun:
            self.tell("{}")
        self._form.parts.end(whole and self.whole)
        return True

    def _begin(self) -> None:
        if not self.begun:
            assert self.name is not None
            self.begun = True
            self._form.source.let_go()
            self._form.parts.begin(self.name, self._call_id)


class _TextOfObject:
    """Reads an object that stands as text in a string."""

    def __init__(self, source: Source, tell: Callable[[str], None]):
        self._source, self._tell = source, tell
        self._text = ""  # as long as it may yet be nothing
        self._inner = Source()
        self._reading: Reading[bool] | None = None
        self._whole: bool | None = None

    def read(self) -> Reading[bool]:
        """Read it from the string's quote on; whether it is whole."""
        ended = yield from read_string(self._source, self._take, {",", "}", "]"}, ())
        if self._reading is None:
            if self._text.strip() not in EMPTY:
                raise NoCall
            self._tell("{}")
            return True
        self._inner.end()
        self._go_on()
        return ended and bool(self._whole)

    def _take(self, text: str) -> None:
        if self._reading is None:
            self._text += text
            begun = self._text.lstrip()
            if not begun or (begun[0] != "{" and any(word.startswith(begun) for word in EMPTY)):
                if len(self._text) > MOST_NAME:
                    raise NoCall
                return
            if begun[0] != "{":
                raise NoCall
            self._reading, text = JsonReader(self._inner, self._tell).value(), begun
        self._inner.feed(text)
        self._go_on()

    def _go_on(self) -> None:
        if self._reading is None or self._whole is not None:
            return
        try:
            next(self._reading)
        except StopIteration as end:
            self._whole = bool(end.value)


def _nobody(text: str) -> None:
    """Tells nobody."""
    del text
