// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.awaitility.Awaitility.await;

import io.counterset.CounterStoreException.InvalidCountFileException;
import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.Outcome;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.TotalLimitException;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The behaviour of a store on any disk: run once on a real directory and once on the simulated
 * disk.
 */
abstract class BehaviourKit {

    /** Returns a storage of the same directory at every call. */
    abstract Storage storage();

    abstract CounterStore.Builder builder();

    abstract byte @Nullable [] file(String name);

    abstract void put(String name, byte[] content);

    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    @AfterEach
    void endThreads() {
        threads.shutdownNow();
    }

    /** Opens a store on the directory that {@link #storage} returns. */
    abstract CounterStore open(CounterStore.Builder builder);

    CounterStore open() {
        return open(builder());
    }

    private static <T> T within(Future<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    private static Throwable causeOf(CompletableFuture<?> future) {
        ExecutionException thrown =
                catchThrowableOfType(ExecutionException.class, () -> future.get(60, TimeUnit.SECONDS));
        return requireNonNull(thrown.getCause());
    }

    /** A storage whose commits can be held and made to fail. */
    static final class Gate implements Storage {
        private final Storage delegate;
        private boolean held;
        private boolean failing;
        private int waiting;

        Gate(Storage delegate) {
            this.delegate = delegate;
        }

        synchronized void hold() {
            held = true;
        }

        synchronized void letGo() {
            held = false;
            notifyAll();
        }

        synchronized void fail() {
            failing = true;
            letGo();
        }

        synchronized int waiting() {
            return waiting;
        }

        private synchronized void pass() throws IOException {
            waiting++;
            boolean interrupted = false;
            while (held) {
                try {
                    wait();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
            waiting--;
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            if (failing) {
                throw new IOException("Input/output error (injected)");
            }
        }

        @Override
        public String locate(String name) {
            return delegate.locate(name);
        }

        @Override
        public boolean exists(String name) throws IOException {
            return delegate.exists(name);
        }

        @Override
        public Region open(String name) throws IOException {
            return delegate.open(name);
        }

        @Override
        public Region create(String name) throws IOException {
            Region region = delegate.create(name);
            return new Region() {
                @Override
                public long size() throws IOException {
                    return region.size();
                }

                @Override
                public void read(long position, byte[] target, int offset, int length) throws IOException {
                    region.read(position, target, offset, length);
                }

                @Override
                public void write(long position, byte[] source, int offset, int length) throws IOException {
                    region.write(position, source, offset, length);
                }

                @Override
                public void sync() throws IOException {
                    region.sync();
                }

                @Override
                public void commit(long position, byte[] source, int offset, int length) throws IOException {
                    pass();
                    region.commit(position, source, offset, length);
                }

                @Override
                public void close() throws IOException {
                    region.close();
                }
            };
        }

        @Override
        public void overwrite(String name, byte[] content) throws IOException {
            delegate.overwrite(name, content);
        }

        @Override
        public void verify() {
            delegate.verify();
        }

        @Override
        public void requireHeld() throws IOException {
            delegate.requireHeld();
        }

        @Override
        public void delete(String name) throws IOException {
            delegate.delete(name);
        }

        @Override
        public void replace(String from, String to) throws IOException {
            delegate.replace(from, to);
        }

        @Override
        public void syncNames() throws IOException {
            delegate.syncNames();
        }

        @Override
        public long freeSpace() throws IOException {
            return delegate.freeSpace();
        }

        @Override
        public boolean isOutOfSpace(IOException failure) {
            return delegate.isOutOfSpace(failure);
        }

        @Override
        public void close() throws IOException {
            delegate.close();
        }
    }

    // ---- counting ----

    @Test
    void countsSurviveReopening() {
        try (CounterStore store = open()) {
            Counter visits = store.counter("visits");
            assertThat(visits.name()).isEqualTo("visits");
            assertThat(visits.value()).isZero();
            assertThat(store.snapshot())
                    .as("nothing is created before the first add")
                    .isEmpty();
            assertThat(visits.increment()).isEqualTo(1);
            assertThat(visits.add(41)).isEqualTo(42);
            assertThat(visits.addAsync(1).join()).isEqualTo(43);
            assertThat(visits.value()).isEqualTo(43);
            assertThat(store.counter("visits").value()).isEqualTo(43);
            assertThat(visits).hasToString("visits=43");
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("visits").value()).isEqualTo(43);
            assertThat(store.snapshot()).isEqualTo(Map.of("visits", 43L));
        }
    }

    @Test
    void keepsItsIdAndCountsItsOpenings() {
        StoreIdentity first;
        try (CounterStore store = open()) {
            first = store.identity();
            assertThat(first.incarnation()).isEqualTo(1);
            assertThat(store).hasToString("CounterStore[" + builderPath() + ", " + first + ", sync]");
        }
        try (CounterStore store = open()) {
            assertThat(store.identity()).isEqualTo(new StoreIdentity(first.id(), 2));
        }
    }

    abstract String builderPath();

    @Test
    void aSnapshotIsSortedAndBelongsToTheCaller() {
        try (CounterStore store = open()) {
            for (String name : List.of("b", "c", "a")) {
                store.counter(name).add(name.charAt(0));
            }
            SortedMap<String, Long> snapshot = store.snapshot();
            assertThat(snapshot).containsExactly(Map.entry("a", 97L), Map.entry("b", 98L), Map.entry("c", 99L));
            snapshot.clear();
            assertThat(store.snapshot()).hasSize(3);
        }
    }

    // ---- arguments and settings ----

    @ParameterizedTest
    @ValueSource(strings = {"", "a\nb", "\u0000", "\u007f", "\u0085", "\ud800", "a\udc00", "\ud800a"})
    void refusesBadNamesAndKeys(String bad) {
        try (CounterStore store = open()) {
            assertThatThrownBy(() -> store.counter(bad))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContainingAll("a counter's name must be 1 to 128 bytes of UTF-8", "nothing was added");
            Counter good = store.counter("good");
            assertThatThrownBy(() -> good.addOnce(1, bad))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContainingAll("an idempotency key must be 1 to 255 bytes of UTF-8", "nothing was added");
            assertThat(causeOf(good.addOnceAsync(1, bad))).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> builder().countFile(bad)).isInstanceOf(IllegalArgumentException.class);
            assertThat(store.snapshot()).isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"a", "ä", "☃", "\uD83D\uDC26"})
    void namesAndKeysAreMeasuredInBytes(String character) {
        int bytes = character.getBytes(StandardCharsets.UTF_8).length;
        String longestName = character.repeat(128 / bytes);
        String longestKey = character.repeat(255 / bytes);
        try (CounterStore store = open()) {
            assertThat(store.counter(longestName).addOnce(3, longestKey)).isEqualTo(new AddResult(3, false));
            assertThatThrownBy(() -> store.counter(longestName + character))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> store.counter("x").addOnce(1, longestKey + character))
                    .isInstanceOf(IllegalArgumentException.class);
        }
        try (CounterStore store = open()) {
            assertThat(store.snapshot()).isEqualTo(Map.of(longestName, 3L));
            assertThat(store.counter(longestName).addOnce(3, longestKey)).isEqualTo(new AddResult(3, true));
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {0, -1, Long.MIN_VALUE})
    void refusesAmountsBelowOne(long amount) {
        try (CounterStore store = open()) {
            Counter counter = store.counter("c");
            assertThatThrownBy(() -> counter.add(amount))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContainingAll("1 or more", String.valueOf(amount), "nothing was added");
            assertThatThrownBy(() -> counter.addOnce(amount, "k")).isInstanceOf(IllegalArgumentException.class);
            assertThat(causeOf(counter.addAsync(amount))).isInstanceOf(IllegalArgumentException.class);
            assertThat(causeOf(counter.addOnceAsync(amount, "k"))).isInstanceOf(IllegalArgumentException.class);
            assertThat(store.snapshot()).isEmpty();
            assertThat(counter.addOnce(1, "k").replayed()).isFalse();
        }
    }

    @Test
    void refusesAddsThatWouldExceedTheLargestTotal() {
        try (CounterStore store = open()) {
            Counter counter = store.counter("c");
            counter.add(Counter.MAX_TOTAL - 1);
            for (long amount : new long[] {2, 1L << 31, Counter.MAX_TOTAL + 1, Long.MAX_VALUE}) {
                assertThatThrownBy(() -> counter.add(amount))
                        .isInstanceOf(TotalLimitException.class)
                        .hasMessageContainingAll(
                                "counter c", String.valueOf(amount), "4611686018427387904", "nothing was added");
                assertThatThrownBy(() -> counter.addOnce(amount, "k")).isInstanceOf(TotalLimitException.class);
                assertThat(causeOf(counter.addAsync(amount))).isInstanceOf(TotalLimitException.class);
                assertThat(causeOf(counter.addOnceAsync(amount, "k"))).isInstanceOf(TotalLimitException.class);
            }
            assertThat(counter.value()).isEqualTo(Counter.MAX_TOTAL - 1);
            assertThat(counter.addOnce(1, "k"))
                    .as("the refused key is free")
                    .isEqualTo(new AddResult(Counter.MAX_TOTAL, false));
            assertThatThrownBy(counter::increment).isInstanceOf(TotalLimitException.class);
            assertThat(store.counter("other").increment()).isEqualTo(1);
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(Counter.MAX_TOTAL);
        }
    }

    @Test
    void readsALargerTotalAndRefusesToAddToIt() {
        put(CountFile.FILE, (Long.MAX_VALUE - 5 + "\n").getBytes(StandardCharsets.UTF_8));
        for (int opened = 0; opened < 2; opened++) { // from count.txt, then from the journal
            try (CounterStore store = open(builder().countFile("visits"))) {
                Counter visits = store.counter("visits");
                assertThatThrownBy(visits::increment).isInstanceOf(TotalLimitException.class);
                assertThatThrownBy(() -> visits.add(Long.MAX_VALUE)).isInstanceOf(TotalLimitException.class);
                assertThat(visits.value()).isEqualTo(Long.MAX_VALUE - 5);
                assertThat(store.counter("other").increment()).isEqualTo(opened + 1);
            }
        }
    }

    @Test
    void settersRefuseNull() {
        CounterStore.Builder builder = builder();
        assertThatThrownBy(() -> CounterStore.builder(none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> builder.durability(none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> Durability.periodic(none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> new IdempotencyWindow(1, none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> builder.idempotencyWindow(none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> builder.completionExecutor(none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> builder.onFailure(none())).isInstanceOf(NullPointerException.class);
        assertThatThrownBy(() -> builder.countFile(none())).isInstanceOf(NullPointerException.class);
        try (CounterStore store = open(builder)) { // with the defaults, which no refused value has changed
            assertThat(store.durability()).isEqualTo(Durability.SYNC);
            assertThat(store.counter("c").increment()).isEqualTo(1);
            assertThat(store.identity().incarnation()).isEqualTo(1);
        }
    }

    @SuppressWarnings({"NullAway", "TypeParameterUnusedInFormals"}) // as a caller without null checks may do
    private static <T> T none() {
        return null;
    }

    @Test
    void refusesSettingsOutOfRange() {
        for (Duration bad : List.of(
                Duration.ZERO, Duration.ofNanos(999_999), Duration.ofHours(1).plusNanos(1))) {
            assertThatThrownBy(() -> Durability.periodic(bad)).isInstanceOf(IllegalArgumentException.class);
        }
        assertThat(Durability.periodic(Duration.ofMillis(100)))
                .hasToString("100ms")
                .isEqualTo(Durability.periodic(Duration.ofMillis(100)))
                .hasSameHashCodeAs(Durability.periodic(Duration.ofMillis(100)))
                .isNotEqualTo(Durability.periodic(Duration.ofMillis(101)))
                .isNotEqualTo(Durability.SYNC);
        assertThat(Durability.periodic(Duration.ofNanos(1_500_000))).hasToString("1500000ns");
        assertThat(Durability.SYNC.period()).isEmpty();
        CounterStore.Builder builder = builder();
        assertThatThrownBy(() -> builder.idempotencyWindow(new IdempotencyWindow(0, Duration.ofDays(1))))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> builder.idempotencyWindow(new IdempotencyWindow(1_000_001, Duration.ofDays(1))))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> builder.idempotencyWindow(new IdempotencyWindow(1, Duration.ofMillis(999))))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> builder.idempotencyWindow(new IdempotencyWindow(1, Duration.ofDays(3651))))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> builder.maxPending(0)).isInstanceOf(IllegalArgumentException.class);
    }

    // ---- keys ----

    @Test
    void aKeyAddsOnceAndReplaysItsResult() {
        try (CounterStore store = open()) {
            Counter counter = store.counter("c");
            assertThat(counter.addOnce(5, "k")).isEqualTo(new AddResult(5, false));
            counter.add(1);
            assertThat(counter.addOnce(5, "k")).isEqualTo(new AddResult(5, true));
            assertThat(counter.addOnceAsync(5, "k").join()).isEqualTo(new AddResult(5, true));
            assertThat(counter.addOnceAsync(2, "k2").join()).isEqualTo(new AddResult(8, false));
            assertThat(store.statistics().replays()).isEqualTo(2);
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("c").addOnce(5, "k")).isEqualTo(new AddResult(5, true));
            assertThat(store.counter("c").addOnce(2, "k2")).isEqualTo(new AddResult(8, true));
            assertThat(store.counter("c").value()).isEqualTo(8);
            assertThat(store.statistics().rememberedKeys()).isEqualTo(2);
        }
    }

    @Test
    void aKeyIsRefusedForAnotherAdd() {
        try (CounterStore store = open()) {
            store.counter("c").addOnce(5, "k");
            Counter other = store.counter("other");
            for (Throwable refused : List.of(
                    catchThrowable(() -> store.counter("c").addOnce(6, "k")),
                    catchThrowable(() -> other.addOnce(5, "k")),
                    causeOf(other.addOnceAsync(5, "k")))) {
                assertThat(refused)
                        .isInstanceOf(KeyConflictException.class)
                        .hasMessageContainingAll("the key k was used to add 5 to c", "nothing was added");
                assertThat(((CounterStoreException) refused).outcome()).isEqualTo(Outcome.NOT_APPLIED);
            }
            assertThat(store.snapshot()).isEqualTo(Map.of("c", 5L));
        }
    }

    @Test
    void theWindowIsBoundedByCount() {
        CounterStore.Builder narrow = builder().idempotencyWindow(new IdempotencyWindow(2, Duration.ofDays(1)));
        try (CounterStore store = open(narrow)) {
            assertThat(store.idempotencyWindow()).isEqualTo(new IdempotencyWindow(2, Duration.ofDays(1)));
            Counter counter = store.counter("c");
            for (int i = 1; i <= 3; i++) {
                counter.addOnce(1, "k" + i);
            }
            assertThat(store.statistics().earlyEvictions()).isEqualTo(1);
            assertThat(store.statistics().rememberedKeys()).isEqualTo(2);
            assertThat(counter.addOnce(1, "k3").replayed()).isTrue();
            assertThat(counter.addOnce(1, "k2").replayed()).isTrue();
            assertThat(counter.addOnce(1, "k1")).as("forgotten").isEqualTo(new AddResult(4, false));
            assertThat(counter.addOnce(1, "k2")).as("evicted by k1").isEqualTo(new AddResult(5, false));
        }
        try (CounterStore store = open(narrow)) {
            assertThat(store.counter("c").addOnce(1, "k1").replayed()).isTrue();
            assertThat(store.counter("c").addOnce(1, "k2").replayed()).isTrue();
        }
        try (CounterStore store = open(builder().idempotencyWindow(new IdempotencyWindow(1, Duration.ofDays(1))))) {
            assertThat(store.counter("c").addOnce(1, "k2").replayed())
                    .as("the newest stays in a smaller window")
                    .isTrue();
            assertThat(store.statistics().rememberedKeys()).isEqualTo(1);
        }
    }

    @Test
    void theWindowIsBoundedByTheTimeTheStoreIsOpenNotByTheSystemClock() {
        AtomicLong millis = new AtomicLong(1_000_000);
        AtomicLong nanos = new AtomicLong();
        CounterStore.Builder builder = builder()
                .idempotencyWindow(new IdempotencyWindow(10, Duration.ofSeconds(10)))
                .clocks(millis::get, nanos::get);
        try (CounterStore store = open(builder)) {
            Counter counter = store.counter("c");
            counter.addOnce(1, "k");
            millis.addAndGet(Duration.ofDays(10_000).toMillis());
            assertThat(counter.addOnce(1, "k").replayed())
                    .as("the clock stepped forward")
                    .isTrue();
            nanos.addAndGet(10_000_000_000L);
            assertThat(counter.addOnce(1, "k").replayed())
                    .as("exactly at the age limit")
                    .isTrue();
            millis.set(0);
            nanos.addAndGet(1_000_000);
            assertThat(counter.addOnce(1, "k").replayed()).as("expired").isFalse();
            assertThat(store.statistics().earlyEvictions()).isZero();
        }
        millis.set(Duration.ofDays(100_000).toMillis());
        try (CounterStore store = open(builder)) {
            assertThat(store.counter("c").addOnce(1, "k").replayed())
                    .as("opened with a clock far ahead")
                    .isTrue();
            millis.set(1_000_000);
            nanos.addAndGet(10_001_000_000L);
            assertThat(store.counter("c").addOnce(1, "k").replayed())
                    .as("the age limit still holds")
                    .isFalse();
            assertThat(store.statistics().rememberedKeys()).isEqualTo(1);
        }
    }

    @Test
    void concurrentDuplicatesWaitForTheFirst() throws Exception {
        Gate gate = new Gate(storage());
        try (CounterStore store = builder().storage(gate).open()) {
            Counter counter = store.counter("c");
            counter.increment();
            gate.hold();
            Future<AddResult> first = threads.submit(() -> counter.addOnce(5, "k"));
            await().until(() -> gate.waiting() == 1);
            Future<AddResult> second = threads.submit(() -> counter.addOnce(5, "k"));
            CompletableFuture<AddResult> third = counter.addOnceAsync(5, "k");
            await().until(() -> store.statistics().replays() == 2);
            assertThat(counter.value()).as("not durable yet").isEqualTo(1);
            assertThat(third).isNotDone();
            gate.letGo();
            assertThat(within(first)).isEqualTo(new AddResult(6, false));
            assertThat(within(second)).isEqualTo(new AddResult(6, true));
            assertThat(within(third)).isEqualTo(new AddResult(6, true));
            assertThat(counter.value()).isEqualTo(6);
        }
    }

    // ---- waiting ----

    @Test
    void addsThatArriveDuringACommitShareTheNextOne() throws Exception {
        Gate gate = new Gate(storage());
        try (CounterStore store = builder().storage(gate).open()) {
            Counter counter = store.counter("c");
            counter.increment();
            long before = store.statistics().commits();
            gate.hold();
            List<Future<Long>> adds = new ArrayList<>();
            adds.add(threads.submit(counter::increment));
            await().until(() -> gate.waiting() == 1);
            for (int i = 0; i < 20; i++) {
                adds.add(i % 2 == 0 ? threads.submit(counter::increment) : counter.addAsync(1));
            }
            await().until(() -> store.statistics().pending() == 20);
            gate.letGo();
            List<Long> totals = new ArrayList<>();
            for (Future<Long> add : adds) {
                totals.add(within(add));
            }
            assertThat(totals)
                    .containsExactlyInAnyOrderElementsOf(
                            LongStream.rangeClosed(2, 22).boxed().toList());
            assertThat(store.statistics().commits() - before)
                    .as("commits for 21 adds")
                    .isEqualTo(2);
            await().until(() -> store.statistics().pending() == 0);
            StoreStatistics statistics = store.statistics();
            assertThat(statistics.callers()).isEqualTo(22);
            assertThat(statistics.flushTimes().stream()
                            .mapToLong(Long::longValue)
                            .sum())
                    .isEqualTo(statistics.commits());
            assertThat(statistics.bytesWritten()).isEqualTo(statistics.commits() * 4096);
        }
    }

    @Test
    void asynchronousAddsBeyondTheBoundAreRefused() throws Exception {
        Gate gate = new Gate(storage());
        try (CounterStore store = builder().storage(gate).maxPending(3).open()) {
            Counter counter = store.counter("c");
            counter.increment();
            gate.hold();
            Future<Long> leader = threads.submit(counter::increment);
            await().until(() -> gate.waiting() == 1);
            List<CompletableFuture<Long>> taken =
                    List.of(counter.addAsync(1), counter.addAsync(1), counter.addAsync(1));
            for (Throwable refused : List.of(causeOf(counter.addAsync(1)), causeOf(counter.addOnceAsync(1, "k")))) {
                assertThat(refused)
                        .isInstanceOf(StoreBusyException.class)
                        .hasMessageContainingAll("3 adds in flight", "nothing was added");
                assertThat(((CounterStoreException) refused).outcome()).isEqualTo(Outcome.NOT_APPLIED);
            }
            Future<Long> blocking = threads.submit(counter::increment); // a blocking caller waits
            gate.letGo();
            assertThat(within(leader)).isEqualTo(2);
            for (CompletableFuture<Long> future : taken) {
                assertThat(within(future)).isBetween(3L, 6L);
            }
            within(blocking);
            await().until(() -> store.statistics().pending() == 0);
            assertThat(within(counter.addAsync(1))).as("there is room again").isEqualTo(7);
        }
    }

    @Test
    void aCompletedAddNoLongerCountsAsInFlight() throws Exception {
        try (CounterStore store = open(builder().maxPending(1))) {
            Counter counter = store.counter("c");
            CompletableFuture<Long> second = counter.addAsync(1).thenCompose(first -> counter.addAsync(1));
            assertThat(within(second)).isEqualTo(2);
        }
    }

    @Test
    void aPeriodicAddReturnsImmediatelyAndIsDurableSoonAfter() {
        Durability often = Durability.periodic(Duration.ofMillis(20));
        try (CounterStore store = open(builder().durability(often))) {
            assertThat(store.durability()).isEqualTo(often);
            Counter counter = store.counter("c");
            assertThat(counter.increment()).isEqualTo(1);
            await().until(() -> counter.value() == 1);
            assertThat(counter.addAsync(1)).isCompletedWithValue(2L);
            assertThat(counter.addOnce(1, "k")).isEqualTo(new AddResult(3, false));
            await().until(() -> counter.value() == 3);
        }
    }

    @Test
    void flushWaitsForTheDevice() {
        try (CounterStore store = open(builder().durability(Durability.periodic(Duration.ofHours(1))))) {
            Counter counter = store.counter("c");
            counter.add(7);
            assertThat(counter.value()).as("shows only what no crash can lose").isZero();
            assertThat(store.snapshot()).isEmpty();
            store.flush();
            assertThat(counter.value()).isEqualTo(7);
            counter.add(1);
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).as("close commits").isEqualTo(8);
            store.flush();
        }
    }

    @Test
    void anInterruptIsHarmlessAndKept() {
        for (int round = 1; round <= 2; round++) {
            Thread.currentThread().interrupt();
            CounterStore store = open(builder().countFile("c"));
            assertThat(Thread.currentThread().isInterrupted()).as("after open").isTrue();
            Counter counter = store.counter("c");
            for (int i = 0; i < 20; i++) {
                counter.increment();
            }
            CompletableFuture<Long> future = counter.addAsync(1);
            AddResult keyed = counter.addOnce(1, "k" + round);
            store.flush();
            store.counter("d").increment();
            assertThat(Thread.currentThread().isInterrupted()).as("after adds").isTrue();
            assertThat(store.isAccepting()).isTrue();
            store.close();
            assertThat(Thread.interrupted()).as("after close").isTrue();
            assertThat(future).isCompletedWithValue(22L * round - 1);
            assertThat(keyed).isEqualTo(new AddResult(22L * round, false));
            assertThat(counter.value()).isEqualTo(22L * round);
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(44);
        }
    }

    @Test
    void anInterruptDoesNotEndTheWait() throws Exception {
        Gate gate = new Gate(storage());
        try (CounterStore store = builder().storage(gate).open()) {
            Counter counter = store.counter("c");
            counter.increment();
            gate.hold();
            Future<Long> leader = threads.submit(counter::increment);
            await().until(() -> gate.waiting() == 1);
            AtomicBoolean kept = new AtomicBoolean();
            AtomicLong total = new AtomicLong();
            Thread waiting = new Thread(() -> {
                total.set(counter.increment());
                kept.set(Thread.currentThread().isInterrupted());
            });
            waiting.start();
            await().until(() -> store.statistics().pending() == 1);
            waiting.interrupt();
            await().pollDelay(Duration.ZERO).until(() -> waiting.getState() == Thread.State.TIMED_WAITING);
            assertThat(waiting.isAlive()).isTrue();
            gate.letGo();
            within(leader);
            waiting.join(60_000);
            assertThat(total.get()).isEqualTo(3);
            assertThat(kept).isTrue();
        }
    }

    @Test
    void cancellingAFutureDoesNotUndoTheAdd() throws Exception {
        Gate gate = new Gate(storage());
        try (CounterStore store = builder().storage(gate).open()) {
            Counter counter = store.counter("c");
            counter.increment();
            gate.hold();
            Future<Long> leader = threads.submit(counter::increment);
            await().until(() -> gate.waiting() == 1);
            CompletableFuture<Long> cancelled = counter.addAsync(10);
            assertThat(cancelled.cancel(true)).isTrue();
            CompletableFuture<Long> completed = counter.addAsync(100);
            completed.complete(-1L);
            gate.letGo();
            within(leader);
            assertThat(within(counter.addAsync(1))).isEqualTo(113);
            assertThat(cancelled).isCancelled();
            await().until(() -> store.statistics().pending() == 0);
        }
    }

    @Test
    void dependentActionsMayAddCloseAndThrow() throws Exception {
        CounterStore store = open();
        Counter counter = store.counter("c");
        CompletableFuture<Long> adds = counter.addAsync(1).thenApply(total -> counter.add(1));
        CompletableFuture<Long> throwing = counter.addAsync(1).thenApply(total -> {
            throw new IllegalStateException("the caller's");
        });
        assertThat(within(adds)).isBetween(2L, 3L);
        assertThat(causeOf(throwing)).hasMessage("the caller's");
        CompletableFuture<Void> closing = counter.addAsync(1).thenAccept(total -> {
            Thread.currentThread().interrupt(); // must not harm the store's thread
            store.close();
        });
        within(closing);
        store.close();
        assertThat(counter.value()).isEqualTo(4);
        assertThatThrownBy(counter::increment).isInstanceOf(StoreClosedException.class);
    }

    @Test
    void withADirectExecutorTheCommittingThreadCompletesFutures() throws Exception {
        Gate gate = new Gate(storage());
        try (CounterStore store =
                builder().completionExecutor(Runnable::run).storage(gate).open()) {
            Counter counter = store.counter("c");
            counter.increment();
            for (Runnable waits : List.<Runnable>of(
                    counter::increment,
                    () -> counter.addOnce(1, "key"),
                    () -> store.counter("new").increment(),
                    store::flush,
                    store::close)) {
                gate.hold();
                Future<Long> leader = threads.submit(counter::increment);
                await().until(() -> gate.waiting() == 1);
                CompletableFuture<String> dependent = counter.addAsync(1).thenApply(total -> {
                    assertThatThrownBy(waits::run)
                            .isInstanceOf(IllegalStateException.class)
                            .hasMessageContaining("cannot wait for a commit");
                    return Thread.currentThread().getName();
                });
                gate.letGo();
                assertThat(within(dependent)).isEqualTo("counterset-committer");
                within(leader);
            }
            assertThat(counter.value()).isEqualTo(11);
            assertThat(store.snapshot()).containsOnlyKeys("c");
        }
    }

    @Test
    void everyFutureCompletesWhenTheExecutorRejects() throws Exception {
        Executor closed = task -> {
            throw new RejectedExecutionException("closed");
        };
        try (CounterStore store = open(builder().completionExecutor(closed))) {
            assertThat(within(store.counter("c").addAsync(1))).isEqualTo(1);
        }
    }

    @Test
    void addsFromVirtualThreadsAreCounted() throws Exception {
        try (CounterStore store = open()) {
            Counter counter = store.counter("c");
            ExecutorService many = virtualThreads();
            try {
                List<Future<Long>> adds = new ArrayList<>();
                for (int i = 0; i < 2000; i++) {
                    adds.add(many.submit(counter::increment));
                }
                List<Long> totals = new ArrayList<>();
                for (Future<Long> add : adds) {
                    totals.add(within(add));
                }
                assertThat(totals)
                        .containsExactlyInAnyOrderElementsOf(
                                LongStream.rangeClosed(1, 2000).boxed().toList());
            } finally {
                many.shutdownNow();
            }
        }
    }

    /** Virtual threads if the JVM has them (21 and up), otherwise 200 platform threads. */
    private static ExecutorService virtualThreads() throws ReflectiveOperationException {
        if (Runtime.version().feature() < 21) {
            return Executors.newFixedThreadPool(200);
        }
        try {
            return (ExecutorService)
                    Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (InvocationTargetException e) {
            throw new IllegalStateException(e);
        }
    }

    // ---- the end ----

    @Test
    void aClosedStoreRefusesAddsAndAnswersReads() {
        CounterStore store = open();
        Counter counter = store.counter("c");
        counter.addOnce(5, "k");
        assertThat(store.isAccepting()).isTrue();
        store.close();
        store.close();
        assertThat(store.isAccepting()).isFalse();
        for (Throwable refused : List.of(
                catchThrowable(counter::increment),
                catchThrowable(() -> counter.addOnce(1, "k2")),
                catchThrowable(() -> store.counter("new").increment()),
                causeOf(counter.addAsync(1)),
                causeOf(counter.addOnceAsync(1, "k2")))) {
            assertThat(refused)
                    .isInstanceOf(StoreClosedException.class)
                    .hasMessageContainingAll(builderPath(), "is closed", "nothing was added");
            assertThat(((CounterStoreException) refused).outcome()).isEqualTo(Outcome.NOT_APPLIED);
        }
        assertThat(counter.value()).isEqualTo(5);
        assertThat(store.snapshot()).isEqualTo(Map.of("c", 5L));
        assertThat(counter.addOnce(5, "k")).isEqualTo(new AddResult(5, true));
        store.flush();
        try (CounterStore again = open()) {
            assertThat(again.snapshot()).isEqualTo(Map.of("c", 5L));
        }
    }

    @Test
    void closeWaitsForAcceptedAdds() throws Exception {
        Gate gate = new Gate(storage());
        CounterStore store = builder().storage(gate).open();
        Counter counter = store.counter("c");
        counter.increment();
        gate.hold();
        Future<Long> leader = threads.submit(counter::increment);
        await().until(() -> gate.waiting() == 1);
        CompletableFuture<Long> asynchronous = counter.addAsync(1);
        Future<Long> blocked = threads.submit(counter::increment);
        await().until(() -> store.statistics().pending() == 2);
        Future<?> closing = threads.submit(store::close);
        Future<?> alsoClosing = threads.submit(store::close);
        await().until(() -> !store.isAccepting());
        assertThat(causeOf(counter.addAsync(1))).isInstanceOf(StoreClosedException.class);
        gate.letGo();
        within(closing);
        within(alsoClosing);
        assertThat(within(leader)).isEqualTo(2);
        assertThat(within(asynchronous)).isBetween(3L, 4L);
        assertThat(within(blocked)).isBetween(3L, 4L);
        assertThat(counter.value()).isEqualTo(4);
    }

    // ---- failure ----

    @Test
    void aFailedWriteIsFinal() throws Exception {
        Gate gate = new Gate(storage());
        List<Throwable> reported = new CopyOnWriteArrayList<>();
        CounterStore store = builder()
                .storage(gate)
                .onFailure(failure -> {
                    reported.add(failure);
                    throw new IllegalStateException("thrown by the listener");
                })
                .open();
        Counter counter = store.counter("c");
        counter.addOnce(5, "before");
        assertThat(store.failure()).isEmpty();
        gate.hold();
        Future<Long> leader = threads.submit(counter::increment);
        await().until(() -> gate.waiting() == 1);
        CompletableFuture<Long> asynchronous = counter.addAsync(1);
        Future<AddResult> keyed = threads.submit(() -> counter.addOnce(1, "during"));
        await().until(() -> store.statistics().pending() == 2);
        gate.fail();
        for (Throwable unknown : List.of(
                catchThrowable(() -> within(leader)).getCause(),
                causeOf(asynchronous),
                catchThrowable(() -> within(keyed)).getCause())) {
            assertThat(unknown)
                    .isInstanceOf(OutcomeUnknownException.class)
                    .hasMessageContainingAll(builderPath(), "Input/output error", "may or may not survive a restart")
                    .hasCauseInstanceOf(IOException.class);
            assertThat(((CounterStoreException) unknown).outcome()).isEqualTo(Outcome.UNKNOWN);
        }
        assertThat(store.isAccepting()).isFalse();
        assertThat(store.statistics().commitFailures()).isEqualTo(1);
        await().until(() -> !reported.isEmpty());
        assertThat(reported)
                .singleElement()
                .isInstanceOf(IOException.class)
                .isSameAs(store.failure().orElseThrow());
        for (Throwable refused : List.of(
                catchThrowable(counter::increment),
                catchThrowable(() -> counter.addOnce(1, "after")),
                causeOf(counter.addAsync(1)))) {
            assertThat(refused)
                    .isInstanceOf(StoreFailedException.class)
                    .hasMessageContainingAll("stopped after a failed write", "Input/output error", "nothing was added");
            assertThat(((CounterStoreException) refused).outcome()).isEqualTo(Outcome.NOT_APPLIED);
        }
        assertThat(counter.value()).isEqualTo(5);
        assertThat(store.snapshot()).isEqualTo(Map.of("c", 5L));
        assertThat(counter.addOnce(5, "before"))
                .as("replays of durable adds still work")
                .isEqualTo(new AddResult(5, true));
        assertThatThrownBy(() -> counter.addOnce(1, "during")).isInstanceOf(OutcomeUnknownException.class);
        store.close();
        try (CounterStore again = open()) {
            assertThat(again.counter("c").value()).isEqualTo(5);
            assertThat(again.counter("c").addOnce(1, "during").replayed()).isFalse();
        }
    }

    @Test
    void flushAndCloseOfAPeriodicStoreReportAFailure() {
        Gate gate = new Gate(storage());
        CounterStore store = builder()
                .storage(gate)
                .durability(Durability.periodic(Duration.ofHours(1)))
                .open();
        Counter counter = store.counter("c");
        counter.add(3);
        store.flush();
        counter.add(4);
        gate.fail();
        assertThatThrownBy(store::flush).isInstanceOf(OutcomeUnknownException.class);
        assertThatThrownBy(() -> counter.add(1)).isInstanceOf(StoreFailedException.class);
        assertThatThrownBy(store::close).isInstanceOf(OutcomeUnknownException.class);
        assertThat(counter.value()).isEqualTo(3);
        store.close();
        try (CounterStore again = open()) {
            assertThat(again.counter("c").value()).isEqualTo(3);
        }
    }

    // ---- growth ----

    @Test
    void growsWithItsCountersAndKeys() {
        Map<String, Long> expected = new java.util.TreeMap<>();
        CounterStore.Builder small = builder().minHalf(4096);
        try (CounterStore store = open(small)) {
            for (int i = 0; i < 300; i++) {
                String name = i + "-".repeat(100);
                store.counter(name).addOnce(i + 1, "key of " + name);
                expected.put(name, i + 1L);
            }
            assertThat(store.statistics().growths()).isPositive();
            assertThat(store.statistics().switches()).isPositive();
            assertThat(store.snapshot()).isEqualTo(expected);
        }
        try (CounterStore store = open(small)) {
            assertThat(store.snapshot()).isEqualTo(expected);
            assertThat(store.statistics().rememberedKeys()).isEqualTo(300);
        }
    }

    // ---- count.txt ----

    private @Nullable String countText() {
        byte[] text = file(CountFile.FILE);
        return text == null ? null : new String(text, StandardCharsets.US_ASCII);
    }

    @Test
    void countFileFollowsTheCountAndIsNeverAhead() throws Exception {
        try (CounterStore store = open(builder().countFile("visits"))) {
            assertThat(countText()).isEqualTo("0\n");
            Counter visits = store.counter("visits");
            AtomicBoolean done = new AtomicBoolean();
            Future<Integer> reader = threads.submit(() -> {
                int reads = 0;
                while (!done.get()) {
                    String text = countText();
                    assertThat(text).matches("[0-9]+\n");
                    assertThat(Long.parseLong(String.valueOf(text).strip())).isLessThanOrEqualTo(visits.value());
                    reads++;
                }
                return reads;
            });
            for (int i = 0; i < 200; i++) {
                visits.increment();
                store.counter("other").increment();
            }
            // Documented as less than a second; a busy machine may take longer.
            await().atMost(Duration.ofSeconds(5)).until(() -> "200\n".equals(countText()));
            visits.increment();
            await().atMost(Duration.ofSeconds(5)).until(() -> "201\n".equals(countText()));
            done.set(true);
            assertThat(within(reader)).isPositive();
            visits.increment();
        }
        assertThat(countText()).as("the last count is written when closing").isEqualTo("202\n");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "42",
                "42\n",
                "  42 \r\n",
                "\t42",
                "0042",
                "42\n\n\n",
                "\u200342",
                "\ufeff42\r\n",
                "\u00a042\u200b\n"
            })
    void importsACountOnce(String text) {
        put(CountFile.FILE, text.getBytes(StandardCharsets.UTF_8));
        try (CounterStore store = open(builder().countFile("visits"))) {
            assertThat(store.counter("visits").value()).isEqualTo(42);
            assertThat(store.snapshot()).isEqualTo(Map.of("visits", 42L));
            assertThat(store.counter("visits").increment()).isEqualTo(43);
        }
        put(CountFile.FILE, "41\n".getBytes(StandardCharsets.UTF_8));
        try (CounterStore store = open(builder().countFile("visits"))) {
            assertThat(store.counter("visits").value())
                    .as("the journal has the count now")
                    .isEqualTo(43);
        }
        assertThat(countText()).isEqualTo("43\n");
    }

    @Test
    void refusesACountFileAheadOfTheJournalUntilOneOfThemIsChosen() {
        try (CounterStore store = open(builder().countFile("visits"))) {
            store.counter("visits").add(7);
        }
        put(CountFile.FILE, "1000\n".getBytes(StandardCharsets.UTF_8));
        CounterStoreException.CountFileAheadException ahead = (CounterStoreException.CountFileAheadException)
                catchThrowable(() -> open(builder().countFile("visits")));
        assertThat(ahead)
                .hasMessageContainingAll(
                        "count.txt contains 1000", "has 7", "\"visits\"", "Nothing was changed", "choose");
        assertThat(ahead.count()).isEqualTo(1000);
        assertThat(ahead.total()).isEqualTo(7);
        assertThat(countText()).isEqualTo("1000\n");
        try (CounterStore store = open()) {
            assertThat(store.counter("visits").value())
                    .as("without the setting, the file is not read")
                    .isEqualTo(7);
        }
        CounterStore.Builder choosing = builder().countFile("visits");
        try (CounterStore store = open(choosing.countFileAhead(CounterStore.CountFileAhead.TAKE_FILE))) {
            assertThat(store.counter("visits").increment()).isEqualTo(1001);
        }
        put(CountFile.FILE, "5000\n".getBytes(StandardCharsets.UTF_8));
        try (CounterStore store = open(choosing.countFileAhead(CounterStore.CountFileAhead.KEEP_JOURNAL))) {
            assertThat(store.counter("visits").value()).isEqualTo(1001);
        }
        assertThat(countText()).isEqualTo("1001\n");
        put(CountFile.FILE, "not a number".getBytes(StandardCharsets.UTF_8));
        try (CounterStore store = open(builder().countFile("visits"))) {
            assertThat(store.counter("visits").value())
                    .as("a torn file is ignored")
                    .isEqualTo(1001);
        }
    }

    @Test
    void importsACountOfZero() {
        put(CountFile.FILE, "0".getBytes(StandardCharsets.UTF_8));
        try (CounterStore store = open(builder().countFile("visits"))) {
            assertThat(store.snapshot()).isEmpty();
        }
    }

    @Test
    void importsTheLargestCount() {
        put(CountFile.FILE, (Long.MAX_VALUE + "\n").getBytes(StandardCharsets.UTF_8));
        try (CounterStore store = open(builder().countFile("visits"))) {
            assertThat(store.counter("visits").value()).isEqualTo(Long.MAX_VALUE);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                " \n",
                "-1",
                "+1",
                "1.5",
                "1e3",
                "abc",
                "12 13",
                "0x10",
                "9223372036854775808",
                "٤٢",
                "4\u200b2"
            })
    void refusesAnInvalidCountFileAndChangesNothing(String text) {
        byte[] content = text.getBytes(StandardCharsets.UTF_8);
        put(CountFile.FILE, content);
        assertThatThrownBy(() -> open(builder().countFile("visits")))
                .isInstanceOf(InvalidCountFileException.class)
                .hasMessageContainingAll(
                        "count.txt",
                        "cannot be imported",
                        "expected one whole number from 0 to",
                        "nothing was changed");
        assertThat(file(CountFile.FILE)).isEqualTo(content);
        assertThat(file(Journal.FILE)).isNull();
        try (CounterStore store = open()) {
            assertThat(store.snapshot())
                    .as("without the setting, the file is ignored")
                    .isEmpty();
        }
        assertThat(file(CountFile.FILE)).isEqualTo(content);
    }

    @Test
    void refusesACountFileThatIsTooLong() {
        put(CountFile.FILE, "1".concat(" ".repeat(2000)).getBytes(StandardCharsets.UTF_8));
        assertThatThrownBy(() -> open(builder().countFile("visits"))).isInstanceOf(InvalidCountFileException.class);
    }

    @Test
    void messagesEscapeInvisibleCharacters() {
        try (CounterStore store = open()) {
            assertThatThrownBy(() -> store.counter("\ufeffa\u00a0b c\u200b\n"))
                    .hasMessageContaining("but is \"\\ufeffa\\u00a0b c\\u200b\\u000a\"");
        }
    }

    @Test
    void messagesEscapeInvisibleCharactersOfACountFile() {
        put(CountFile.FILE, "4\u200b2".getBytes(StandardCharsets.UTF_8));
        assertThatThrownBy(() -> open(builder().countFile("visits"))).hasMessageContaining("found \"4\\u200b2\"");
    }

    // ---- foreign and damaged journals ----

    @Test
    void refusesAForeignFileAndLeavesIt() {
        for (String text : List.of("", "hello", "hello, I am a longer text of another program")) {
            byte[] content = text.getBytes(StandardCharsets.UTF_8);
            put(Journal.FILE, content);
            assertThatThrownBy(this::open)
                    .isInstanceOf(CounterStoreException.ForeignFileException.class)
                    .hasMessageContainingAll(Journal.FILE, "is not a Counterset journal", "nothing was changed");
            assertThat(file(Journal.FILE)).isEqualTo(content);
        }
    }

    @Test
    void refusesADamagedJournalAndReportsTheOffset() {
        try (CounterStore store = open(builder().minHalf(5 * 4096))) {
            for (int i = 0; i < 3; i++) {
                store.counter("c").increment();
            }
        }
        byte[] content = java.util.Objects.requireNonNull(file(Journal.FILE));
        content[2 * 4096 + 100]++; // past the data of batch 2: padding, which is ignored
        put(Journal.FILE, content.clone());
        try (CounterStore store = open(builder().minHalf(5 * 4096))) {
            assertThat(store.counter("c").value()).isEqualTo(3);
            store.counter("c").add(2);
            store.counter("c").add(2);
        }
        content = java.util.Objects.requireNonNull(file(Journal.FILE));
        content[2 * 4096 + 44]++; // in the name in batch 2 of this file, which a third batch follows
        put(Journal.FILE, content.clone());
        CounterStoreException.CorruptJournalException damaged =
                (CounterStoreException.CorruptJournalException) catchThrowable(this::open);
        assertThat(damaged)
                .hasMessageContainingAll(
                        Journal.FILE, "damaged at byte 8,192", "expected batch", "found", "refusing to open");
        assertThat(damaged.offset()).isEqualTo(8192);
        assertThat(damaged.file()).endsWith(Journal.FILE);
        assertThat(damaged.expected()).startsWith("batch ");
        assertThat(damaged.found()).contains("at byte 12,288");
        assertThat(file(Journal.FILE)).isEqualTo(content);
    }

    // ---- a device that stalls ----

    @Test
    void keyedAddsAreBoundedWhileTheDeviceStalls() throws Exception {
        Gate gate = new Gate(storage());
        int maxPending = 100;
        try (CounterStore store = builder()
                .durability(Durability.periodic(Duration.ofHours(1)))
                .maxPending(maxPending)
                .storage(gate)
                .open()) {
            Counter counter = store.counter("c");
            gate.hold();
            int accepted = 0;
            CompletableFuture<AddResult> last;
            do {
                last = counter.addOnceAsync(1, "key " + accepted);
                accepted++;
            } while (!last.isCompletedExceptionally() && accepted < 100 * maxPending);
            assertThat(causeOf(last))
                    .isInstanceOf(StoreBusyException.class)
                    .hasMessageContainingAll("nothing was added", "retry");
            await().until(() -> gate.waiting() == 1);
            assertThat(accepted).isBetween(maxPending, 2 * maxPending + 1);
            int refused = accepted;
            Future<AddResult> blocked = threads.submit(() -> counter.addOnce(1, "blocked"));
            assertThat(counter.addOnceAsync(1, "key 0").join())
                    .as("a replay takes no room")
                    .isEqualTo(new AddResult(1, true));
            gate.letGo();
            assertThat(within(blocked).replayed()).isFalse();
            await().until(() -> !counter.addOnceAsync(1, "key " + refused).isCompletedExceptionally());
        }
    }

    @Test
    void anAddDuringAPeriodicCommitIsCommittedWithinThePeriod() throws Exception {
        Gate gate = new Gate(storage());
        AtomicLong nanos = new AtomicLong(Long.MAX_VALUE - 1000); // the clock may have any value and may wrap around
        long hour = Duration.ofHours(1).toNanos();
        try (CounterStore store = builder()
                .durability(Durability.periodic(Duration.ofHours(1)))
                .clocks(System::currentTimeMillis, nanos::get)
                .storage(gate)
                .open()) {
            Counter counter = store.counter("c");
            gate.hold();
            Future<?> flush = threads.submit(() -> {
                counter.increment();
                store.flush();
            });
            await().until(() -> gate.waiting() == 1); // the commit has taken the first add
            counter.increment();
            nanos.addAndGet(hour); // while the device is writing
            gate.letGo();
            within(flush);
            await().atMost(Duration.ofSeconds(60)).until(() -> counter.value() == 2);
        }
    }
}
