"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, Command, MethodEntry

BRANCH = Branch(
    settings={
        "acquisition": "redwood.branches.acquisition.setting:AcquisitionSetting",
    },
    commands={
        "advise": Command(
            "redwood.branches.acquisition.advice:Advise",
            "",
            "say how many samples of each slice to collect for a budget",
            reads_data=True,
        )
    },
    methods={
        "uniform": MethodEntry(
            "redwood.branches.acquisition.buyers:Uniform",
            "acquisition",
            "buys samples for the same money of each slice: a baseline",
        ),
        "water_filling": MethodEntry(
            "redwood.branches.acquisition.buyers:WaterFilling",
            "acquisition",
            "buys samples of the smallest slice: a baseline",
        ),
        "slice_tuner": MethodEntry(
            "redwood.branches.acquisition.slice_tuner:SliceTuner",
            "acquisition",
            "buys samples where learning curves promise most, and evenly (Tae & Whang, 2021)",
            requires=frozenset({"many_passes", "one_worker"}),
        ),
    },
)
