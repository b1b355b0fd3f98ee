// SPDX-License-Identifier: Apache-2.0
/** Benchmarks of counter-core and its rivals, measured in one run on one file system. */
@NullMarked
package io.counterset.bench;

import org.jspecify.annotations.NullMarked;
