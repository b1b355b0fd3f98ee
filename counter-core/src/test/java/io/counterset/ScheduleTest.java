// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.SimulatedDisk.Fault;
import io.counterset.SimulatedDisk.Tears;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Threads and power cuts together: blocking and asynchronous callers, the committer, an executor, a
 * closing thread, a reader and the failure listener. A seed chooses the schedule and may cut the
 * power between any two steps of any thread. In some schedules the disk fails or throws an Error,
 * the executor drops tasks or throws, or its thread dies. In some the disk is slow.
 *
 * <pre>mvn -pl counter-core test -Dtest=ScheduleTest -Dcounterset.schedules=100000</pre>
 *
 * {@code -Dcounterset.firstSchedule=N -Dcounterset.schedules=1} repeats schedule N.
 */
class ScheduleTest {

    private static final int BLOCKING = 2; // blocking callers, each with a counter for its keys
    private static final int ADDS = 3;

    // The executor that completes futures: by default one with a thread of its own.
    private static final int DIRECT_EXECUTOR = 1;
    private static final int DROPPING_EXECUTOR = 2;
    private static final int THROWING_EXECUTOR = 3;
    private static final int DYING_EXECUTOR = 4;
    private static final int EXECUTORS = 5;

    /**
     * What the threads have observed. Only one thread runs at a time, and none after a power cut.
     */
    private static final class Seen {
        long attempted; // without a key
        long acknowledged; // the highest acknowledged total
        final List<Long> totals = new ArrayList<>();
        final List<String> keys = new ArrayList<>(); // acknowledged
        long shown;
        boolean died; // whether the thread that completes futures may have died
        boolean failed;
        int listenerCalls;
        final List<CompletableFuture<?>> futures = new ArrayList<>();

        /** Whether this can be the total. A dead thread may leave adds with an unknown outcome. */
        boolean isPossible(long total) {
            return total == totals.size() || (died && total > totals.size() && total <= attempted);
        }

        void returned(long total) {
            totals.add(total);
            acknowledged = Math.max(acknowledged, total);
        }
    }

    private static void require(boolean holds, String what, Object... details) {
        if (!holds) {
            throw new AssertionError(String.format(java.util.Locale.ROOT, what, details));
        }
    }

    private static CounterStore.Builder builder(SimulatedDisk disk) {
        return CounterStore.builder(Path.of("simulated")).storage(disk.mount()).minHalf(2 * SimulatedDisk.BLOCK);
    }

    /**
     * Plays one schedule. Called by reflection in the class loader of an engine that was rewritten
     * with steps.
     */
    static void play(long seed) throws Throwable {
        SplittableRandom random = new SplittableRandom(seed);
        SimulatedDisk disk = new SimulatedDisk(random::nextInt, Tears.EACH_SECTOR);
        boolean periodic = random.nextInt(4) == 0;
        @Nullable Fault fault = random.nextInt(3) > 0 ? null : random.nextBoolean() ? Fault.FAILURE : Fault.ERROR;
        boolean cut = random.nextInt(3) > 0;
        boolean slow = seed % 4 == 3;
        int executor = random.nextInt(EXECUTORS);
        Seen seen = new Seen();
        seen.died = executor == DYING_EXECUTOR;
        long steps = Schedule.run(
                random,
                cut ? 1 + random.nextInt(random.nextBoolean() ? 200 : 1500) : -1,
                disk::cutPower,
                () -> live(disk, random, periodic, slow, fault, executor, seen));
        boolean off = disk.isOff();
        if (off) {
            disk.powerOn();
        }
        disk.faults((step, operation, file) -> Fault.NONE);
        try (CounterStore store = builder(disk).withoutThreads().open()) {
            long recovered = store.counter("c").value();
            long least = periodic && (off || seen.failed) ? 0 : seen.acknowledged;
            require(recovered >= least, "%d were acknowledged, %d survived", least, recovered);
            require(recovered <= seen.attempted, "%d were attempted, %d survived", seen.attempted, recovered);
            require(recovered >= seen.shown, "%d were shown, %d survived", seen.shown, recovered);
            if (!off && !seen.failed) {
                require(seen.isPossible(recovered), "%s were acknowledged, %d survived", seen.totals, recovered);
            }
            long first = store.counter("first").value();
            long second = store.counter("second").value();
            require(first >= second, "%d adds survived, and %d later ones", first, second);
            long keyed = first + second;
            for (int i = 0; i < BLOCKING; i++) {
                keyed += store.counter("k" + i).value();
            }
            int remembered = store.statistics().rememberedKeys();
            require(keyed == remembered, "%d adds with a key survived, and %d keys", keyed, remembered);
            for (String key : seen.keys) {
                boolean mayBeLost = periodic && (off || seen.failed);
                require(
                        mayBeLost
                                || store.counter("k" + key.charAt(0))
                                        .addOnce(1, key)
                                        .replayed(),
                        "the key %s was acknowledged, but is forgotten",
                        key);
            }
        }
        Set<Long> different = new HashSet<>(seen.totals);
        require(different.size() == seen.totals.size(), "a total was returned twice: %s", seen.totals);
        require(steps > 0, "nothing happened");
    }

