"""Small tokenizers in the layouts of real families, written to disk as the hub has them and loaded by AutoTokenizer.

Each is trained twice. The large vocabularies have read all of SENTENCES, so that frequent names are one token; the small
ones have read a few lower-case words only, so that a name is ten tokens and all else falls to bytes.
"""

# ruff: noqa: RUF001
# The letters that ruff takes for slips are those of the names.

import json
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stages.modeling.tokens import train_tokenizer

NAMES = (
    "Ada Lovelace", "Bob Byron Jr.", "Zoë Brontë", "Siobhán O’Connor", "Mary-Ann D'Arcy", "Мира Козлова", "Ζωή Παππά",
    "李 小龙", "فاتن حمامة", "दीपिका पादुकोण", "Dev 😀", "Đặng Thị Ngọc", "The Silent Harbour", "Monsters, Inc.",
)  # fmt: skip
FORMS = (
    "{0} stars in a movie alongside {1}.",
    "Q: Who stars in a movie with {0}? A: An actor named {1}.",
    "In a new film, {0} appears in {1} with the other lead actor, whose name is: {0}",
    "In the film {1}, {0} has a lead role",
)
SENTENCES = [form.format(one, other) for one in NAMES for other in NAMES for form in FORMS]
FEW_WORDS = ["a movie stars in a new film with an actor", "the lead role", "who plays opposite"] * 4

# The pattern by which Llama-3 splits a text into words.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


@dataclass(frozen=True)
class Kind:
    """How to make a tokenizer, and what one must know to read its tokens as bytes: `form` is the Unicode normal form
    that a text is brought to, `byte_level` that a letter stands for each byte (as in GPT-2)."""

    make: Callable[[list[str], int], PreTrainedTokenizerBase]
    form: str | None = None
    byte_level: bool = True

    def normalized(self, text: str) -> str:
        return unicodedata.normalize(self.form, text) if self.form else text


@cache
def made_up_tokenizer(kind: str, large: bool) -> PreTrainedTokenizerBase:
    return KINDS[kind].make(SENTENCES, 1000) if large else KINDS[kind].make(FEW_WORDS, 20)


