"""Tokens are read as the bytes that they write, whatever the decoder of a tokenizer looks like."""

from dataclasses import replace

import pytest
from tiny import byte_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from clinprompt.backbone.answer_tokens import answer_tokens
from clinprompt.errors import BackboneError

TEXT = " Né: none\n漢🙂"
FOR_ALL_VOCABULARIES = [
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Replace("\u2581", " "),
    decoders.ByteLevel(),
]


def written(backbone, tokenizer):
    tokens = answer_tokens(replace(backbone, tokenizer=tokenizer), {257})
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    return b"".join(tokens.bytes[token] for token in ids)


def with_decoder(decoder):
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoder
    return tokenizer


def pieces_tokenizer():
    """Return a tokenizer like those of SentencePiece: blanks are a letter, and bytes are tokens."""
    words = ["<unk>", "\u2581", "N", "n", "o", "e", ":", "\u2581none"]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    model = models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(FOR_ALL_VOCABULARIES[:3])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize(
    "decoder", [decoders.ByteLevel(), decoders.Sequence(FOR_ALL_VOCABULARIES)], ids=["own", "any"]
)
def test_letters_that_stand_for_bytes_are_seen_under_any_decoder(tiny_llama, decoder):
    """transformers 5.17 gives tokenizers of GGUF files a decoder for all kinds of vocabularies."""
    assert written(tiny_llama, with_decoder(decoder)) == TEXT.encode()


def test_split_before_the_letters_for_bytes_changes_nothing(tiny_llama):
    tokenizer = with_decoder(decoders.Sequence(FOR_ALL_VOCABULARIES))
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    assert written(tiny_llama, tokenizer) == TEXT.encode()


def test_vocabulary_of_pieces_and_bytes_is_read(tiny_llama):
    assert written(tiny_llama, pieces_tokenizer()) == TEXT.encode()


def test_tokenizer_whose_bytes_cannot_be_read_is_refused(tiny_llama):
    tokenizer = with_decoder(decoders.Sequence([decoders.ByteLevel(), decoders.Replace("n", "m")]))
    with pytest.raises(BackboneError, match=r"the bytes of its tokens cannot be read: .*--free"):
        written(tiny_llama, tokenizer)
