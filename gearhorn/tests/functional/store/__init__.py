# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
