"""One browser for all pages of a process."""

import pytest

from tests.helpers.browser import CHROMIUM, Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; Debian's package chromium has it")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
