import copy
import pickle

from glip_lightning.common.errors import GLIPError


def test_the_code_travels_between_processes():
    error = GLIPError("photos/a.png: not an image", code="unreadable-image")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is GLIPError
        assert (str(other), other.code) == (str(error), "unreadable-image")
    assert isinstance(error, ValueError)
