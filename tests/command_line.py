"""A command as a user runs it."""

from typer.testing import CliRunner

from cnnboost.cli import app


def invoke(*arguments, status=0, columns=None, **options):
    """Run a command of this process; it ends with the status that is expected, and without a traceback."""
    runner = CliRunner(env={"COLUMNS": str(columns)} if columns else None)
    result = runner.invoke(app, [str(argument) for argument in arguments], **options)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result
