"""What is measured: every metric by name. Plain data, so that names can be checked without pandas or scipy."""

TOP = (1, 5, 10, 20, 50, 100)
# Metric -> (value per fact, how it is summarized). The order is the order of the rows.
METRICS = {
    **{f"top{k}_accuracy": (f"top{k}", "share") for k in TOP},
    "exact_match": ("exact_match", "share"),  # of the whole target; where it was scored
    "mean_rank": ("rank", "mean"),
    "median_rank": ("rank", "median"),
    "mean_probability": ("probability", "mean"),
    "mean_logprob": ("logprob", "mean"),
    "mean_logit_difference": ("logit_difference", "mean"),
    "mean_watched_mass": ("watched_mass", "mean"),  # where an experiment watches tokens
    "recovered_top5": ("top5", "recovered_share"),
    "recovered_logprob": ("logprob", "recovered"),
    "recovered_logit_difference": ("logit_difference", "recovered"),
}
# What kind of answer the most likely token is (stages/evaluation/answers.py), of the experiments in summarize.answers.
ANSWERS = ("target", "own_name", "base_answer", "co_star", "name", "other")
ANSWERED = {f"answered_{kind}": (f"answered_{kind}", "share") for kind in ANSWERS}
# What a guess recovers of the log-probability that knows only which answers there are, and how often each first token is one of
# them: a row of its own, with its own metric, beside what schemes recover.
FLAT_GUESS, GUESSED = "flat guess", "flat_guess"
SECOND = frozenset(
    name for name, (_, kind) in METRICS.items() if "share" in kind
)  # they count only which side of a rank
