"""The top of the supervised tree: one phase, no task ids, no boundaries."""

from redwood.settings.assumptions import Context
from redwood.settings.supervised import SupervisedSetting


class ContinualSetting(SupervisedSetting):
    """A stream of labelled data whose distribution may drift continuously; nothing is announced."""


class TaskAgnosticSetting(ContinualSetting, context=Context.DISCRETE):
    """The stream switches between discrete tasks, without saying when or to which."""
