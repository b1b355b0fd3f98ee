// SPDX-License-Identifier: Apache-2.0
/**
 * The HTTP service for the counters. It turns requests into calls of counter-core and counter-k8s,
 * and their results into responses. Nothing here is a library; {@link
 * io.counterset.app.Application} starts the service.
 */
@NullMarked
package io.counterset.app;

import org.jspecify.annotations.NullMarked;
