"""What can be imported, what it needs, and what is public."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import foreword
from foreword.cli.reference.public import PUBLIC_PACKAGES
from foreword.config import build_config
from foreword.errors import ConfigError
from foreword.sched import SchedulerConfig

ROOT = Path(__file__).parents[1]
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
{code}
"""
ENGINE = {"torch", "transformers", "safetensors", "tqdm", "llvmlite", "huggingface_hub"}
SERVER = {"fastapi", "uvicorn", "starlette", "prometheus_client", "structlog"}


def run_without(missing: set[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run a program on a machine that lacks some packages."""
    program = WITHOUT.format(missing=missing, code=code)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    "code",
    [
        "from foreword import SamplingParams, EngineConfig, Account, MissReason, Mark, Explanation, errors",
        "from foreword import RequestOutput, CompletionOutput, EngineConfig; EngineConfig()",
        "import foreword.serving, foreword.serving.config, foreword.replay, foreword.testing, foreword.audit",
        "from foreword.cache import CacheConfig, PrefixCache; PrefixCache(CacheConfig()).check_integrity()",
        "from foreword.sched import Scheduler; from foreword.observe import Observer",
        "from foreword.prompt import PromptBuilder; from foreword.audit import audit",
        "import foreword.tiers.packs, foreword.tiers.opening, foreword.tiers.valkey",
    ],
)
def test_it_works_without_torch(code: str) -> None:
    result = run_without(ENGINE | SERVER, code)
    assert result.returncode == 0, result.stderr


OTHERS = {"xxhash", "cryptography", "valkey", "obstore", "zmq", "msgspec", "ray", "zstandard", "faker", "matplotlib"}
"""What the engine and the server do without: it comes with other extras."""


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        (OTHERS | SERVER, "import foreword.engine.build, foreword.engine.llm, foreword.engine.async_llm, foreword.cli.demo"),
        (OTHERS, "import foreword.engine.build, foreword.server.build, foreword.server.server, foreword.cli.serve"),
    ],
    ids=["engine", "server"],
)
def test_an_extra_needs_no_other(missing: set[str], code: str) -> None:
    result = run_without(missing, code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["generate", "--help"], ["top", "-h"]])
def test_help_needs_neither_torch_nor_numpy(arguments: list[str]) -> None:
    code = f"sys.argv = ['foreword', *{arguments!r}]\nfrom foreword.cli.main import run; run()"
    result = run_without(ENGINE | SERVER | {"numpy"}, code)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


@pytest.mark.parametrize("missing", [ENGINE, {"torch"}], ids=["engine", "torch"])
@pytest.mark.parametrize(
    "code",
    [
        "import foreword; foreword.LLM()",
        "import foreword; foreword.AsyncLLM()",
        *(
            f"sys.argv = ['foreword', {command}]\nfrom foreword.cli.main import run; run()"
            for command in ("'generate', 'x'", "'demo'", "'bench'", "'serve'")
        ),
    ],
)
def test_what_needs_torch_says_how_to_install_it(code: str, missing: set[str]) -> None:
    result = run_without(missing, code)
    assert result.returncode == 1
    assert re.search(r"pip install 'foreword\[(engine|server)\]'", result.stderr), result.stderr


@pytest.mark.parametrize("missing", ["xxhash", "valkey", "obstore", "cryptography"])
def test_a_store_says_how_to_install_what_it_needs(missing: str) -> None:
    code = f"""
from pathlib import Path
from foreword.cache import ModelFingerprint
from foreword.tiers import Identity, TenantKeys
from foreword.tiers.opening import open_packs, open_shared
from foreword.tiers.pack_options import PackOptions
identity = Identity.of(ModelFingerprint(weights="w"))
{
        {
            "xxhash": "open_packs(Path('absent'), identity, PackOptions(), None)",
            "valkey": "open_shared('valkey://host', identity, None)",
            "obstore": "open_shared('s3://bucket', identity, None)",
            "cryptography": "TenantKeys(bytes(32)).naming_key(None)",
        }[missing]
    }
"""
    result = run_without({missing}, code)
    assert result.returncode == 1
    assert f"needs the package '{missing}': install it with  pip install 'foreword[tiers]'" in result.stderr, result.stderr


def test_a_pure_folder_is_tested_without_torch() -> None:
    """Stands in for `make test-no-torch`."""
    tests = ["tests/cache/test_pool.py", "tests/cache/test_tree.py", "tests/sched", "tests/test_tokens.py"]
    code = f"import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *{tests!r}]))"
    result = run_without(ENGINE | SERVER, code)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("package", ["foreword.sched", "foreword.engine", *PUBLIC_PACKAGES])
def test_a_package_exports_what_it_says(package: str) -> None:
    """Every name of ``__all__`` is there, and nothing that is imported to be exported is missing from it."""
    if package in ("foreword.engine", "foreword.testing"):
        pytest.importorskip("torch")
    module = importlib.import_module(package)
    assert {name for name in module.__all__ if getattr(module, name, None) is None} == set()
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("foreword")
        for alias in node.names
    } - {"lazy_exports"}
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {name for name in imported | defined if not name.startswith("_")} == set(module.__all__)


def test_a_wheel_has_every_file_of_the_package() -> None:
    package, project = ROOT / "src" / "foreword", tomllib.loads((ROOT / "pyproject.toml").read_text())
    given = {path for pattern in project["tool"]["setuptools"]["package-data"]["foreword"] for path in package.glob(pattern)}
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {path.name for path in there} >= {"py.typed", "prices.toml", "index.html", "model.safetensors"}
    assert there - given == set()


def test_a_name_nobody_knows_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LMM'"):
        _ = foreword.LMM


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'max_num_seqs'"):
        build_config(SchedulerConfig, {"max_num_seq": 3})


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "foreword.__version__"}
    assert version("foreword") == foreword.__version__


def test_every_requirement_has_a_floor_that_the_pins_reach() -> None:
    """Stands in for `make test-lowest`, which installs the floors."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {canonicalize_name(name): Version(pin.split()[0]) for name, pin in pins}
    for text in chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(text)
        if requirement.name == "foreword":
            continue
        floors = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
        assert len(floors) == 1, text
        assert pinned.get(canonicalize_name(requirement.name), floors[0]) >= floors[0], text
