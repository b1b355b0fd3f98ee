// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.SimulatedDisk.Tears;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class RememberedKeysTest {

    private final AtomicLong nanos = new AtomicLong();
    private final Counter counter = new Counter("c", 1, 1);

    private static long bytesOf(RememberedKeys keys) {
        return keys.list().stream()
                .mapToLong(entry -> Batch.keyLength(entry.keyLength()))
                .sum();
    }

    private RememberedKeys.Entry entry(String key, long now, int share) {
        return new RememberedKeys.Entry(key, key.length(), counter, 1, 1, now, share);
    }

    @Test
    void bytesAreTheSumOverAllRememberedKeys() {
        RememberedKeys keys = new RememberedKeys(new IdempotencyWindow(20, Duration.ofSeconds(10)));
        keys.start(0, nanos::get);
        SplittableRandom random = new SplittableRandom(1);
        boolean expired = false;
        boolean evicted = false;
        for (int i = 0; i < 2000; i++) {
            long now = keys.advance();
            String key = "k".repeat(1 + random.nextInt(100)) + i;
            int share = random.nextInt(3);
            long growth = keys.bytes() + keys.growth(key.length(), share);
            evicted |= keys.put(entry(key, now, share)) != null;
            assertThat(keys.bytes()).isEqualTo(growth).isEqualTo(bytesOf(keys));
            nanos.addAndGet(random.nextLong(random.nextInt(10) == 0 ? 12_000_000_000L : 400_000_000L));
            int size = keys.size();
            keys.advance();
            expired |= keys.size() < size;
            assertThat(keys.bytes()).isEqualTo(bytesOf(keys));
            assertThat(keys.size()).isLessThanOrEqualTo(20);
        }
        assertThat(expired).isTrue();
        assertThat(evicted).isTrue();
    }

    @Test
    void aSourceWithManyKeysEvictsItsOwn() {
        RememberedKeys keys = new RememberedKeys(new IdempotencyWindow(100, Duration.ofHours(1)));
        keys.start(0, nanos::get);
        int quiet = RememberedKeys.share(1);
        int busy = RememberedKeys.share(2);
        assertThat(quiet).isNotEqualTo(busy).isNotZero();
        for (int i = 0; i < 10; i++) {
            keys.put(entry("quiet-" + i, keys.advance(), quiet));
        }
        for (int i = 0; i < 1_000; i++) {
            keys.put(entry("busy-" + i, keys.advance(), busy));
        }
        assertThat(keys.size()).isEqualTo(100);
        assertThat(Stream.of(0, 9).map(i -> keys.find("quiet-" + i))).doesNotContainNull();
        assertThat(keys.find("busy-909")).isNull();
        assertThat(keys.find("busy-910")).isNotNull();

        for (int i = 10; i < 200; i++) { // up to half of the window
            keys.put(entry("quiet-" + i, keys.advance(), quiet));
        }
        assertThat(Stream.of(149, 150, 199).map(i -> keys.find("quiet-" + i) != null))
                .containsExactly(false, true, true);
        assertThat(Stream.of(949, 950, 999).map(i -> keys.find("busy-" + i) != null))
                .containsExactly(false, true, true);
    }

    private record Sent(String key, long source) {}

    /** A simple model of {@link RememberedKeys}: evicts a key if the window is full. */
    private static void remember(List<Sent> window, int most, Sent sent) {
        if (window.size() == most) {
            Map<Long, Long> sizes = window.stream().collect(Collectors.groupingBy(Sent::source, Collectors.counting()));
            long largest =
                    sizes.values().stream().max(Comparator.naturalOrder()).orElseThrow();
            long from = sizes.getOrDefault(sent.source, 0L) == largest
                    ? sent.source
                    : window.stream()
                            .map(Sent::source)
                            .filter(source -> sizes.getOrDefault(source, 0L) == largest)
                            .findFirst()
                            .orElseThrow();
            window.remove(window.stream()
                    .filter(key -> key.source == from)
                    .findFirst()
                    .orElseThrow());
        }
        window.add(sent);
    }

    /** The journal records which keys were evicted although they were not the oldest. */
    @Test
    void aReopenedStoreRemembersTheKeysThatWereNotEvicted() {
        SplittableRandom random = new SplittableRandom(2);
        for (int most : new int[] {1, 2, 7, 30}) {
            SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
            List<Sent> window = new ArrayList<>();
            CounterStore store = open(disk, most);
            for (int i = 0; i < 1_000; i++) {
                nanos.addAndGet(1_000_000); // no two keys have the same time
                Sent sent = new Sent("key-" + i, random.nextInt(4) == 0 ? random.nextInt(5) : i / 50 % 5);
                remember(window, most, sent);
                assertThat(add(store, sent)).isEqualTo(new AddResult(i + 1, false));
                if (random.nextInt(40) == 0) {
                    assertRemembers(store, window);
                    store = open(disk, most); // without closing it, as after a kill
                    assertRemembers(store, window);
                    window.replaceAll(read -> new Sent(read.key, 0));
                }
            }
            store.close();
        }
    }

    private CounterStore open(SimulatedDisk disk, int most) {
        return CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .idempotencyWindow(new IdempotencyWindow(most, Duration.ofHours(1)))
                .clocks(() -> 0, nanos::get)
                .minHalf(4 * Batch.BLOCK) // so that the journal switches halves often
                .withoutThreads()
                .open();
    }

    private static AddResult add(CounterStore store, Sent sent) {
        CompletableFuture<AddResult> added = store.counter("c").addOnceAsync(1, sent.key, sent.source);
        store.pump();
        return added.join();
    }

    private static void assertRemembers(CounterStore store, List<Sent> window) {
        assertThat(store.statistics().rememberedKeys()).isEqualTo(window.size());
        assertThat(window)
                .allSatisfy(sent ->
                        assertThat(add(store, sent).replayed()).as(sent.key).isTrue());
    }
}
