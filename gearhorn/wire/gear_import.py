# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The gear library, imported where epoll is missing too.

``gear.Server`` names constants of epoll, which only Linux has, when Python reads its
class. Nothing that a client uses needs them.
"""

import select

_missing = [
    name
    for name in ("EPOLLERR", "EPOLLET", "EPOLLHUP", "EPOLLIN", "EPOLLOUT")
    if not hasattr(select, name)
]
for _name in _missing:
    setattr(select, _name, 0)
try:
    import gear
    from gear import constants
finally:
    for _name in _missing:
        delattr(select, _name)

__all__ = ["constants", "gear"]
