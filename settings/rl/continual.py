"""The top of the reinforcement tree: one phase, no task ids, no boundaries."""

from redwood.settings.assumptions import Context
from redwood.settings.rl.setting import ReinforcementSetting


class ContinualRLSetting(ReinforcementSetting):
    """An environment whose physics may drift at every step; nothing is announced."""


class TaskAgnosticRLSetting(ContinualRLSetting, context=Context.DISCRETE):
    """The environment switches between discrete tasks, without saying when or to which."""
