/** The HTTP service around the counters. */
@NullMarked
package io.counterset.app;

import org.jspecify.annotations.NullMarked;
