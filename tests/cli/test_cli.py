"""The commands as a person runs them, most in a process of their own, on the model in the package."""

import contextlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import foreword
from foreword.backends.cpu.kernels.target import targets
from foreword.cli import main
from foreword.cli.demo import markdown_table

TABLE_READER = Path(foreword.__file__).parent / "weights" / "table_reader"
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from foreword.cli.main import run; run()"]
TABLE = "| ID | Name | Salary |\n|----|------|--------|\n| 1 | Alice Smith | 85000 |\n| 2 | Bob Johnson | 65000 |\n"


def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
    return subprocess.run([*COMMAND, *args], input=stdin, capture_output=True, text=True, check=False, timeout=240, env=env)


def run_here(*args: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported everything; wide enough that no message is wrapped."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setenv("COLUMNS", "400")
        patch.setenv("NO_COLOR", "1")
        patch.setattr(sys, "argv", ["foreword", *args])
        main.run()
    return subprocess.CompletedProcess(args, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def test_help_teaches() -> None:
    out = run("--help").stdout
    for command in ("demo", "generate", "chat", "bench"):
        assert command in out
    assert "Start with" in out
    assert "computed once" in run("generate", "--help").stdout


def test_version() -> None:
    assert run("--version").stdout.strip() == "0.1.0"
    first, *paths = run("--version", "--verbose").stdout.strip().splitlines()
    assert first == "0.1.0"
    assert paths[0].startswith("kernels for ")
    assert [line.rsplit(": ", 1)[1] for line in paths] == [target.path for target in targets()]


def test_the_demo_answers_saves_and_gives_the_same_tokens() -> None:
    out = run("demo").stdout
    assert "Right answers: 25 of 25" in out
    assert "Both passes gave the same token ids: yes" in out
    saved = re.search(r"(\d+)% saved", out)
    assert saved is not None
    assert int(saved.group(1)) >= 80


def test_generate_shares_the_prefix_file(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    table.write_text(TABLE)
    question = "Question: What is {0}'s salary? Your answer: {0}'s salary is "
    result = run(
        "generate",
        "--prefix-file",
        str(table),
        "--verify-cache",
        "1",
        question.format("Alice Smith"),
        question.format("Bob Johnson"),
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split("\n")) == 3
    accounts = re.findall(r"(\d+) prompt tokens = (\d+) cached \+ (\d+) shared in flight \+ (\d+) computed", result.stderr)
    assert len(accounts) == 2
    assert all(int(a) == int(b) + int(c) + int(d) for a, b, c, d in accounts)
    assert sum(int(cached) + int(shared) > 20 for _, cached, shared, _ in accounts) == 1  # whichever came second
    assert "Verified 1 hits" in result.stderr
    assert " 0 of " in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["generate", "--model", "/no/such/model", "x"], "/no/such/model"),
        (["generate", "--backend", "fast", "x"], "known: cpu, reference"),
        (["generate", "--quantization", "int3", "x"], "quantization is 'int3'; known: none, bf16, f16, float32, int8"),
        (["chat", "--kv-dtype", "float8"], "kv_dtype is 'float8'; known: float32, bfloat16, int8"),
        (["bench", "tabel"], "Unknown workload 'tabel'. Did you mean 'table'?"),
        (["bench", "--repeat", "1", "--kv-cache-mb", "1", "table"], "the cache has"),
        (["generate", "--no-prefix-caching", "--verify-cache", "0.5", "x"], "enable_prefix_caching"),
        (["generate", ""], "empty"),
    ],
)
def test_bad_input_is_one_line_and_status_2(args: list[str], message: str) -> None:
    result = run_here(*args)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_leaves_the_process_with_its_status() -> None:
    result = run("generate", "--model", "/no/such/model", "x")
    assert result.returncode == 2
    assert "/no/such/model" in result.stderr
    assert "Traceback" not in result.stderr


def test_bench_measures_beside_bounds(tmp_path: Path) -> None:
    """Two workloads, once, in the numbers of one's choice; everything is in the file too."""
    file = tmp_path / "bench.json"
    numbers = ("--quantization", "int8", "--kv-dtype", "bfloat16")
    result = run("bench", "table", "long", "--repeat", "1", "--scale", "0.02", *numbers, "--json", str(file))
    assert result.returncode == 0, result.stderr
    for text in ("table: one shared prefix", "first token, warm", "of the bound", "GFLOP/s", "prompt tokens ="):
        assert text in result.stdout
    report = json.loads(file.read_text())
    assert report["options"]["quantization"] == "int8"
    assert [each["workload"] for each in report["results"]] == ["table", "long"]
    assert report["limits"]["read_gb_s"] > 0
    figure = report["results"][0]["figures"][0]
    assert figure["name"] == "first token, cold"
    assert figure["share_of_bound"] == pytest.approx(figure["bound"] / figure["median"])


