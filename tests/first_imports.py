"""What processes of the tests import before the large libraries, as processes of redwood do."""

from redwood.core.late_torchmetrics import defer_torchmetrics

defer_torchmetrics()
