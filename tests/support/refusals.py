"""How a command is refused: by the code of its error, which stays when its words change."""

import pytest

from glip_lightning.app.cli import run_verb
from glip_lightning.common.errors import GLIPError


def refusal(*arguments: object) -> GLIPError:
    """Return the error with which ``glip ARGUMENTS`` is refused; the test fails where it is not."""
    with pytest.raises(GLIPError) as caught:
        run_verb(list(map(str, arguments)))
    return caught.value
