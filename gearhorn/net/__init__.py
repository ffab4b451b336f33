# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Connecting to hosts: names, addresses, TLS. Shared by ``wire`` and ``store``.

``resolver`` looks names up, ``connecting`` makes the connection to one of their
addresses, and ``tls`` makes the context for a connection from files that may be
renewed at any time.

Invariants:

* Nothing here blocks the loop, or outlives it: a name that is slow to resolve
  holds up only who asks for it, and neither the end of the loop nor of the program.
* What a host is called, where it is and what its certificate is are looked at
  anew for each connection.

Rejected: asyncio's default executor for names (it has few threads, a loop that ends
waits for all of them, and it takes no work once the main thread has ended).
"""
