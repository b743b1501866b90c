"""Options of the command line as keywords of Python."""

import pytest

from redwood.core.calls import errors_in_keywords, from_command_line
from redwood.core.errors import RedwoodError
from redwood.core.keywords import as_keywords


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--lr -1.0 has to be greater than 0.", "lr=-1.0 has to be greater than 0."),
        ("name the target by --target_column.", "name the target by target_column."),
        ("no option --a for --setting class_incremental --method x; see --help.", 'x"; see help(redwood.run).'),
        ("write --setting traditional --method finetune.", 'write setting="traditional", method="finetune".'),
        ("--angles 0 30 belong to --stream rotated, or", 'angles=[0, 30] belong to stream="rotated", or'),
        ("leave --jobs and --launcher out.", "leave jobs and launcher out."),
        ("--stream perm is unknown", "stream perm is unknown"),
        ("--config a/config.yaml names code; add --trust.", 'config="a/config.yaml" names code; add trust=True.'),
        ("--model <Net, given from Python> is", "model <Net, given from Python> is"),
        ("--union true, or --async.", "union=True, or async_."),
        ("start torchrun with another --rdzv-id.", "start torchrun with another --rdzv-id."),
    ],
)
def test_options_become_keywords(text, told):
    assert as_keywords(text).endswith(told)


def test_a_user_of_the_command_line_is_told_of_options():
    @errors_in_keywords()
    def failing():
        raise RedwoodError("--lr 0 is too small.")

    with pytest.raises(RedwoodError, match=r"^lr=0 is too small"):
        failing()
    with from_command_line("redwood"), pytest.raises(RedwoodError, match=r"^--lr 0 is too small"):
        failing()
