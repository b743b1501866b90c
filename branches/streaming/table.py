"""The entries that this branch adds to redwood."""

from redwood.core.branches import Branch, MethodEntry

BRANCH = Branch(
    methods={
        "moving_window": MethodEntry(
            "redwood.branches.streaming.moving_window:MovingWindow",
            "continual",
            "ridge regression on the latest samples",
        ),
        "just_in_time": MethodEntry(
            "redwood.branches.streaming.just_in_time:JustInTime",
            "continual",
            "fits a local model to the stored neighbours of each query (Bottou & Vapnik, 1992)",
        ),
        "ncm": MethodEntry(
            "redwood.branches.streaming.ncm:NCM",
            "continual",
            "nearest class mean of frozen features (Mensink et al., 2013)",
        ),
        "slda": MethodEntry(
            "redwood.branches.streaming.slda:SLDA",
            "continual",
            "streaming linear discriminant analysis of frozen features (Hayes & Kanan, 2020)",
        ),
        "ranpac": MethodEntry(
            "redwood.branches.streaming.ranpac:RanPAC",
            "continual",
            "random projection of frozen features and ridge regression (McDonnell et al., 2023)",
        ),
    },
)
