"""The amount of free memory."""

import os
from pathlib import Path


def available_on_host() -> int:
    """Bytes that the system can give out without swapping (Linux); elsewhere, those of pages that are free."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