def test_bench_says_where_the_time_of_a_step_goes(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    result = run("bench", "--profile", "--repeat", "1", "--json", str(file))
    assert result.returncode == 0, result.stderr
    for text in ("linear layers", "attention", "cache", "scheduling", "sampling", "neither model nor attention", "batch 8"):
        assert text in result.stdout
    phases = json.loads(file.read_text())["profile"]
    assert [phase["phase"] for phase in phases] == ["prefill of 512 tokens", "decode, batch 1", "decode, batch 8"]


def chatted(typed: str, *args: str, interrupted: bool = False) -> str:
    """What chat writes to somebody who types that in a pseudo-terminal, and has pressed Ctrl-C at the first prompt."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "chat", "--system", TABLE, "--max-tokens", "12", *args],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )
    os.close(follower)
    before = ""
    while interrupted and before.count("You: ") < 2:
        assert process.stdout is not None
        if before.endswith("You: "):
            process.send_signal(signal.SIGINT)
        if select.select([process.stdout], [], [], 0.5)[0]:
            before += os.read(process.stdout.fileno(), 4096).decode()
    os.write(leader, typed.encode())
    out, _ = process.communicate(timeout=240)
    os.close(leader)
    return before + out


def test_chat_reuses_the_conversation() -> None:
    out = chatted("What is Alice Smith's salary?\nWhat is Bob Johnson's salary?\n\n")
    reused = [int(number) for number in re.findall(r"(\d+) of \d+ prompt tokens reused", out)]
    assert len(reused) == 2
    assert reused[1] > reused[0]


def test_chat_takes_commands_and_does_not_send_them() -> None:
    out = chatted("/help\n/rest\nWhat is Bob Johnson's salary?\n/reset\nWhat is Bob Johnson's salary?\n/exit\nnever\n")
    assert out.count("/reset  forget the conversation") == 2
    assert "There is no command /rest." in out
    accounts = re.findall(r"(\d+) of (\d+) prompt tokens reused", out)
    assert len(accounts) == 2
    assert accounts[0][1] == accounts[1][1], "the conversation began anew"
    assert int(accounts[1][0]) == int(accounts[1][1]) - 1


def test_ctrl_c_at_the_prompt_drops_the_line_and_not_the_conversation() -> None:
    out = chatted("What is Bob Johnson's salary?\n/exit\n", interrupted=True)
    assert "Ctrl-D ends the conversation" in out
    assert out.count("prompt tokens reused") == 1


def test_generate_says_when_a_chat_model_is_sent_raw_text(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(TABLE_READER, model)
    raw = run("generate", str(model), "--max-tokens", "2", "Hello")
    assert raw.returncode == 0, raw.stderr
    assert "This model has a chat template; the text is sent as it is." in raw.stderr
    chat = run("generate", "--model", str(model), "--max-tokens", "2", "--chat", "Hello")
    assert "chat template;" not in chat.stderr
    tokens = [int(re.findall(r"(\d+) prompt tokens", each.stderr)[0]) for each in (raw, chat)]
    assert tokens[1] > tokens[0]


def test_the_example_in_the_readme_is_the_file_and_runs() -> None:
    example = ROOT / "examples" / "one_table.py"
    readme = (ROOT / "README.md").read_text()
    body = example.read_text().split('"""\n\n', 1)[1]
    assert body in readme
    assert markdown_table() in body
    result = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.strip().split("\n")
    assert first.startswith("'85000': 0 tokens cached")
    assert second.startswith("'70000'")
    assert int(re.search(r"(\d+) tokens cached", second)[1]) > 150  # type: ignore[index]


def test_a_shell_completes_commands_and_options() -> None:
    def asked(words: str, place: int) -> list[str]:
        env = {**os.environ, "_FOREWORD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        return subprocess.run(COMMAND, capture_output=True, text=True, check=True, env=env).stdout.split()

    assert asked("foreword ser", 1) == ["serve"]
    assert "--max-num-seqs" in asked("foreword serve --max", 2)
    assert "_FOREWORD_COMPLETE=complete_bash" in run("completion", "bash").stdout


def test_h_is_help_everywhere() -> None:
    assert run_here("-h").stdout == run_here("--help").stdout
    assert "--port" in run_here("serve", "-h").stdout
    assert "tenant" in run_here("api-key", "-h").stdout
