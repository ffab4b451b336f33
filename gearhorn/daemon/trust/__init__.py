# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Trust: which store this daemon may use, and which settings all of its daemons share.

``opening`` decides about the store, by what ``lookout`` sees on the job servers and
``memory`` has on the disk. No store is used, or made, while another one is known, but
on an operator's word (``acceptance``). ``agreement`` has the settings that the daemons
of a store have in common, and says who has others.

Nothing here is used while a fan-out runs.
"""
