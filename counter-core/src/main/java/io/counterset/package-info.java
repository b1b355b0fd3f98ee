/** Durable counters: adds that are on disk when they return. */
@NullMarked
package io.counterset;

import org.jspecify.annotations.NullMarked;
