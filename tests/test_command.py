"""How the scripts end."""

import pytest

from btrnn.command import exit_status


def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (FileNotFoundError("no such file: x"), 1, "error: no such file: x\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here\n"),
    ],
)
def test_what_a_user_can_mend_is_said_without_a_traceback(error, status, said, capsys):
    assert exit_status(lambda: raises(error), ValueError, OSError) == status
    assert capsys.readouterr().err == said


def test_done_work_ends_with_zero_and_a_defect_with_its_traceback():
    assert exit_status(lambda: None) == 0
    with pytest.raises(KeyError):
        exit_status(lambda: raises(KeyError()), ValueError, OSError)
