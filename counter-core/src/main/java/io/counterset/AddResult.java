// SPDX-License-Identifier: Apache-2.0
package io.counterset;

/**
 * The result of an add with an idempotency key.
 *
 * @param total the counter's total right after the add was first applied
 * @param replayed whether an earlier call applied the add, so that this call added nothing
 */
public record AddResult(long total, boolean replayed) {}
