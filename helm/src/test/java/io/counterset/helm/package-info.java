// SPDX-License-Identifier: Apache-2.0
/** Tests of the chart in {@code helm/counter}, through the real Helm engine and offline. */
@NullMarked
package io.counterset.helm;

import org.jspecify.annotations.NullMarked;