def token_bytes(kind: str, tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> list[bytes]:
    """The bytes of the normalized text that each token stands for, by its name alone; none for special tokens."""
    special, added = set(tokenizer.all_special_ids), tokenizer.get_added_vocab()
    pieces = []
    for token, name in zip(tokens, tokenizer.convert_ids_to_tokens(tokens), strict=True):
        if token in special:
            pieces.append(b"")
        elif name in added:
            pieces.append(name.encode())
        elif KINDS[kind].byte_level:
            pieces.append(bytes(byte_of_letter()[letter] for letter in name))
        elif name in BYTE_TOKENS:
            pieces.append(bytes([BYTE_TOKENS.index(name)]))
        else:
            pieces.append(name.replace("▁", " ").encode())
    return pieces


@cache
def byte_of_letter() -> dict[str, int]:
    """GPT-2's letter for every byte: printable Latin-1 stands for itself, the rest for the letters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def loaded(backend: Tokenizer, model_type: str, **config: object) -> PreTrainedTokenizerBase:
    """Write tokenizer.json, tokenizer_config.json and config.json, and load them as a user does."""
    with tempfile.TemporaryDirectory() as folder:
        backend.save(f"{folder}/tokenizer.json")
        Path(folder, "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        Path(folder, "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def in_front(token: str, backend: Tokenizer, behind: str = "") -> processors.TemplateProcessing:
    """The post-processor that puts a token in front of every text, and perhaps one behind it."""
    special = [(name, backend.token_to_id(name)) for name in (token, behind) if name]
    return processors.TemplateProcessing(single=f"{token} $A {behind}".strip(), special_tokens=special)


def byte_level_bpe(
    texts: list[str], merges: int, words: pre_tokenizers.PreTokenizer, *special: str, **bpe: bool
):
    backend = Tokenizer(models.BPE(**bpe))
    backend.pre_tokenizer = words
    backend.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=len(special) + len(letters) + merges,
        special_tokens=list(special),
        initial_alphabet=letters,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def gpt2(texts: list[str], merges: int) -> PreTrainedTokenizerBase:
    backend = byte_level_bpe(texts, merges, pre_tokenizers.ByteLevel(add_prefix_space=False), "<|endoftext|>")
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return loaded(backend, "gpt2", model_max_length=1024)


def pythia(texts: list[str], merges: int) -> PreTrainedTokenizerBase:
    """With tokens of 2 to 24 spaces, as GPT-NeoX has."""
    ends = ("<|endoftext|>", "<|padding|>")
    backend = byte_level_bpe(texts, merges, pre_tokenizers.ByteLevel(add_prefix_space=False), *ends)
    backend.normalizer = normalizers.NFC()
    backend.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=True)
    backend.add_tokens([AddedToken(" " * n, normalized=True, special=False) for n in range(24, 1, -1)])
    names = {"unk_token": ends[0], "bos_token": ends[0], "eos_token": ends[0]}
    return loaded(backend, "gpt_neox", tokenizer_class="GPTNeoXTokenizer", add_prefix_space=False, **names)


def llama3(texts: list[str], merges: int) -> PreTrainedTokenizerBase:
    split = pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend = byte_level_bpe(texts, merges, pre_tokenizers.Sequence([split, letters]), ignore_merges=True)
    backend.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    backend.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), in_front("<|begin_of_text|>", backend)]
    )
    return loaded(
        backend,
        "llama",
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        clean_up_tokenization_spaces=True,
    )


def trimmed(texts: list[str], merges: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE whose offsets leave white space out, and which puts a space in front of every text."""
    words = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend = byte_level_bpe(texts, merges, words, "<s>", "</s>")
    backend.post_processor = processors.Sequence(
        [processors.ByteLevel(add_prefix_space=True, trim_offsets=True), in_front("<s>", backend)]
    )
    return loaded(
        backend, "llama", tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>"
    )


def sentencepiece_bpe(texts: list[str], merges: int, *special: str) -> Tokenizer:
    """BPE on characters, ▁ for a space; what it does not know falls to bytes. Tokens of two spaces, as Gemma has."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # no merge across words
    trainer = BpeTrainer(vocab_size=merges + 40, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    learnt = json.loads(backend.to_str())["model"]
    names = dict.fromkeys([*special, *BYTE_TOKENS, "▁▁", *learnt["vocab"]])
    vocabulary = {name: number for number, name in enumerate(names)}
    pairs = [("▁", "▁"), *map(tuple, learnt["merges"])]
    backend = Tokenizer(models.BPE(vocabulary, pairs, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.add_special_tokens(list(special))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


def gemma(texts: list[str], merges: int) -> PreTrainedTokenizerBase:
    backend = sentencepiece_bpe(texts, merges, "<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.post_processor = in_front("<bos>", backend)
    names = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")}
    return loaded(
        backend, "gemma", tokenizer_class="GemmaTokenizer", add_bos_token=True, add_eos_token=False, **names
    )


def llama2(texts: list[str], merges: int) -> PreTrainedTokenizerBase:
    """Puts a space in front of every text."""
    backend = sentencepiece_bpe(texts, merges, "<unk>", "<s>", "</s>")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.post_processor = in_front("<s>", backend)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return loaded(
        backend, "llama", tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=False, **names
    )


def unigram(texts: list[str], pieces: int, scheme: str, eos: bool) -> PreTrainedTokenizerBase:
    """SentencePiece's Unigram; a space in front of every text. With `eos` as T5: NFKC, and an EOS behind every text."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.normalizer = normalizers.NFKC() if eos else None
    special = ["<unk>", "<s>", "</s>"]
    trainer = UnigramTrainer(
        vocab_size=pieces + 40, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    whole = json.loads(backend.to_str())
    learnt = whole["model"]["vocab"]
    at = len(special)
    whole["model"] |= {
        "vocab": [*learnt[:at], *([name, 0.0] for name in BYTE_TOKENS), *learnt[at:]],
        "byte_fallback": True,
    }
    backend = Tokenizer.from_str(json.dumps(whole))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = in_front("<s>", backend, behind="</s>" if eos else "")
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return loaded(backend, "llama", tokenizer_class="PreTrainedTokenizerFast", **names)


def own(texts: list[str], merges: int, bos: bool) -> PreTrainedTokenizerBase:
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer(texts, 259 + merges, bos).save_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


KINDS = {
    "gpt2": Kind(gpt2),
    "pythia": Kind(pythia, form="NFC"),
    "llama3": Kind(llama3),
    "trimmed": Kind(trimmed),
    "gemma": Kind(gemma, byte_level=False),
    "llama2": Kind(llama2, byte_level=False),
    "unigram_first": Kind(lambda *args: unigram(*args, scheme="first", eos=False), byte_level=False),
    "unigram_always": Kind(
        lambda *args: unigram(*args, scheme="always", eos=True), form="NFKC", byte_level=False
    ),
    "own": Kind(lambda *args: own(*args, bos=False)),
    "own_bos": Kind(lambda *args: own(*args, bos=True)),
}
