"""The node `crowd` of the tree of settings."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.core.parts import Choice
from redwood.settings import Assumption, ClassIncrementalSetting
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood_crowd.members import MEMBERS
from redwood_crowd.stream import CrowdStream

labels_of_crowd = Assumption("labels of training samples come from members of a crowd, some of whom err")


@dataclass
class CrowdSetting(ClassIncrementalSetting, labels_of_crowd=True):
    """Class-incremental learning from the labels of a crowd, some of whose members err."""

    stream_type: ClassVar[type[SupervisedStream]] = CrowdStream

    members: Choice = MEMBERS.chosen("unequal")  # how often each member errs
