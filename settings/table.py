"""The table of the settings: the module and class of each key.

This file imports no setting and no heavy library, so that `--help` and `list` answer at once. Settings of a branch
stand in the table of the branch, `branches/NAME/table.py`.
"""

from redwood.core.branches import OF_SETTINGS, own_branches
from redwood.core.registry import known_names, reference_of

ENTRY_POINTS = OF_SETTINGS  # other packages add settings under this name

_OF_THE_TRUNK = {
    "continual": "redwood.settings.tree:ContinualSetting",
    "task_agnostic": "redwood.settings.tree:TaskAgnosticSetting",
    "class_incremental": "redwood.settings.tree:ClassIncrementalSetting",
    "domain_incremental": "redwood.settings.tree:DomainIncrementalSetting",
    "task_incremental": "redwood.settings.tree:TaskIncrementalSetting",
    "cumulative": "redwood.settings.tree:CumulativeSetting",
    "cumulative_task_incremental": "redwood.settings.tree:CumulativeTaskIncrementalSetting",
    "cumulative_domain_incremental": "redwood.settings.tree:CumulativeDomainIncrementalSetting",
    "traditional": "redwood.settings.tree:TraditionalSetting",
    "multi_task": "redwood.settings.tree:MultiTaskSetting",
    "online_class_incremental": "redwood.settings.tree:OnlineClassIncrementalSetting",
    "online_domain_incremental": "redwood.settings.tree:OnlineDomainIncrementalSetting",
    "online_task_incremental": "redwood.settings.tree:OnlineTaskIncrementalSetting",
    "online_traditional": "redwood.settings.tree:OnlineTraditionalSetting",
    "distributed_class_incremental": "redwood.settings.tree:DistributedClassIncrementalSetting",
    "distributed_domain_incremental": "redwood.settings.tree:DistributedDomainIncrementalSetting",
    "distributed_task_incremental": "redwood.settings.tree:DistributedTaskIncrementalSetting",
    "distributed_traditional": "redwood.settings.tree:DistributedTraditionalSetting",
    "distributed_online_class_incremental": "redwood.settings.tree:DistributedOnlineClassIncrementalSetting",
    "continual_rl": "redwood.settings.rl.tree:ContinualRLSetting",
    "task_agnostic_rl": "redwood.settings.rl.tree:TaskAgnosticRLSetting",
    "incremental_rl": "redwood.settings.rl.tree:IncrementalRLSetting",
    "task_incremental_rl": "redwood.settings.rl.tree:TaskIncrementalRLSetting",
    "traditional_rl": "redwood.settings.rl.tree:TraditionalRLSetting",
    "multi_task_rl": "redwood.settings.rl.tree:MultiTaskRLSetting",
    "distributed_incremental_rl": "redwood.settings.rl.tree:DistributedIncrementalRLSetting",
    "distributed_task_incremental_rl": "redwood.settings.rl.tree:DistributedTaskIncrementalRLSetting",
    "distributed_traditional_rl": "redwood.settings.rl.tree:DistributedTraditionalRLSetting",
}

# The settings of redwood's own branches follow.
SETTINGS: dict[str, str] = _OF_THE_TRUNK | {
    key: reference for branch in own_branches().values() for key, reference in branch.settings.items()
}


def known_settings() -> dict[str, str]:
    """`module:Name` of all settings by key, other packages' included."""
    return known_names("setting", SETTINGS, ENTRY_POINTS)


def setting_names() -> list[str]:
    """The keys of all settings, other packages' included."""
    return list(known_settings())


def not_below(setting: str, method: str, target: str) -> str:
    """Why a method does not apply to a setting that is not below its target; all are names of classes."""
    key = next((f" (--setting {key})" for key, name in SETTINGS.items() if name.endswith(f":{target}")), "")
    return f"{method} targets {target}{key} and the settings below it; {setting} is not one of them."


def name_of_setting(cls: type) -> str:
    """The key of a setting class, or the reference that loads it."""
    return reference_of(cls, known_settings())
