// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.CounterStoreException.HeapTooSmallException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.SimulatedDisk.Fault;
import io.counterset.SimulatedDisk.Operation;
import io.counterset.SimulatedDisk.Tears;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * What a store does with little or no room for its journal. On a simulated disk, without threads.
 */
class RoomTest {

    private static final long MIB = (1 << 20) / SimulatedDisk.BLOCK;

    private final SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
    private final AtomicLong nanos = new AtomicLong();
    private final SortedMap<String, Long> expected = new TreeMap<>();

    private CounterStore open(long minHalf) {
        return CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .clocks(() -> 0, nanos::get)
                .minHalf(minHalf)
                .withoutThreads()
                .open();
    }

    /**
     * Adds to new counters until one is refused; returns the refusal, or null if there was none.
     */
    private @Nullable StoreFullException fill(CounterStore store, int most) {
        for (int i = 0; i < most; i++) {
            String name = expected.size() + "-".repeat(110);
            try {
                expected.put(name, store.counter(name).increment());
            } catch (StoreFullException refused) {
                return refused;
            }
        }
        return null;
    }

    @Test
    void countingOnAFullDiskCostsNoMore() {
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        expected.put("old", store.counter("old").increment());
        disk.capacity(disk.used());
        assertThat(fill(store, 10_000)).hasMessageContaining("no room for a larger journal");
        long before = store.statistics().bytesWritten();
        for (int i = 0; i < 1000; i++) {
            expected.put("old", store.counter("old").increment());
        }
        assertThat(store.statistics().bytesWritten() - before)
                .as("bytes of 1,000 commits of one block, with the full batches between them")
                .isLessThan(1000L * 5 * SimulatedDisk.BLOCK);
        assertThat(store.snapshot()).isEqualTo(expected);
    }

    @Test
    void aStoreThatExceedsMaxHeapIsRefusedBeforeItIsLoaded() {
        try (CounterStore store = open(64 * SimulatedDisk.BLOCK)) {
            fill(store, 5_000);
        }
        CounterStore.Builder builder = CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .clocks(() -> 0, nanos::get)
                .withoutThreads();
        assertThatThrownBy(builder.maxHeap(1_500_000)::open)
                .isInstanceOf(HeapTooSmallException.class)
                .hasMessageContaining("holds about 5,000 counters and 0 idempotency keys")
                .hasMessageContaining("3 MB of heap, but 1 MB are available; nothing was changed");
        try (CounterStore store =
                builder.storage(disk.mount()).maxHeap(3_000_000).open()) {
            assertThat(store.snapshot()).isEqualTo(expected);
        }
    }

    @Test
    void noJournalIsWrittenToFindOutThatTheDiskIsFull() {
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        disk.capacity(disk.used() + 20);
        assertThat(fill(store, 10_000)).hasMessageContaining("bytes are free");
        long[] created = {0};
        disk.faults((step, operation, file) -> {
            created[0] += operation == Operation.CREATE ? 1 : 0;
            return Fault.NONE;
        });
        for (int second = 0; second < 100; second++) {
            nanos.addAndGet(1_000_000_000);
            store.keepHouse();
            assertThat(fill(store, 1)).isNotNull();
        }
        assertThat(created[0]).as("attempts to write a larger journal").isZero();
        disk.capacity(Long.MAX_VALUE);
        nanos.addAndGet(1_000_000_000);
        assertThat(fill(store, 100)).as("once there is room").isNull();
        assertThat(store.snapshot()).isEqualTo(expected);
    }

    @Test
    void attemptsToGrowBackOffIfFreeSpaceIsUnknown() {
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        disk.reportsFreeSpace(false);
        disk.capacity(disk.used());
        assertThat(fill(store, 10_000)).isNotNull();
        long[] created = {0};
        disk.faults((step, operation, file) -> {
            created[0] += operation == Operation.CREATE ? 1 : 0;
            return Fault.NONE;
        });
        for (int second = 0; second < 600; second++) {
            nanos.addAndGet(1_000_000_000);
            store.keepHouse();
        }
        assertThat(created[0]).as("attempts in ten minutes").isBetween(10L, 20L);
        disk.capacity(Long.MAX_VALUE);
        nanos.addAndGet(60_000_000_000L);
        assertThat(fill(store, 100)).as("once there is room").isNull();
    }

    /**
     * A store must never fill its volume so far that it cannot be reopened, as happened with 31,386
     * long names on 40 MiB.
     */
    @ParameterizedTest
    @EnumSource
    void aStoreCanAlwaysBeReopenedOnItsVolume(Volume volume) {
        disk.capacity(volume.mib * MIB);
        for (int life = 0; life < 3; life++) {
            CounterStore store = open(volume.minHalf);
            assertThat(store.isAccepting()).as("life %d", life).isTrue();
            assertThat(store.snapshot()).isEqualTo(expected);
            StoreFullException refused = fill(store, 60_000);
            if (volume.fills) {
                assertThat(refused)
                        .isNotNull()
                        .hasMessageContainingAll("larger journal", "bytes are free", "next opening");
            }
            if (!expected.isEmpty()) {
                String old = expected.firstKey();
                expected.put(old, store.counter(old).increment());
            }
            store.close();
        }
    }

    enum Volume {
        OF_40_MIB(40, Journal.MIN_HALF, true),
        OF_12_MIB(12, Journal.MIN_HALF, true),
        OF_2_MIB(2, Journal.MIN_HALF, true),
        OF_200_MIB(200, Journal.MIN_HALF, false);

        final long mib;
        final long minHalf;
        final boolean fills;

