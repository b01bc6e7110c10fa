"""A user's turn as a chat model sees it: the tokenizer's own template around a text."""

from transformers import PreTrainedTokenizerBase

MARK = "\ue000"  # a letter of nobody's


def render_turn(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, int]:
    """(what the model reads, where in it the text begins): the text as a user's turn, and the beginning of the answer.

    It has its special tokens already: tokenize it with add_special_tokens=False.
    Raises ValueError for a tokenizer without a template, and for a template that fails or does not keep the text.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "its tokenizer has no chat template; ask without one, or add chat_template.jinja to the folder"
        )
    bare = text.strip()
    rendered, marked = _rendered(tokenizer, text), _rendered(tokenizer, f"{MARK}{bare}{MARK}")
    start = marked.find(MARK)
    if marked.count(MARK) == 2 and rendered[start:].startswith(text):
        return rendered, start
    if marked.count(MARK) == 2 and rendered[start:].startswith(bare):  # templates may strip a turn
        return rendered, start - text.index(bare)
    raise ValueError("its chat template does not keep a user's turn as it is, once; ask without it")


def _rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    from jinja2 import TemplateError

    turn = [{"role": "user", "content": text}]
    try:
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    except (TemplateError, TypeError) as error:
        raise ValueError(f"its chat template fails: {error}") from None
