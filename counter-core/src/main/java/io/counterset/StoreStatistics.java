package io.counterset;

import java.time.Duration;
import java.util.List;

/**
 * What a store has done since it was opened, as of one moment. All numbers but {@code pending}, {@code counters} and
 * {@code rememberedKeys} only grow.
 *
 * @param commits batches that reached the device, one flush each
 * @param callers callers those served; divided by the commits, the average group
 * @param bytesWritten bytes of those batches, padding included
 * @param flushTime total time the device took for them
 * @param flushTimes how many commits took up to 2<sup>i</sup> microseconds and more than half of that, by i; the last
 *     entry takes all longer ones too
 * @param switches how often the journal went on in its other half
 * @param growths how often it was replaced by a larger one
 * @param longestStall the longest single commit, switches and growth included
 * @param recoveryTime how long opening took
 * @param commitFailures commits that failed: 0, or 1 and the store has accepted nothing since
 * @param discardedBatches batches found torn when opening, 0 or 1; their adds were never acknowledged
 * @param counters counters held, one whose first add was refused included
 * @param rememberedKeys idempotency keys inside the window
 * @param replays adds recognised by their key as applied before
 * @param earlyEvictions keys forgotten for lack of room, before they came of age
 * @param pending callers waiting now
 * @param countFileFailures failed attempts to write count.txt
 */
public record StoreStatistics(
        long commits,
        long callers,
        long bytesWritten,
        Duration flushTime,
        List<Long> flushTimes,
        long switches,
        long growths,
        Duration longestStall,
        Duration recoveryTime,
        int commitFailures,
        int discardedBatches,
        long counters,
        int rememberedKeys,
        long replays,
        long earlyEvictions,
        int pending,
        long countFileFailures) {}
