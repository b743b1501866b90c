"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch

BRANCH = Branch(
    further={
        "redwood.streams": {
            "s_minus": "redwood.branches.ctrl.streams:SMinus",
            "s_plus": "redwood.branches.ctrl.streams:SPlus",
            "s_in": "redwood.branches.ctrl.streams:SIn",
            "s_out": "redwood.branches.ctrl.streams:SOut",
            "s_pl": "redwood.branches.ctrl.streams:SPl",
            "s_long": "redwood.branches.ctrl.streams:SLong",
        }
    }
)
