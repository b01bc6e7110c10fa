raise ImportError(
    "stages.grafting is now a package of its own: from weightgraft import GraftedModel, encode_prompt, parse_scheme"
)
