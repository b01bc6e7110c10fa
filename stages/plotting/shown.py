"""What the pages show, as data: prompts, schemes in their order, variants, colours by scheme, notes in legends."""

PROMPTS = ("headline", "qa", "movie_title", "long")
POSITION_SCHEMES = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
TITLE_GROUPS = {
    "reference": ("PRE", "SFT", "FE", "LT", "FE+LT"),
    "movie title": ("M", "M+LT", "FE+M", "FE+M+LT", "(FE+M)^C", "(FE+M+LT)^C"),
    "relation words": ("R", "R+LT", "FE+R", "FE+R+LT"),
}
UNEMBEDDING_SCHEMES = POSITION_SCHEMES[2:]
COMPONENT_SCHEMES = (
    *("ATTN+O+FFN", "O+FFN", "ATTN+FFN", "FFN", "O+FFN-DOWN", "O+FFN-UP", "ATTN+O", "O"),
    *("O+FFN_random", "FFN_random"),
)
HYBRID_SCHEMES = ("PRE", "SFT", "relation", "NO FE", "FE FULL")
HYBRID_COMPONENTS = ("SFT", "NO FE", "FE ATTN", "FE FFN", "FE O+FFN", "FE FULL")
# Where the schemes with names of their own graft: only at LT, or at FE too.
HYBRID_HUES = {name: "LT" for name in ("relation", "NO FE")} | {
    name: "FE+LT" for name in HYBRID_COMPONENTS[2:]
}
# Variant -> what a scheme is called in it. What a variant does not have is not drawn.
RANGES = {
    "second half": "{}@LT[second_half]",
    "last quarter": "{}@LT[last_quarter]",
    "all layers": "{}@LT[all]",
}
RELATIONS = {"relation's O+FFN at LT: second half of the layers": "{}", "in all layers": "{} [all]"}
UNEMBEDDINGS = {
    "unembedding: SFT's at LT where LT is grafted": "{}",
    "always PRE's": "{} | PRE unembed",
    "always SFT's": "{} | SFT unembed",
}
LAYERS_ONLY_SCHEMES = (*UNEMBEDDING_SCHEMES, "all", "EMBED@FE", "UNEMBED@LT")
WITH_TABLES = {"all of SFT there": "{}", "its layers only": "{} | layers"}
# What is left to the recipient, and where.
LEFT_OUT = (
    *("EMBED@FE", "ATTN@FE", "O@FE", "FFN@FE", "O+FFN@FE", "all@FE"),
    *("EMBED@LT", "ATTN@LT", "O@LT", "FFN@LT", "O+FFN@LT", "UNEMBED@LT", "O+FFN+UNEMBED@LT", "all@LT"),
)
WITHIN_LAYERS = ("ATTN", "O", "FFN", "O+FFN")
COLLATERAL_SCHEMES = {  # with their hues
    **{name: name for name in ("PRE", "SFT", "FE", "LT", "FE+LT")},
    **{f"{name} | layers": name for name in ("FE", "LT", "FE+LT")},
}
# Kinds of answers (stages/analysis/metrics.py), with their words and colours: Okabe-Ito hues, neighbours of different lightness.
KINDS = {
    "target": ("the right answer", "#009E73"),
    "own_name": ("the name that was asked about", "#56B4E9"),
    "base_answer": ("the base's own answer", "#B9B9B9"),
    "co_star": ("another new co-star", "#D55E00"),
    "name": ("another first name", "#F0E442"),
    "other": ("something else", "#333333"),
}
STRENGTHS = ("0.25", "0.5", "0.75", "1", "1.25")  # of donors between PRE and SFT
STATIC = {
    "grafted there": "{}",
    "as many parameters x tokens: the largest changes, at all tokens": "{} | static",
}
WINDOWS = ("none", "1/3", "2/3", "3/3", "first_half", "second_half", "all")
KNOCKED_OUT = {"FE grafted": "FE | cut {}", "FE+LT grafted": "FE+LT | cut {}", "SFT whole": "SFT | cut {}"}
KNOCK_OUT_NOTE = "below each bar: the layers in which\nLT does not see FE's keys and values"
REFERENCES = ("PRE", "SFT")  # they have no variants
COMPONENT_PROMPTS = ("movie_title", "headline")  # the first is that of the paper's Figure 4
POSITION_NOTE = "FE: the first actor's name; LT: the last token"
TITLE_NOTE = "M: the movie's title; R: the words of the relation"
COMPONENT_NOTE = "PRE: finetuned on B to A only\nrandom: as many weights, of any layers"
HYBRID_NOTE = "SFT: the relation model\nNO FE: and the task's ATTN at LT\nFE X: and the task's X at FE"
RECIPES = {"fmra": "full finetuning", "gentle": "gentle full finetuning", "lora": "LoRA"}
