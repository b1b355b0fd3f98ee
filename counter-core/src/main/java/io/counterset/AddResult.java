package io.counterset;

/**
 * What became of an add that carried an idempotency key.
 *
 * @param total the counter's total that the add produced, when it was first applied
 * @param replayed whether it had been applied before, so that this call added nothing
 */
public record AddResult(long total, boolean replayed) {}
