"""What the terminal shows of a trial can be copied from there."""

from rich.console import Console

from playbook.run_files import Result
from playbook.training.progress import summary


def test_the_folder_is_one_line_however_narrow_the_table_and_the_terminal():
    folder = "outputs/runs/" + "digits-mlp-nesterov-" * 5 + "0123456789"
    result = Result("complete", 0.5, 10, 0.5, 10, 1.0, {}, 0, "val/f1", "max")
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(summary(result, folder), crop=False)
    assert captured.get().splitlines()[0] == folder
