// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.TotalLimitException;
import io.counterset.SimulatedDisk.Fault;
import io.counterset.SimulatedDisk.Tears;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/**
 * Real threads at full speed, on a disk that takes no time: the hand-over of adds between threads.
 * {@code src/jcstress} tests the same places instruction by instruction.
 */
class HandOverTest {

    private static final int SECONDS = 60; // after this, a hang fails the test

    private final SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    @AfterEach
    void endThreads() {
        threads.shutdownNow();
    }

    private CounterStore open(SimulatedDisk on, Durability durability) {
        return CounterStore.builder(Path.of("simulated"))
                .storage(on.mount())
                .minHalf(16 * SimulatedDisk.BLOCK)
                .durability(durability)
                .open();
    }

    private <T> List<T> together(List<Callable<T>> tasks) throws Exception {
        CountDownLatch start = new CountDownLatch(tasks.size());
        List<Future<T>> running = new ArrayList<>();
        for (Callable<T> task : tasks) {
            running.add(threads.submit(() -> {
                start.countDown();
                start.await();
                return task.call();
            }));
        }
        List<T> results = new ArrayList<>();
        for (Future<T> future : running) {
            results.add(future.get(SECONDS, TimeUnit.SECONDS));
        }
        return results;
    }

    /** Counts how often each total is returned. */
    private static final class Returned {
        private final AtomicIntegerArray times;

        Returned(int most) {
            times = new AtomicIntegerArray(most + 1);
        }

        void add(long total) {
            times.incrementAndGet((int) total);
        }

        void assertEachOnce() {
            assertThat(IntStream.range(1, times.length())
                            .filter(i -> times.get(i) != 1)
                            .limit(10))
                    .as("numbers not returned exactly once")
                    .isEmpty();
        }
    }

    /**
     * Eight callers, of which seven return a little later than the first, share each commit if its
     * leader waits for all of them. Otherwise the first caller commits alone, and then the others.
     */
    @Test
    void callersOfASlowDeviceShareItsCommits() throws Exception {
        int callers = 8;
        int each = 20;
        int most = each * 3 / 2; // without gathering, there are 2 * each commits
        disk.faults((step, operation, file) -> {
            LockSupport.parkNanos(10_000_000);
            return Fault.NONE;
        });
        try (CounterStore store = open(disk, Durability.SYNC)) {
            Counter counter = store.counter("c");
            long fewest = Long.MAX_VALUE;
            for (int attempt = 0; attempt < 5 && fewest > most; attempt++) { // a busy machine delays callers
                long before = store.statistics().commits();
                List<Callable<Void>> tasks = new ArrayList<>();
                for (int c = 0; c < callers; c++) {
                    long pause = c == 0 ? 0 : 100_000;
                    tasks.add(() -> {
                        for (int i = 0; i < each; i++) {
                            counter.increment();
                            LockSupport.parkNanos(pause);
                        }
                        return null;
                    });
                }
                together(tasks);
                fewest = Math.min(fewest, store.statistics().commits() - before);
            }
            assertThat(fewest).isLessThanOrEqualTo(most);
        }
    }

    private void countTogether(Durability durability, int blocking, int asynchronous, int each) throws Exception {
        int all = (blocking + asynchronous) * each;
        Returned returned = new Returned(all);
        try (CounterStore store = open(disk, durability)) {
            Counter counter = store.counter("c");
            List<Callable<Void>> tasks = new ArrayList<>();
            for (int t = 0; t < blocking; t++) {
                tasks.add(() -> {
                    for (int i = 0; i < each; i++) {
                        returned.add(counter.increment());
                    }
                    return null;
                });
            }
            for (int t = 0; t < asynchronous; t++) {
                tasks.add(() -> {
                    List<CompletableFuture<Void>> futures = new ArrayList<>();
                    for (int i = 0; i < each; i++) {
                        futures.add(counter.addAsync(1).thenAccept(returned::add));
                    }
                    CompletableFuture.allOf(futures.toArray(new CompletableFuture<?>[0]))
                            .get(SECONDS, TimeUnit.SECONDS);
                    return null;
                });
            }
            together(tasks);
            store.flush();
            assertThat(counter.value()).isEqualTo(all);
        }
        returned.assertEachOnce();
        try (CounterStore store = open(disk, durability)) {
            assertThat(store.counter("c").value()).isEqualTo(all);
        }
    }

