"""A wrong option ends a command with status 2 and is named."""

from collections.abc import Callable

import pytest

from evaluate import evaluate
from train import contact_sheet, train, train_ink, train_numbers
from train.train_ink import LEAST_BATCHES

LEAST_SHEETS = LEAST_BATCHES * train_ink.BATCH
WRONG: list[tuple[Callable[[list[str]], int], str]] = [
    *((train.main, f"--epochs={epochs}") for epochs in ("0", "-1", "many")),
    *((train.main, f"--limit={limit}") for limit in (0, train.BATCH - 1)),
    (train.main, "--without=sense"),
    *((train_ink.main, f"--pictures={pictures}") for pictures in ("0", LEAST_SHEETS - 1, "many")),
    *((train_numbers.main, f"--pages={pages}") for pages in ("0", LEAST_BATCHES * train_numbers.BATCH - 1, "many")),
    (contact_sheet.main, "pages.txt"),
    *((evaluate.main, f"--limit={limit}") for limit in ("0", "-1", "many")),
]


@pytest.mark.parametrize(("main", "option"), WRONG)
def test_a_wrong_option_is_refused(
    main: Callable[[list[str]], int], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        main([option])
    assert refusal.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err
