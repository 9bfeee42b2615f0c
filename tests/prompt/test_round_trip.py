"""A tokenizer that changes texts is told of; one that does not is not."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from foreword.prompt.round_trip import SAMPLES, changed_samples
from foreword.prompt.tokenizer import HubTokenizer
from prompt.families import tokenizer_json


def test_a_tokenizer_of_bytes_gives_every_text_back() -> None:
    assert changed_samples(HubTokenizer.from_json(tokenizer_json())) == []


def test_one_that_makes_letters_small_or_drops_blanks_is_found_out() -> None:
    small = Tokenizer.from_str(tokenizer_json())
    small.normalizer = normalizers.Lowercase()
    changed = dict(changed_samples(HubTokenizer(small)))
    assert changed["The quick brown fox."] == "the quick brown fox."
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "fox": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.decoder = decoders.WordPiece()
    assert len(changed_samples(HubTokenizer(words))) == len(SAMPLES)
