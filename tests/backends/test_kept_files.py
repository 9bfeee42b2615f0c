"""Compiled kernels in a folder: found again, and trusted only if this user wrote them and they are whole."""

import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import KernelModule, kernel_module, object_key
from foreword.backends.cpu.kernels.elementwise import ADD, elementwise_kernels
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.target import Target, best_target
from foreword.backends.kept_files import KeptFiles

KEY = "ab12"
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class Counted(KeptFiles):
    """Notes what was found and what was put."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.found: list[str] = []
        self.kept: list[str] = []

    def get(self, key: str) -> bytes | None:
        code = super().get(key)
        if code is not None:
            self.found.append(key)
        return code

    def put(self, key: str, code: bytes) -> None:
        self.kept.append(key)
        super().put(key, code)


def kept(folder: KeptFiles) -> Path:
    """The only file."""
    [file] = folder.path.iterdir()
    return file


def use(kernels: KernelModule[()], objects: KeptFiles | None) -> torch.Tensor:
    """Compile anew, as in another process, and call."""
    kernels.forget()
    rows, added = torch.arange(64.0).view(2, 32), torch.full((2, 32), 0.5)
    kernels.compile(best_target(), objects=objects)[ADD].call(items=2, width=32, rows=rows, added=added).run()
    return rows


def test_what_was_compiled_is_found_again_and_gives_the_same(tmp_path: Path) -> None:
    objects = Counted(tmp_path / "deep" / "kernels")
    expected = use(elementwise_kernels, None)
    assert torch.equal(use(elementwise_kernels, objects), expected)
    assert not objects.found
    assert torch.equal(use(elementwise_kernels, objects), expected)
    assert objects.found == objects.kept
    assert len(objects.kept) == 1


CONSTANT = Signature("constant", out="pointer")


@kernel_module(CONSTANT)
def constant_kernels(module: ir.Module, _: Target, constant: int) -> None:
    """A kernel that puts a constant."""
    with CONSTANT.define(module) as (b, f):
        b.parallel_for(f.taken, f.items, lambda item: b.store(ir.Constant(ir.IntType(64), constant), f.out, item))


@kernel_module(CONSTANT)
def other_kernels(module: ir.Module, target: Target, constant: int) -> None:
    """Another definition, of the next one."""
    constant_kernels.define(module, target, constant + 1)


def test_what_is_another_definition_or_variant_is_compiled_by_itself(tmp_path: Path) -> None:
    objects = Counted(tmp_path / "kernels")
    for define, constant, expected in (
        (constant_kernels, 5, 5),
        (constant_kernels, 6, 6),
        (other_kernels, 5, 6),
        (constant_kernels, 5, 5),
    ):
        define.forget()
        out = torch.zeros(3, dtype=torch.int64)
        define.compile(best_target(), constant, objects=objects)[CONSTANT].call(items=3, out=out).run()
        assert out.tolist() == [expected] * 3
    assert len(set(objects.kept)) == 3
    assert len(objects.found) == 1


def test_a_key_depends_on_each_part_and_on_where_it_ends() -> None:
    keys = [
        object_key(*parts) for parts in (("ir", "cpu", "+avx"), ("ir", "cpu", ""), ("ir", "cpu+avx", ""), ("irc", "pu", ""))
    ]
    assert len(set(keys)) == 4
    assert keys[0] == object_key("ir", "cpu", "+avx")


NAMES = """
import sys, torch
from pathlib import Path
from foreword.backends.cpu.kernels.attention import attention_kernels
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.kept_files import KeptFiles
class Names(KeptFiles):
    def get(self, key):
        code = super().get(key)
        print("found" if code else "none", key)
        return code
