"""A user's turn as a chat model sees it: the tokenizer's own template around a text."""

from transformers import PreTrainedTokenizerBase

from .encoding import check_unicode
from .words import brief

# Letters for private use; the first that is not there already marks where a text is.
MARKS = range(0xE000, 0xF8FF)
LONGEST = 200  # letters of an error


def render_turn(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, int]:
    """(what the model reads, where in it the text begins): the text as a user's turn, and the beginning of the answer.

    It has its special tokens already: tokenize it with add_special_tokens=False.
    Raises ValueError for what is no text, for a tokenizer without a template, and for a template that fails or does not keep the
    text.
    """
    check_unicode("the prompt", text)
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "its tokenizer has no chat template; ask without one, or add chat_template.jinja to the folder"
        )
    bare, rendered = text.strip(), _rendered(tokenizer, text)
    mark = next((chr(place) for place in MARKS if chr(place) not in text + rendered), "")
    marked = _rendered(tokenizer, f"{mark}{bare}{mark}")
    start = marked.find(mark)
    if marked.count(mark) == 2 and rendered[start:].startswith(text):
        return rendered, start
    if marked.count(mark) == 2 and rendered[start:].startswith(bare):  # templates may strip a turn
        return rendered, start - text.index(bare)
    raise ValueError("its chat template does not keep a user's turn as it is, once; ask without it")


def _rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    turn = [{"role": "user", "content": text}]
    try:
        rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is code of others, and may raise anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"its chat template fails: {brief(told, LONGEST)}") from None
    if not isinstance(rendered, str):
        raise ValueError(f"its chat template gives a {type(rendered).__name__} and no text; ask without it")
    return rendered
