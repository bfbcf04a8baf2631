"""Tests of what imports kvpress run in a process of their own (test_inside): never in this one."""

import os

from tests.kvpress.elsewhere import INSIDE

collect_ignore = ["fake", *([] if os.environ.get(INSIDE) else ["inside"])]
