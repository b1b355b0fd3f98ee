// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the peers of this replica, asks them for their counts, and remembers their last answers.
 */
@NullMarked
package io.counterset.k8s;

import org.jspecify.annotations.NullMarked;
