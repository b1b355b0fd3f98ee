// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.Counter;
import io.counterset.CounterStore;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadFactory;

/**
 * Ten thousand durable adds in flight at any time: as futures of a few threads, or in as many
 * virtual threads.
 */
final class AsyncAdds {

    static final int IN_FLIGHT = 10_000;

    /**
     * The adds in flight of one thread. When the window is full, the next add waits for the oldest
     * one.
     */
    static final class Window {
        private final Counter counter;
        private final List<CompletableFuture<Long>> adds;
        private final int size;
        private int oldest;

        Window(Counter counter, int size) {
            this.counter = counter;
            this.size = size;
            this.adds = new ArrayList<>(size);
        }

        void add() {
            if (adds.size() < size) {
                adds.add(counter.addAsync(1));
            } else {
                adds.get(oldest).join();
                adds.set(oldest, counter.addAsync(1));
                oldest = oldest + 1 == size ? 0 : oldest + 1;
            }
        }

        void await() {
            adds.forEach(CompletableFuture::join);
        }
    }

    private AsyncAdds() {}

    static String measure(Settings settings, Targets targets) throws Exception {
        Map<String, Samples> rates = new LinkedHashMap<>();
        Samples best = new Samples();
        for (int round = 0; round <= settings.rounds(); round++) {
            System.err.println("round " + round + ": addAsync");
            double one = futures(1, settings);
            double two = futures(2, settings);
            if (round > 0) { // the first round warms up
                sample(rates, "addAsync, 1 submitting thread", one);
                sample(rates, "addAsync, 2 submitting threads", two);
                best.add(Math.max(one, two));
            }
            ThreadFactory virtual = Increments.virtualThreads().orElse(null);
            if (virtual != null) {
                double blocking = blocking(virtual, settings);
                if (round > 0) {
                    sample(rates, "increment, 10,000 virtual threads", blocking);
                }
            }
        }
        targets.atLeast("durable addAsync, 10,000 in flight", "adds per second", 3_000_000, best.median(), "%,.0f");
        Table table = new Table("10,000 in flight", "adds per second");
        rates.forEach((title, samples) -> table.row(title, String.format(Locale.ROOT, "%,.0f", samples.median())));
        return "## Durable adds in flight\n\n" + table;
    }

    private static void sample(Map<String, Samples> rates, String title, double rate) {
        rates.computeIfAbsent(title, t -> new Samples()).add(rate);
    }

    private static double futures(int submitters, Settings settings) throws Exception {
        try (Scratch scratch = Scratch.in(settings.directory());
                CounterStore store = CounterStore.open(scratch.path())) {
            Counter counter = store.counter("visits");
            Window[] windows = new Window[submitters];
            for (int i = 0; i < submitters; i++) {
                windows[i] = new Window(counter, IN_FLIGHT / submitters);
            }
            Load.Result result = Load.run(
                    Thread::new, submitters, settings.warmUp(), settings.measured(), thread -> windows[thread].add());
            for (Window window : windows) {
                window.await();
            }
            return checked(counter, result);
        }
    }

    private static double blocking(ThreadFactory virtual, Settings settings) throws Exception {
        try (Scratch scratch = Scratch.in(settings.directory());
                CounterStore store = CounterStore.open(scratch.path())) {
            Counter counter = store.counter("visits");
            return checked(
                    counter,
                    Load.run(
                            virtual, IN_FLIGHT, settings.warmUp(), settings.measured(), thread -> counter.increment()));
        }
    }

    private static double checked(Counter counter, Load.Result result) {
        if (counter.value() != result.total()) {
            throw new IllegalStateException("counted " + counter.value() + " of " + result.total() + " adds");
        }
        return result.perSecond();
    }
}
