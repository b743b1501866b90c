"""A new setting in 10 lines: one pass over tasks whose id is known at test, and whose past stays accessible.

Run it by naming the file: python cli.py --setting examples/new_setting.py:OnlineMemory --method rehearsal
"""

from redwood.settings import CumulativeSetting, OnlineTaskIncrementalSetting


class OnlineMemory(OnlineTaskIncrementalSetting, CumulativeSetting):
    """Task-incremental learning in one pass, in which the data of earlier tasks stays accessible."""