attention_kernels.compile(best_target(), torch.float32, objects=Names(Path(sys.argv[1])))
"""


def test_other_processes_find_it_whatever_their_hashes(tmp_path: Path) -> None:
    told = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", NAMES, str(tmp_path / "kernels")]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        told.append(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout.split()
        )
    assert [words[0] for words in told] == ["none", "found"]
    assert told[0][1] == told[1][1]


def test_only_the_user_may_read_and_write(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = KeptFiles(tmp_path / "kernels")
        folder.put(KEY, b"code")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept(folder).stat().st_mode) == 0o600
    assert folder.get(KEY) == b"code"


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def bit_changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def renamed(file: Path) -> None:
    """Of another key, which is what it was compiled from."""
    other = KeptFiles(file.parent)
    other.put("cd34", b"other")
    (file.parent / "cd34.kept").rename(file)


def linked(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def made_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def writable_for_others(file: Path) -> None:
    file.chmod(0o622)


def in_a_folder_for_all(file: Path) -> None:
    file.parent.chmod(0o777)


def in_a_folder_of_a_group(file: Path) -> None:
    file.parent.chmod(0o770)


def anothers(file: Path) -> None:
    os.chown(file, 12345, 12345)


def in_anothers_folder(file: Path) -> None:
    os.chown(file.parent, 12345, 12345)


@pytest.mark.parametrize(
    "spoil",
    [
        torn,
        bit_changed,
        emptied,
        renamed,
        linked,
        made_a_folder,
        made_a_pipe,
        writable_for_others,
        in_a_folder_for_all,
        in_a_folder_of_a_group,
        pytest.param(anothers, marks=NEEDS_ROOT),
        pytest.param(in_anothers_folder, marks=NEEDS_ROOT),
    ],
)
def test_what_is_damaged_or_anothers_is_not_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    folder = KeptFiles(tmp_path / "kernels")
    folder.put(KEY, b"code")
    assert folder.get(KEY) == b"code"
    spoil(kept(folder))
    with caplog.at_level(logging.WARNING):
        assert folder.get(KEY) is None
        assert folder.get(KEY) is None
    assert len(caplog.records) == 1
    assert "made anew" in caplog.text


@pytest.mark.parametrize("spoil", [torn, bit_changed, renamed])
def test_a_damaged_file_is_compiled_anew_and_replaced(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    objects = Counted(tmp_path / "kernels")
    expected = use(elementwise_kernels, objects)
    spoil(kept(objects))
    assert torch.equal(use(elementwise_kernels, objects), expected)
    assert (len(objects.found), len(objects.kept)) == (0, 2)
    assert torch.equal(use(elementwise_kernels, objects), expected)
    assert len(objects.found) == 1


def a_file(path: Path) -> None:
    path.write_text("no folder")


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("no folder")


def for_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


@pytest.mark.parametrize("spoil", [a_file, below_a_file, for_all])
def test_a_folder_that_cannot_be_used_is_no_error_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "cache" / "kernels"
    path.parent.mkdir()
    spoil(path)
    folder = KeptFiles(path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(use(elementwise_kernels, folder), use(elementwise_kernels, None))
        use(elementwise_kernels, folder)
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert not (path.is_dir() and list(path.iterdir()))


def test_a_full_disk_is_no_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A file larger than the process may write stands for it."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from foreword.backends.kept_files import KeptFiles
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = KeptFiles(Path({str(tmp_path / "kernels")!r}))
folder.put("ab12", b"x" * 5000)
assert folder.get("ab12") is None
assert not list(folder.path.iterdir())
folder.put("ab12", b"x" * 50)
assert folder.get("ab12") == b"x" * 50
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_least_recently_used_go_when_it_is_too_much(tmp_path: Path) -> None:
    folder = KeptFiles(tmp_path / "kernels", max_bytes=5 * 132)
    for number in range(5):
        folder.put(str(number), b"x" * 100)
        os.utime(folder.path / f"{number}.kept", (number, number))
    assert folder.get("0") == b"x" * 100, "used now"
    folder.put("5", b"x" * 100)
    assert sorted(file.stem for file in folder.path.iterdir()) == ["0", "2", "3", "4", "5"]


def test_what_a_process_left_unfinished_goes_too(tmp_path: Path) -> None:
    folder = KeptFiles(tmp_path / "kernels", max_bytes=1000)
    folder.put("0", b"x")
    left = folder.path / "1.4711.unfinished"
    left.write_bytes(b"x" * 500)
    os.utime(left, (1, 1))
    (folder.path / "of-somebody").write_bytes(b"x" * 5000)
    folder.put("2", b"x" * 600)
    assert sorted(file.name for file in folder.path.iterdir()) == ["0.kept", "2.kept", "of-somebody"]


def test_one_that_is_larger_than_all_may_be_is_not_kept(tmp_path: Path) -> None:
    folder = KeptFiles(tmp_path / "kernels", max_bytes=100)
    folder.put("0", b"x" * 200)
    assert folder.get("0") is None


def test_many_at_once_find_whole_code_or_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Folders as in several processes, small enough that each puts out the others' files all the time."""
    path, wrong = tmp_path / "kernels", []
    meeting = threading.Barrier(6)

    def live(number: int) -> None:
        folder = KeptFiles(path, max_bytes=3000)
        meeting.wait(timeout=60)
        for turn in range(100):
            key = str((number + turn) % 5)
            code = key.encode() * 1000
            found = folder.get(key)
            if found not in (None, code):
                wrong.append(key)
            folder.put(key, code)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not caplog.records
    assert not list(path.glob("*.unfinished"))
