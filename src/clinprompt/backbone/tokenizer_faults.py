"""Refuse a backbone whose tokenizer contradicts itself or its model. Loads no weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from gguf import GGUFReader

from clinprompt.errors import BackboneError

_SPECIAL = ("bos", "eos", "padding")
_REMEDY = "convert the model again, or use another copy of it"


def check_gguf_tokenizer(name: str, reader: GGUFReader) -> None:
    """Check that a GGUF file has a tokenizer whose tokens fit its special ids and embeddings.

    Raises:
        BackboneError: it has no tokens or no merges, a special id is none of its tokens, or there
            are more tokens than embeddings.
    """
    tokens = reader.get_field("tokenizer.ggml.tokens")
    count = len(tokens.data) if tokens else 0
    if not count:
        raise _fault(name, "the file has no list of tokens")
    model = reader.get_field("tokenizer.ggml.model")
    if model and model.contents() == "gpt2" and not reader.get_field("tokenizer.ggml.merges"):
        raise _fault(name, "the file has no list of merges")
    for special in _SPECIAL:
        field = reader.get_field(f"tokenizer.ggml.{special}_token_id")
        if field and (number := int(field.contents())) >= count:
            raise _fault(name, f"{special}_token_id is {number}, but there are {count} tokens")
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight" and count > (rows := int(tensor.shape[1])):
            raise _fault(name, f"there are {count} tokens, but embeddings of {rows}")


@contextmanager
def naming_tokenizer(name: str) -> Iterator[None]:
    """Turn an error of the library tokenizers into one that names the backbone.

    Raises:
        BackboneError: the library refuses a part of the tokenizer, for instance a merge.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:  # tokenizers raises this class itself, and no other does
            raise
        raise _fault(name, str(error).strip().partition("\n")[0]) from error


def _fault(name: str, fault: str) -> BackboneError:
    return BackboneError(
        f"backbone {name}: its tokenizer is damaged or inconsistent: {fault}; {_REMEDY}"
    )
