// SPDX-License-Identifier: Apache-2.0
/** Durable counters: an add is on disk when it returns. */
@NullMarked
package io.counterset;

import org.jspecify.annotations.NullMarked;
