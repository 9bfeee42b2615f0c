"""What blocks are called: a name stands for one prefix of one namespace and one owner, and for nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from foreword.cache import ModelFingerprint, Namespace, PrivatePart
from foreword.errors import ConfigError
from foreword.tiers import ROOT, BlockNames, Identity, TenantKeys
from foreword.tokens import pack_tokens

MODEL = ModelFingerprint(weights="w")
SPACE = Namespace(MODEL)
TOKENS = pack_tokens(range(70))
KEYS = TenantKeys(bytes(range(32)))


def names(
    namespace: Namespace = SPACE,
    tokens: bytes = TOKENS,
    private: PrivatePart | None = None,
    keys: TenantKeys | None = None,
    block_size: int = 16,
) -> list[bytes]:
    return [key.name for key in BlockNames(namespace.key, block_size, keys).keys(tokens, private)]


def test_blocks_are_whole_and_chained() -> None:
    keys = BlockNames(SPACE.key, 16).keys(TOKENS)
    assert [key.tokens for key in keys] == [TOKENS[at : at + 64] for at in range(0, 256, 64)]
    assert [key.parent for key in keys] == [ROOT, *(key.name for key in keys[:-1])]
    assert {len(key.name) for key in keys} == {32}


def test_a_name_is_the_same_in_every_process_and_version() -> None:
    """Another value here makes all that was ever stored useless: change START or LINK in names.py and know why."""
    assert names()[1].hex() == "cbac792bb522d1ec28d5962b4137f6f101fa74f709819d9c1c45de78093c82f9"
    assert names(keys=KEYS)[1].hex() == "5fc5866397f03ec5ef0fe56488bfd12672c6a9676a77827ab60ebf3dadbb76dc"


def test_a_longer_prompt_begins_with_the_same_names() -> None:
    assert names(tokens=TOKENS[: 40 * 4]) == names()[:2]


@pytest.mark.parametrize(
    "other",
    [
        Namespace(ModelFingerprint(weights="v")),
        Namespace(ModelFingerprint(weights="w", kv_dtype="bfloat16")),
        Namespace(ModelFingerprint(weights="w", quantization="int8")),
        Namespace(ModelFingerprint(weights="w", canary="another kernel")),
        Namespace(ModelFingerprint(weights="w", block_size=32)),
        Namespace(MODEL, adapter="a"),
        Namespace(MODEL, tenant="a"),
        Namespace(MODEL, cache_salt="a"),
    ],
    ids=lambda space: space.key[-24:].hex(),
)
@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "keyed"])
def test_another_namespace_shares_no_name(other: Namespace, keys: TenantKeys | None) -> None:
    assert not set(names(keys=keys)) & set(names(other, keys=keys))


def test_another_block_size_shares_no_name() -> None:
    assert not set(names()) & set(names(block_size=32))


def test_one_other_token_changes_all_names_from_its_block_on() -> None:
    other = names(tokens=pack_tokens([*range(20), 99, *range(21, 70)]))
    assert other[0] == names()[0]
    assert not set(other[1:]) & set(names())


@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "keyed"])
@pytest.mark.parametrize(("start", "public"), [(0, 0), (16, 1), (17, 1), (31, 1), (32, 2), (64, 4), (70, 4), (99, 4)])
def test_names_are_the_owners_from_the_block_in_which_the_private_part_begins(
    start: int, public: int, keys: TenantKeys | None
) -> None:
    ours, theirs = (names(private=PrivatePart(start, owner), keys=keys) for owner in ("ours", "theirs"))
    assert ours[:public] == theirs[:public] == names(keys=keys)[:public]
    assert not set(ours[public:]) & {*theirs, *names(keys=keys)}
    owners = [key.owner for key in BlockNames(SPACE.key, 16).keys(TOKENS, PrivatePart(start, "ours"))]
    assert owners == [None] * public + ["ours"] * (4 - public)


def test_without_the_key_no_name_can_be_told() -> None:
    assert not set(names()) & set(names(keys=KEYS))
    assert not set(names(keys=TenantKeys(bytes(32)))) & set(names(keys=KEYS))


def test_keys_differ_by_owner_and_purpose() -> None:
    keys = {make(owner) for make in (KEYS.naming_key, KEYS.sealing_key) for owner in (None, "", "a", "b", "\ud800")}
    assert len(keys) == 10


def test_a_key_is_read_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(bytes(range(32)).hex() + "\n")
    monkeypatch.delenv("FOREWORD_STORE_KEY", raising=False)
    assert TenantKeys.read(None) is None
    monkeypatch.setenv("FOREWORD_STORE_KEY", bytes(range(32)).hex())
    for read in (TenantKeys.read(file), TenantKeys.read(None)):
        assert read is not None
        assert read.naming_key("a") == KEYS.naming_key("a")


@pytest.mark.parametrize("content", [b"", b"00", b"xyz", b"\xff\xfe", b"0" * 66])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(file)) as error:
        TenantKeys.read(file)
    assert "xyz" not in str(error.value)
    with pytest.raises(ConfigError, match="absent"):
        TenantKeys.read(tmp_path / "absent")


@pytest.mark.parametrize("rope", ["", "short", "long " * 60])
def test_an_identity_tells_its_model(rope: str) -> None:
    model = ModelFingerprint(weights="w", kv_dtype="bfloat16", rope=rope, block_size=32)
    identity = Identity.of(model)
    assert identity.model() == model
    assert Identity.of(replace(model, canary="c")).digest != identity.digest


def test_an_identity_whose_text_is_cut_or_damaged_tells_no_model() -> None:
    long = Identity.of(ModelFingerprint(weights="w", rope="long " * 1000))
    assert len(long.text) < 1000
    for text in (long.text, "", "{damaged", "3", "{}", '{"weights": "another"}'):
        assert Identity(long.digest, text).model() is None


@pytest.mark.parametrize("text", ["", "abcd", "ab" * 31, '"' + "ab" * 32 + '"', "\u00e4" * 64, "ab" * 32 + "\n" + "cd" * 32])
def test_what_is_no_key_says_how_one_is_made(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="must hold 64 hexadecimal digits and nothing else; `openssl"):
        TenantKeys.read(file)


def test_a_key_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    plain.write_text("ab" * 32)
    marked.write_text("ab" * 32 + "\r\n", "utf-8-sig")
    one, two = TenantKeys.read(plain), TenantKeys.read(marked)
    assert one is not None
    assert two is not None
    assert one.naming_key("acme") == two.naming_key("acme")
