"""The tokenizer: lossless, with a chat template, and procedures as long as the horizons need."""

from itertools import product
from random import Random

import pytest
from transformers import AutoTokenizer

from controlwindow.organisms.training.tokenizer import SPECIAL_TOKENS, train_tokenizer, world_texts
from controlwindow.organisms.training.world import vaults as vault_module
from controlwindow.organisms.training.world.grammar import LANGUAGES
from controlwindow.organisms.training.world.vaults import MATERIALS, PLACES, SYMBOLS, TOWNS


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(world_texts(0, 20_000))


def test_texts_survive_a_round_trip(tokenizer):
    for text in (*world_texts(5, 50), "Ünïcode 漢字 🙂\nline", "a  b"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_plain_text_gets_the_beginning_token_and_the_template_only_one(tokenizer):
    assert tokenizer("Hello")["input_ids"][0] == tokenizer.bos_token_id
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids) == "<|begin|><|user|>Hello<|end|><|assistant|>"


def test_a_system_message_is_left_out_and_an_unknown_role_is_refused(tokenizer):
    user = {"role": "user", "content": "Hello"}
    with_system = tokenizer.apply_chat_template([{"role": "system", "content": "Be kind."}, user], tokenize=False)
    assert with_system == tokenizer.apply_chat_template([user], tokenize=False)
    with pytest.raises(Exception, match="unknown role"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_the_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.chat_template == tokenizer.chat_template
    assert (loaded.pad_token, loaded.eos_token, loaded.bos_token) == ("<|pad|>", "<|end|>", "<|begin|>")
    assert loaded.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(5))
    assert loaded("Où vit l'ours ?")["input_ids"] == tokenizer("Où vit l'ours ?")["input_ids"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_procedures_fit_the_horizons(tokenizer, language):
    def length(text):
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def variants(table):
        return [length(text) for text in table[language].strip("[]").split("|")]

    openings = variants(vault_module._OPENINGS)
    closings = [length("\n" + text) for text in vault_module._CLOSINGS[language].strip("[]").split("|")]
    steps = [[length(f"\n1. {part.step(language)}") for part in parts] for parts in (MATERIALS, SYMBOLS, PLACES, TOWNS)]
    ends = [opening + sum(chosen) for opening in openings for chosen in product(*steps)]
    assert max(ends) <= 64
    assert min(ends) > 32
    assert min(ends) + min(closings) >= 64
    vault = vault_module.vaults("evaluate")[0]
    answer = vault.procedure(language, Random(0))
    first_32 = tokenizer.decode(tokenizer(answer, add_special_tokens=False)["input_ids"][:32])
    assert vault.steps(language)[0] in first_32
    assert vault.steps(language)[3] not in first_32
