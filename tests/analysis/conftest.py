"""What the tests of the analysis share."""

from collections.abc import Callable

import pandas as pd
import pytest
from made_up_tables import random_scores


@pytest.fixture
def make_scores() -> Callable[..., pd.DataFrame]:
    """A function that makes a per-fact table of made-up scores."""
    return random_scores
