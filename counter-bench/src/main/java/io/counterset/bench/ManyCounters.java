// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.StoreStatistics;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;

/**
 * From one counter to a million, with names of 16 bytes: rate of adds to random counters, time to
 * open, and memory.
 */
final class ManyCounters {

    private static final List<Integer> SIZES = List.of(1, 1_000, 1_000_000);
    private static final int THREADS = 64;

    private ManyCounters() {}

    static String measure(Settings settings, Targets targets) throws Exception {
        Table table = new Table(
                "counters",
                "increments per second, 64 threads",
                "opening, ms",
                "heap per counter, bytes",
                "journal, MiB");
        for (int size : SIZES) {
            System.err.println("counters: " + size);
            try (Scratch scratch = Scratch.in(settings.directory())) {
                Samples rates = new Samples();
                long adds = fillAndLoad(scratch.path(), size, settings, rates, targets);
                Samples opening = new Samples();
                double heap = open(scratch.path(), size, adds, settings, opening);
                table.row(
                        String.format(Locale.ROOT, "%,d", size),
                        String.format(Locale.ROOT, "%,.0f", rates.median()),
                        String.format(Locale.ROOT, "%,.0f", opening.median()),
                        size < 1_000_000 ? "–" : String.format(Locale.ROOT, "%.0f", heap),
                        String.format(
                                Locale.ROOT,
                                "%.1f",
                                scratch.path()
                                                .resolve("counters.journal")
                                                .toFile()
                                                .length()
                                        / 1048576.0));
                if (size == 1_000_000) {
                    targets.atMost("open 1,000,000 counters", "milliseconds", 500, opening.median(), "%,.0f");
                    targets.atMost("heap of 1,000,000 counters", "bytes per counter", 160, heap, "%.0f");
                }
            }
        }
        return "## Many counters\n\n" + table;
    }

    private static long fillAndLoad(Path directory, int size, Settings settings, Samples rates, Targets targets)
            throws Exception {
        try (CounterStore store = CounterStore.open(directory)) {
            List<Counter> counters = new ArrayList<>(size);
            long adds = size;
            List<CompletableFuture<Long>> filling = new ArrayList<>();
            for (int i = 0; i < size; i++) {
                Counter counter = store.counter(String.format(Locale.ROOT, "counter-%08d", i));
                counters.add(counter);
                CompletableFuture<Long> added = counter.addAsync(1);
                if (added.isCompletedExceptionally()) { // the journal is growing; only a blocking add waits for that
                    counter.increment();
                } else {
                    filling.add(added);
                }
                if (filling.size() == AsyncAdds.IN_FLIGHT) {
                    filling.forEach(CompletableFuture::join);
                    filling.clear();
                }
            }
            filling.forEach(CompletableFuture::join);
            if (size == 1_000_000) {
                StoreStatistics grown = store.statistics();
                targets.atMost(
                        "longest commit while growing to 1,000,000 counters",
                        "median flush",
                        10,
                        grown.longestStall().toNanos() / 1000.0 / medianMicros(grown.flushTimes()),
                        "%.1f ×");
            }
            for (int round = 0; round <= settings.rounds(); round++) {
                Load.Result result = Load.run(
                        Thread::new,
                        THREADS,
                        settings.warmUp(),
                        settings.measured(),
                        thread -> counters.get(ThreadLocalRandom.current().nextInt(size))
                                .increment());
                adds += result.total();
                if (round > 0) { // the first round warms up
                    rates.add(result.perSecond());
                }
            }
            return adds;
        }
    }

    /**
     * Returns the median flush time in microseconds: the upper bound of the bucket with the median.
     */
    private static double medianMicros(List<Long> flushTimes) {
        long half = flushTimes.stream().mapToLong(Long::longValue).sum() / 2;
        int bucket = 0;
        for (long seen = flushTimes.get(0); seen < half; seen += flushTimes.get(bucket)) {
            bucket++;
        }
        return Math.scalb(1.0, bucket);
    }

    /**
     * Opens the store once per round, checks the counts, and returns the bytes of heap per counter.
     */
    private static double open(Path directory, int size, long adds, Settings settings, Samples opening) {
        Samples heap = new Samples();
        for (int round = 1; round <= settings.rounds(); round++) {
            long before = usedHeap();
            long start = System.nanoTime();
            try (CounterStore store = CounterStore.open(directory)) {
                opening.add((System.nanoTime() - start) / 1e6);
                heap.add((usedHeap() - before) / (double) size);
                long found = store.snapshot().values().stream()
                        .mapToLong(Long::longValue)
                        .sum();
                if (found != adds) {
                    throw new IllegalStateException("found " + found + " of " + adds + " adds after opening");
                }
            }
        }
        return heap.median();
    }

    private static long usedHeap() {
        long used = Long.MAX_VALUE;
        for (int i = 0; i < 5; i++) { // until another collection frees nothing
            System.gc();
            long now = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
            if (now >= used) {
                break;
            }
            used = now;
        }
        return used;
    }
}
