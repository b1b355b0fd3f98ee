/**
 * The HTTP service around the counters: it turns requests into calls of counter-core and counter-k8s, and their answers into
 * responses. Nothing here is a library; {@link io.counterset.app.Application} starts it.
 */
@NullMarked
package io.counterset.app;

import org.jspecify.annotations.NullMarked;