    @Test
    void theCommitterParksWhenAddsStop() throws Exception {
        Set<Thread> before = Thread.getAllStackTraces().keySet();
        try (CounterStore store = open(disk, Durability.SYNC)) {
            Thread committer = Thread.getAllStackTraces().keySet().stream()
                    .filter(thread -> thread.getName().equals("counterset-committer") && !before.contains(thread))
                    .findAny()
                    .orElseThrow();
            Counter counter = store.counter("c");
            for (int i = 1; i <= 10_000; i++) { // in quick succession, so that the committer polls for the next one
                assertThat(counter.addAsync(1).get(SECONDS, TimeUnit.SECONDS)).isEqualTo(i);
            }
            Awaitility.await()
                    .atMost(Duration.ofSeconds(SECONDS))
                    .untilAsserted(() -> assertThat(committer.getState()).isEqualTo(Thread.State.WAITING));
            assertThat(counter.addAsync(1).get(SECONDS, TimeUnit.SECONDS)).isEqualTo(10_001);
        }
    }

    @Test
    void blockingAddsReturnEveryNumberOnce() throws Exception {
        countTogether(Durability.SYNC, 6, 0, 10_000);
    }

    @Test
    void releasedCallersWakeEachOther() throws Exception {
        int group = 64;
        CountDownLatch gathered = new CountDownLatch(1);
        try (CounterStore store = open(disk, Durability.SYNC)) {
            disk.faults((step, operation, file) -> {
                awaitUninterruptibly(gathered);
                return Fault.NONE;
            });
            Counter counter = store.counter("c");
            List<Future<Long>> adds = new ArrayList<>();
            for (int i = 0; i <= group; i++) { // the commit of the first one is held
                adds.add(threads.submit(counter::increment));
            }
            Awaitility.await()
                    .atMost(Duration.ofSeconds(SECONDS))
                    .until(() -> store.statistics().pending() == group);
            gathered.countDown();
            for (Future<Long> add : adds) {
                assertThat(add.get(10, TimeUnit.SECONDS)).isPositive();
            }
            assertThat(store.statistics().commits())
                    .as("one for the first, one for the group")
                    .isEqualTo(2);
        }
    }