    private static void live(
            SimulatedDisk disk,
            SplittableRandom random,
            boolean periodic,
            boolean slow,
            @Nullable Fault fault,
            int executor,
            Seen seen) {
        Queue<Runnable> queue = new ArrayDeque<>();
        boolean[] completing = {true};
        long completerDies = 1L + random.nextInt(100);
        Thread completer = new Thread(
                () -> {
                    Schedule.dieIn(executor == DYING_EXECUTOR ? completerDies : 0);
                    try {
                        while (completing[0] || !queue.isEmpty()) {
                            Runnable task = queue.poll();
                            if (task == null) {
                                Schedule.park(queue);
                            } else {
                                task.run();
                            }
                        }
                    } catch (StackOverflowError e) {
                        // This thread completes no more futures.
                    }
                },
                "completer");
        CounterStore.Builder builder = builder(disk).maxPending(100).onFailure(failure -> {
            seen.listenerCalls++;
            Schedule.step();
        });
        builder.completionExecutor(
                switch (executor) {
                    case DIRECT_EXECUTOR -> Runnable::run;
                    case DROPPING_EXECUTOR -> task -> {};
                    case THROWING_EXECUTOR ->
                        task -> {
                            throw new OutOfMemoryError("unable to create native thread");
                        };
                    default ->
                        task -> {
                            queue.add(task);
                            Schedule.unpark(completer);
                        };
                });
        if (periodic) {
            builder.durability(Durability.periodic(Duration.ofMillis(1)));
        }
        CounterStore store = builder.open();
        long at = fault == null ? -1 : disk.steps() + 1 + random.nextInt(8);
        disk.faults((step, operation, file) -> {
            Schedule.advance(slow ? 1_000_000 : 0);
            return step == at ? requireNonNull(fault) : Fault.NONE;
        });
        Counter counter = store.counter("c");
        List<Thread> callers = new ArrayList<>();
        for (int i = 0; i < BLOCKING; i++) {
            int caller = i;
            callers.add(new Thread(() -> block(store, counter, caller, seen), "caller-" + i));
        }
        callers.add(new Thread(() -> doNotBlock(store, counter, seen), "async"));
        callers.add(new Thread(() -> read(store, counter, seen), "reader"));
        if (random.nextInt(3) == 0) {
            callers.add(new Thread(() -> close(store, seen), "closer"));
        }
        Schedule.start(completer);
        callers.forEach(Schedule::start);
        try {
            for (Thread caller : callers) {
                Schedule.join(caller);
            }
            close(store, seen);
            completing[0] = false;
            Schedule.unpark(completer);
            Schedule.join(completer);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
        for (CompletableFuture<?> future : seen.futures) {
            require(future.isDone(), "a future was never completed");
            try {
                future.join();
            } catch (CompletionException e) {
                refused(requireNonNull(e.getCause()), seen);
            }
        }
        seen.failed |= store.failure().isPresent();
        require(fault != null || !seen.failed, "the store failed on a healthy disk: %s", store.failure());
        require(seen.listenerCalls <= 1, "the listener was called %d times", seen.listenerCalls);
        require(seen.failed || seen.isPossible(counter.value()), "%s, but %s", counter, seen.totals);
    }

    private static void block(CounterStore store, Counter counter, int caller, Seen seen) {
        Counter keyed = store.counter("k" + caller);
        for (int i = 0; i < ADDS; i++) {
            try {
                String key = caller + "/" + i;
                keyed.addOnce(1, key);
                seen.keys.add(key);
                seen.attempted++;
                seen.returned(counter.increment());
                if (i == 1) {
                    store.flush();
                }
            } catch (CounterStoreException e) {
                refused(e, seen);
            }
        }
    }

    /**
     * Adds without waiting: first to the common counter, then with keys to two others, in order.
     */
    private static void doNotBlock(CounterStore store, Counter counter, Seen seen) {
        Counter first = store.counter("first");
        Counter second = store.counter("second");
        for (int i = 0; i < ADDS; i++) {
            seen.attempted++;
            CompletableFuture<Long> future = counter.addAsync(1);
            seen.futures.add(future);
            var unused = future.thenAccept(total -> {
                Schedule.step();
                seen.returned(total);
            });
            CompletableFuture<AddResult> added = first.addOnceAsync(1, "first/" + i);
            seen.futures.add(added);
            if (added.isCompletedExceptionally()) {
                return;
            }
            seen.futures.add(second.addOnceAsync(1, "second/" + i));
        }
    }

    private static void read(CounterStore store, Counter counter, Seen seen) {
        for (int i = 0; i < 4; i++) {
            long value = counter.value();
            require(value >= seen.shown, "the value went back from %d to %d", seen.shown, value);
            seen.shown = value;
            Schedule.step();
            Map<String, Long> snapshot = store.snapshot();
            require(
                    snapshot.getOrDefault("first", 0L) >= snapshot.getOrDefault("second", 0L),
                    "%s was never the content of the journal",
                    snapshot);
        }
    }

    private static void refused(Throwable failure, Seen seen) {
        seen.failed |= failure instanceof OutcomeUnknownException;
        boolean allowed = failure instanceof CounterStoreException.AddException
                || (seen.died && failure instanceof StackOverflowError);
        require(allowed, "refused: %s", failure);
    }

    private static void close(CounterStore store, Seen seen) {
        try {
            store.close();
        } catch (OutcomeUnknownException e) {
            seen.failed = true;
        }
    }

    // ---- the tests ----

    private static void search(Mutant mutant, long first, long count) throws Throwable {
        Method play = mutant.load(ScheduleTest.class, Schedule::rewrite).getDeclaredMethod("play", long.class);
        play.setAccessible(true);
        for (long seed = first; seed < first + count; seed++) {
            try {
                play.invoke(null, seed);
            } catch (InvocationTargetException e) {
                throw new AssertionError("schedule " + seed + ": " + e.getCause(), e.getCause());
            }
        }
    }

    /**
     * Removes the bound on parking, so that a lost wake-up leaves its caller parked and the
     * schedule fails.
     */
    private static Mutant withoutLongestPark() {
        return new Mutant()
                .change(Pending.class, "LockSupport.parkNanos(this, LONGEST_PARK_NANOS);", "LockSupport.park(this);");
    }

    @Test
    void noWakeUpIsLost() throws Throwable {
        search(withoutLongestPark(), 0, 500);
    }

    @Test
    void everyPromiseHoldsInEverySchedule() throws Throwable {
        search(new Mutant(), Long.getLong("counterset.firstSchedule", 0), Long.getLong("counterset.schedules", 1_000));
    }

    /**
     * Each break with the number of a schedule that finds it. If a change of the engine moves the
     * race to a later schedule, the search from that number still finds it.
     */
    static Stream<Arguments> races() {
        return Stream.of(
                race(
                        15952,
                        "a total is read before its counter is unmarked",
                        new Mutant()
                                .change(
                                        Ledger.class,
                                        "                cell.unmark();\n                batch.add(cell, applied(cell));",
                                        "                long early = cell.applied();\n"
                                                + "                cell.unmark();\n"
                                                + "                batch.add(cell, early);")),
                race(
                        1385,
                        "a half-linked counter counts as linked",
                        new Mutant().change(Counter.class, "if (seen == MARKED) {", "if (seen != CLEAN) {")),
                race(
                        17954,
                        "a former leader does not wake the committer for a future",
                        withoutLongestPark()
                                .change(
                                        GroupCommit.class,
                                        "} else if (state != OPEN || newest != null) {",
                                        "} else if (state != OPEN) {")),
                race(
                        44,
                        "a former leader does not wake the next caller",
                        withoutLongestPark()
                                .change(
                                        GroupCommit.class,
                                        "            LockSupport.unpark(caller.thread);\n        } else if",
                                        "        } else if")),
                race(
                        3013,
                        "the totals of a batch are published outside the lock",
                        new Mutant()
                                .change(
                                        Commit.class,
                                        "        ledger.lock.lock();\n        try {\n            ledger.publish(batch);\n",
                                        "        ledger.publish(batch);\n        ledger.lock.lock();\n        try {\n")),
                race(
                        15271,
                        "closing does not wait for another thread that ends the store",
                        new Mutant()
                                .change(
                                        GroupCommit.class,
                                        "        awaitEnd(); // another thread",
                                        "        else awaitEnd(); // another thread")),
                race(
                        19,
                        "an arrival after the end is not released",
                        new Mutant()
                                .change(
                                        GroupCommit.class,
                                        "            complete(release(takeArrivals())); // no other thread will\n",
                                        "")));
    }

    private static Arguments race(long foundBy, String name, Mutant mutant) {
        return Arguments.of(Named.of(name, mutant), foundBy);
    }

    @ParameterizedTest
    @MethodSource("races")
    void aRaceIsFound(Mutant mutant, long foundBy) {
        Throwable found = org.assertj.core.api.Assertions.catchThrowable(() -> search(mutant, foundBy, 20_000));
        assertThat(found).isInstanceOf(AssertionError.class);
        System.out.println("  found: " + found.getMessage());
    }
}
