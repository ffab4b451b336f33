# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Tests of modules by themselves, without servers.

Most call a module's own functions. Where the other side matters, ``fake`` plays a job
server on the same loop, and ``grabbing`` and ``submitting`` put a worker or a
submitter before it. The larger ones compare the code with a model that was written
without it: requests (``model_requests``, ``model_fuzz``), heads of HTTP
(``model_http``), all states of the matchmaking (``model_matchmaking``,
``matchmaking_world``), and the whole loop under any order of events (``loop_machine``,
``loop_model``, ``loop_world`` on ``model_servers``).

``test_imports``, ``test_documentation``, ``test_pages`` and ``test_evidence`` keep the
package and its pages true to each other. They are marked ``once``, as every Python
finds the same.

Invariants: time is the test's own, so a test takes as long as its work; and a private
attribute is read only where nothing that can be seen from outside would tell.

Rejected: mocks that record calls (they fail when code moves, and not when it is wrong).
"""
