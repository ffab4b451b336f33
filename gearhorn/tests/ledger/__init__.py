# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The ledger: all that was asked, answered and received under faults, and what it proves.

``python -m gearhorn.tests.ledger`` runs it (``tools/run-ledger`` installs what it needs first).

==============  =======================================================================
``record``      what is written down, and where
``publisher``   the program that publishes, with the client library
``subscriber``  the program that receives, with the client library
``poster``      the program that publishes with background jobs, on bare sockets
``follower``    the program that receives with a position in journals
``tailer``      the program that reads journals
``registrar``   the program that registers and removes, on bare sockets
``scene``       these programs, daemons and servers, and the network between them
``schedule``    which fault comes when, from a seed
``forgetting``  rounds in which the store forgets, or is another one
``filling``     rounds in which queues are filled to their limits
``journaling``  rounds in which everybody is killed while topics have journals
``recovery``    how long it takes until everything works again
``runner``      a run from start to end
``membership``  who was certainly subscribed when, and who certainly not
``naming``      which lines of a daemon name what was lost
``checker``     what the record proves
``journals``    what it proves about journals and their readers
``durability``  what gearmand itself loses, asked with a bare client
``soak``        the same programs for long, without faults but for resets
``usage``       what processes and the store use up
``plot``        the same as a picture
==============  =======================================================================
"""
