package io.counterset;

/**
 * The answer to an add that carried an idempotency key.
 *
 * @param total the counter's total right after the add was first applied
 * @param replayed true when the key had been applied before, so that this call added nothing
 */
public record AddResult(long total, boolean replayed) {}