        Volume(long mib, long minHalf, boolean fills) {
            this.mib = mib;
            this.minHalf = minHalf;
            this.fills = fills;
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CREATE", "WRITE", "SYNC", "COMMIT", "REPLACE"})
    void aFailedGrowthIsHarmlessAndRetried(Operation failing) {
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        expected.put("old", store.counter("old").increment());
        disk.faults((step, operation, file) ->
                operation == failing && (file.equals(Journal.NEW_FILE) || operation == Operation.REPLACE)
                        ? Fault.FAILURE
                        : Fault.NONE);
        StoreFullException refused = fill(store, 10_000);
        assertThat(refused)
                .isNotNull()
                .hasMessageContainingAll("no room for a larger journal", "Input/output error", "nothing was added")
                .hasCauseInstanceOf(java.io.IOException.class);
        assertThat(store.isAccepting()).isTrue();
        expected.put("old", store.counter("old").increment());
        assertThat(store.snapshot()).isEqualTo(expected);
        disk.faults((step, operation, file) -> Fault.NONE);
        nanos.addAndGet(60_000_000_000L);
        assertThat(fill(store, 100)).as("retried later").isNull();
        assertThat(store.statistics().growths()).isPositive();
        store.close();
        disk.cutPower();
        disk.powerOn();
        assertThat(open(64 * SimulatedDisk.BLOCK).snapshot()).isEqualTo(expected);
    }

    @Test
    void anUncertainRenameOfALargerJournalIsFinal() {
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        expected.put("old", store.counter("old").increment());
        disk.faults((step, operation, file) -> operation == Operation.SYNC_NAMES ? Fault.FAILURE : Fault.NONE);
        assertThatThrownBy(() -> fill(store, 10_000)).isInstanceOf(CounterStoreException.class);
        assertThat(store.isAccepting()).isFalse();
        store.close();
        assertThat(disk.openFiles()).isZero();
        disk.faults((step, operation, file) -> Fault.NONE);
        assertThat(open(64 * SimulatedDisk.BLOCK).snapshot()).isEqualTo(expected);
    }

    @Test
    void aStoreOpenedOnAFullDiskIsReadOnlyUntilThereIsRoom() throws IOException {
        CounterStore first = open(64 * SimulatedDisk.BLOCK);
        first.counter("c").addOnce(5, "k");
        StoreIdentity identity = first.identity();
        first.close();
        long sequence = sequence();
        disk.capacity(disk.used());
        byte[] before = disk.content(Journal.FILE);
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        assertThat(store.snapshot()).isEqualTo(Map.of("c", 5L));
        assertThat(store.isAccepting()).isFalse();
        assertThat(store.failure()).isEmpty();
        for (Runnable add : java.util.List.<Runnable>of(
                () -> store.counter("c").increment(),
                () -> store.counter("new").increment(),
                () -> store.counter("c").addOnce(5, "k"),
                () -> store.counter("c").addOnce(5, "k2"))) {
            assertThatThrownBy(add::run)
                    .isInstanceOf(StoreFullException.class)
                    .hasMessageContainingAll("no room for a new journal", "nothing was added");
        }
        assertThat(store.counter("c").addAsync(1)).isCompletedExceptionally();
        nanos.addAndGet(1_000_000_000);
        store.keepHouse();
        assertThat(store.isAccepting()).isFalse();
        assertThat(disk.content(Journal.FILE)).as("unchanged").isEqualTo(before);
        disk.capacity(Long.MAX_VALUE);
        nanos.addAndGet(1_000_000_000);
        store.keepHouse();
        assertThat(store.isAccepting()).isTrue();
        assertThat(store.counter("c").addOnce(5, "k")).isEqualTo(new AddResult(5, true));
        assertThat(store.counter("c").increment()).isEqualTo(6);
        assertThat(store.identity().id()).isEqualTo(identity.id());
        assertThat(store.identity().incarnation()).isEqualTo(identity.incarnation() + 1);
        store.close();
        assertThat(sequence()).isGreaterThan(sequence);
    }

    private long sequence() throws IOException {
        return Journal.read(disk.mount(), IdempotencyWindow.DEFAULT, Long.MAX_VALUE)
                .sequence();
    }

    @Test
    void aNewStoreIsNotOpenedWithoutRoom() {
        disk.capacity(0);
        assertThatThrownBy(() -> open(64 * SimulatedDisk.BLOCK)).isInstanceOf(StoreFullException.class);
        assertThat(disk.openFiles()).isZero();
    }

    @Test
    void leftoversOfAnInterruptedGrowthAreDeletedBeforeOpening() {
        open(64 * SimulatedDisk.BLOCK).close();
        disk.put(Journal.NEW_FILE, new byte[300 * SimulatedDisk.BLOCK]);
        disk.capacity(disk.used());
        CounterStore store = open(64 * SimulatedDisk.BLOCK);
        assertThat(store.isAccepting()).isTrue();
        store.close();
    }

    @Test
    void keysThatEvictOthersNeedNoRoom() {
        CounterStore store = CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .clocks(() -> 0, nanos::get)
                .minHalf(8 * SimulatedDisk.BLOCK)
                .idempotencyWindow(new IdempotencyWindow(100, java.time.Duration.ofDays(1)))
                .withoutThreads()
                .open();
        disk.capacity(disk.used());
        for (int i = 0; i < 10_000; i++) {
            store.counter("c").addOnce(1, String.format("%0100d", i));
        }
        assertThat(store.counter("c").value()).isEqualTo(10_000);
        assertThat(store.statistics().rememberedKeys()).isEqualTo(100);
    }
}
