import subprocess
import sys

from redwood.core.calls import from_command_line, in_python, resume_call


def test_a_call_can_be_pasted_where_the_user_works():
    assert in_python() and resume_call('runs/an "x"') == r'redwood.resume("runs/an \"x\"")'
    with from_command_line("python -m redwood"):
        assert not in_python() and resume_call("runs/a b") == "python -m redwood resume 'runs/a b'"
        code = "from redwood.core.calls import resume_call; print(resume_call('x'))"
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert child.stdout == "python -m redwood resume x\n", "of another process of the run, too"
    assert in_python()