    private static void awaitUninterruptibly(CountDownLatch latch) {
        try {
            if (!latch.await(SECONDS, TimeUnit.SECONDS)) {
                throw new AssertionError("the latch was not opened");
            }
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void blockingAddsOfManyCallersAndAsynchronousAddsReturnEveryNumberOnce() throws Exception {
        countTogether(Durability.SYNC, 40, 2, 500);
    }

    @Test
    void asynchronousAddsReturnEveryNumberOnce() throws Exception {
        countTogether(Durability.SYNC, 0, 4, 20_000);
    }

    @Test
    void blockingAndAsynchronousAddsReturnEveryNumberOnce() throws Exception {
        countTogether(Durability.SYNC, 3, 3, 10_000);
    }

    @Test
    void periodicAddsReturnEveryNumberOnce() throws Exception {
        countTogether(Durability.periodic(Duration.ofMillis(1)), 3, 1, 100_000);
    }

    @Test
    void twoThreadsLoseNoAdd() throws Exception {
        // With just two threads, the quiet path and the busy path alternate most often.
        countTogether(Durability.SYNC, 2, 0, 50_000);
    }

    @Test
    void racingAddsNeverWrapATotal() throws Exception {
        try (CounterStore store = open(disk, Durability.SYNC)) {
            for (int round = 0; round < 300; round++) {
                Counter counter = store.counter("c" + round);
                counter.add((round % 2 == 0 ? Counter.MAX_TOTAL : Counter.MAX_TOTAL / 2) - 1);
                List<Callable<Long>> tasks = new ArrayList<>();
                for (long amount : new long[] {1, 1, Counter.MAX_TOTAL / 2 + 1, Counter.MAX_TOTAL}) {
                    tasks.add(() -> {
                        try {
                            return counter.add(amount);
                        } catch (TotalLimitException refused) {
                            return 1L;
                        }
                    });
                }
                assertThat(together(tasks))
                        .allSatisfy(total -> assertThat(total).isBetween(1L, Counter.MAX_TOTAL + 2));
                assertThat(counter.value()).isPositive();
            }
            assertThat(store.isAccepting()).isTrue();
        }
    }

    @Test
    void survivingAddsHaveTheirKeys() throws Exception {
        AtomicBoolean done = new AtomicBoolean();
        try (CounterStore store = open(disk, Durability.SYNC)) {
            List<Callable<Integer>> tasks = new ArrayList<>();
            for (int t = 0; t < 4; t++) {
                int thread = t;
                tasks.add(() -> {
                    for (int i = 0; i < 1500; i++) {
                        store.counter("c" + i % 2).addOnce(1, thread + "/" + i);
                    }
                    return 0;
                });
            }
            Future<Integer> checks = threads.submit(() -> {
                int n = 0;
                do {
                    SimulatedDisk copy =
                            disk.copy(options -> 0); // the state after a power cut that keeps nothing unsynced
                    copy.cutPower();
                    copy.powerOn();
                    try (CounterStore survivor = open(copy, Durability.SYNC)) {
                        long added = survivor.counter("c0").value()
                                + survivor.counter("c1").value();
                        assertThat((long) survivor.statistics().rememberedKeys())
                                .as("keys, after %d adds survived", added)
                                .isEqualTo(added);
                    }
                    n++;
                } while (!done.get());
                return n;
            });
            together(tasks);
            done.set(true);
            assertThat(checks.get(SECONDS, TimeUnit.SECONDS)).isPositive();
            assertThat(store.statistics().rememberedKeys()).isEqualTo(6000);
        }
    }

    @Test
    void aSnapshotIsAConsistentCutUnderLoad() throws Exception {
        AtomicBoolean done = new AtomicBoolean();
        try (CounterStore store = open(disk, Durability.SYNC)) {
            List<Callable<Integer>> tasks = new ArrayList<>();
            for (int t = 0; t < 2; t++) {
                String first = "first" + t;
                String second = "second" + t;
                tasks.add(() -> {
                    for (int i = 0; i < 10_000; i++) {
                        store.counter(first).increment();
                        store.counter(second).increment();
                    }
                    return 0;
                });
            }
            Future<Integer> checks = threads.submit(() -> {
                int n = 0;
                long before = 0;
                do {
                    SortedMap<String, Long> seen = store.snapshot();
                    for (int t = 0; t < 2; t++) {
                        long ahead = seen.getOrDefault("first" + t, 0L) - seen.getOrDefault("second" + t, 0L);
                        assertThat(ahead).as("%s", seen).isBetween(0L, 1L);
                    }
                    long sum = seen.values().stream().mapToLong(Long::longValue).sum();
                    assertThat(sum).isGreaterThanOrEqualTo(before);
                    before = sum;
                    n++;
                } while (!done.get());
                return n;
            });
            together(tasks);
            done.set(true);
            assertThat(checks.get(SECONDS, TimeUnit.SECONDS)).isPositive();
        }
    }

    @Test
    void closingAtAnyMomentReleasesEveryCallerWithADefiniteOutcome() throws Exception {
        for (int round = 0; round < 300; round++) {
            CounterStore store = open(disk, Durability.SYNC);
            Counter counter = store.counter("c" + round);
            AtomicLong acknowledged = new AtomicLong();
            AtomicLong futures = new AtomicLong();
            AtomicLong pause = new AtomicLong(round * 7L % 100);
            List<Callable<Integer>> tasks = new ArrayList<>();
            for (int t = 0; t < 3; t++) {
                boolean async = t == 2;
                tasks.add(() -> {
                    while (true) {
                        try {
                            if (async) {
                                futures.incrementAndGet();
                                var unused = counter.addAsync(1).whenComplete((total, failure) -> {
                                    futures.decrementAndGet();
                                    if (failure == null) {
                                        acknowledged.incrementAndGet();
                                    } else {
                                        assertThat(failure)
                                                .isInstanceOfAny(StoreClosedException.class, StoreBusyException.class);
                                    }
                                });
                                if (!store.isAccepting()) {
                                    return 0;
                                }
                            } else {
                                counter.increment();
                                acknowledged.incrementAndGet();
                            }
                        } catch (StoreClosedException e) {
                            return 0;
                        }
                    }
                });
            }
            tasks.add(() -> {
                while (pause.getAndDecrement() > 0) {
                    Thread.onSpinWait();
                }
                store.close();
                return 0;
            });
            together(tasks);
            assertThat(futures.get()).as("futures never completed").isZero();
            assertThat(counter.value()).isEqualTo(acknowledged.get());
            try (CounterStore again = open(disk, Durability.SYNC)) {
                assertThat(again.counter("c" + round).value()).isEqualTo(acknowledged.get());
            }
        }
    }

    @Test
    void nothingIsWrittenAfterAFailureEvenDuringAClose() throws Exception {
        for (int round = 0; round < 300; round++) {
            SimulatedDisk failing = new SimulatedDisk(options -> options - 1, Tears.THREE_WAYS);
            CounterStore store = open(failing, Durability.SYNC);
            Counter counter = store.counter("c");
            counter.increment();
            long failAt = failing.journalSteps() + 1 + round % 3;
            long[] stepsAtFailure = {Long.MAX_VALUE};
            failing.faults((step, operation, file) -> {
                if (failing.journalSteps() < failAt) {
                    return Fault.NONE;
                }
                stepsAtFailure[0] = Math.min(stepsAtFailure[0], failing.journalSteps());
                return Fault.FAILURE;
            });
            List<Callable<Integer>> tasks = new ArrayList<>();
            for (int t = 0; t < 2; t++) {
                tasks.add(() -> {
                    try {
                        while (true) {
                            counter.increment();
                        }
                    } catch (OutcomeUnknownException | StoreFailedException | StoreClosedException e) {
                        return 0;
                    }
                });
            }
            tasks.add(() -> {
                store.close();
                return 0;
            });
            together(tasks);
            if (stepsAtFailure[0] != Long.MAX_VALUE) {
                assertThat(failing.journalSteps())
                        .as("steps, the failed one being %d, in round %d", stepsAtFailure[0], round)
                        .isEqualTo(stepsAtFailure[0]);
            }
        }
    }

    @Test
    void aFailureEndsEveryAddInFlightAsUnknown() throws Exception {
        CounterStore store = open(disk, Durability.SYNC);
        Counter counter = store.counter("c");
        counter.increment();
        AtomicBoolean fail = new AtomicBoolean();
        disk.faults((step, operation, file) -> fail.get() ? Fault.FAILURE : Fault.NONE);
        List<Callable<Long>> tasks = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            boolean async = t % 2 == 0;
            tasks.add(() -> {
                long returned = 0;
                try {
                    while (true) {
                        long total = async ? counter.addAsync(1).get(SECONDS, TimeUnit.SECONDS) : counter.increment();
                        returned = Math.max(returned, total);
                    }
                } catch (OutcomeUnknownException | StoreFailedException e) {
                    return returned;
                } catch (java.util.concurrent.ExecutionException e) {
                    assertThat(e.getCause()).isInstanceOfAny(OutcomeUnknownException.class, StoreFailedException.class);
                    return returned;
                }
            });
        }
        tasks.add(() -> {
            while (counter.value() < 2000) {
                Thread.onSpinWait();
            }
            fail.set(true);
            return 0L;
        });
        long highest = together(tasks).stream().mapToLong(Long::longValue).max().orElseThrow();
        assertThat(counter.value()).isEqualTo(highest);
        assertThat(store.isAccepting()).isFalse();
        assertThatThrownBy(counter::increment).isInstanceOf(StoreFailedException.class);
        assertThatThrownBy(() -> counter.addAsync(1).join())
                .isInstanceOf(CompletionException.class)
                .hasCauseInstanceOf(StoreFailedException.class);
        store.close();
        disk.faults((step, operation, file) -> Fault.NONE);
        try (CounterStore again = open(disk, Durability.SYNC)) {
            assertThat(again.counter("c").value()).isGreaterThanOrEqualTo(highest);
        }
    }

    @Test
    void markingWaitsUntilAnotherThreadHasLinkedTheCounter() throws Exception {
        Counter counter = new Counter("c", 1, 0);
        assertThat(counter.mark()).isTrue();
        AtomicBoolean linked = new AtomicBoolean();
        CountDownLatch began = new CountDownLatch(1);
        Future<Boolean> other = threads.submit(() -> {
            began.countDown();
            assertThat(counter.mark()).as("has to link the counter too").isFalse();
            return linked.get();
        });
        assertThat(began.await(SECONDS, TimeUnit.SECONDS)).isTrue();
        long until = System.nanoTime() + 50_000_000;
        while (System.nanoTime() < until && !other.isDone()) {
            Thread.onSpinWait();
        }
        linked.set(true);
        counter.marked();
        assertThat(other.get(SECONDS, TimeUnit.SECONDS))
                .as("returned once the counter was linked")
                .isTrue();
    }

    @Test
    void aPeriodicAddIsDurableBeforeTenPeriods() throws Exception {
        try (CounterStore store = open(disk, Durability.periodic(java.time.Duration.ofMillis(500)))) {
            Counter counter = store.counter("c");
            counter.increment();
            long until = System.nanoTime() + 4_500_000_000L;
            while (counter.value() == 0 && System.nanoTime() < until) {
                Thread.onSpinWait();
            }
            assertThat(counter.value()).isEqualTo(1);
        }
    }

    @Test
    void closingReleasesCallersThatWaitForALargerJournal() throws Exception {
        AtomicLong nanos =
                new AtomicLong(); // each reading is later by more than the longest backoff, so growth is always due
        CountDownLatch growing = new CountDownLatch(1);
        CounterStore store = CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .minHalf(SimulatedDisk.BLOCK)
                .clocks(() -> 0, () -> nanos.addAndGet(120_000_000_000L))
                .open();
        disk.faults((step, operation, file) -> {
            if (file.equals(Journal.NEW_FILE)) {
                growing.countDown();
            }
            return Fault.NONE;
        });
        disk.reportsFreeSpace(false);
        disk.capacity(disk.used());
        Future<Integer> adding = threads.submit(() -> {
            int added = 0;
            try {
                while (true) {
                    store.counter("-".repeat(100) + added).increment();
                    added++;
                }
            } catch (StoreClosedException e) {
                return added;
            }
        });
        assertThat(growing.await(SECONDS, TimeUnit.SECONDS)).isTrue();
        store.close();
        int added = adding.get(SECONDS, TimeUnit.SECONDS);
        assertThat(store.snapshot()).hasSize(added);
    }

    @Test
    void closingWhileALargerJournalIsWrittenDeletesThatJournal() throws Exception {
        CounterStore store = CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .minHalf(SimulatedDisk.BLOCK)
                .open();
        AtomicReference<@Nullable Future<?>> closing = new AtomicReference<>();
        disk.faults((step, operation, file) -> {
            if (file.equals(Journal.NEW_FILE) && closing.get() == null) {
                closing.set(threads.submit(store::close));
                Awaitility.await().until(() -> !store.isAccepting());
            }
            return Fault.NONE;
        });
        assertThatThrownBy(() -> {
                    for (int i = 0; i < 1000; i++) {
                        store.counter("-".repeat(100) + i).increment();
                    }
                })
                .isInstanceOf(StoreClosedException.class);
        Objects.requireNonNull(closing.get()).get(SECONDS, TimeUnit.SECONDS);
        assertThat(disk.openFiles()).isZero();
        assertThat(disk.mount().exists(Journal.NEW_FILE)).isFalse();
    }
}
