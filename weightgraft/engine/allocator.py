"""What the process keeps of the memory that it frees."""

import torch


def keep_freed_memory() -> None:
    """Let the process keep up to 62 MB of freed memory for its next allocations.

    Once its heap has more than this free, glibc hands it back to the system: more than twice the largest block that
    was ever mapped and freed, 32 MB at most. Where that was a few megabytes, each pass over a tiny model gives
    back what the next one asks for, and up to a third of its time goes into fresh pages. So one block of almost 32 MB
    is mapped and freed, without being touched. With other allocators this does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
