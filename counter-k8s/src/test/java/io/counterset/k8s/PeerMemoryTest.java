// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.counterset.k8s.Known.Loss;
import io.counterset.k8s.Known.Seen;
import io.counterset.k8s.Known.Store;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;

class PeerMemoryTest {

    private static final UUID A = UUID.fromString("0f8fad5b-d9cb-469f-a165-70867728950e");
    private static final UUID B = UUID.fromString("7c9e6679-7425-40de-944b-e07fc1f90ae7");
    private static final UUID C = UUID.fromString("550e8400-e29b-41d4-a716-446655440000");

    private static final int MOST_COUNTS = 200;
    private static final Duration SHOWN = Duration.ofDays(7);

    @TempDir
    Path folder;

    private Instant now = Instant.parse("2026-11-22T09:00:00Z");
    private long order;

    private PeerMemory memory() {
        return memory(100);
    }

    private PeerMemory memory(int mostPeers) {
        return new PeerMemory(folder, LoopbackPeer.JSON, "visits", Duration.ofDays(7), mostPeers, MOST_COUNTS);
    }

    private static @Nullable Store former(Known known, Instant at) {
        return known.formers(SHOWN, at).stream().findFirst().orElse(null);
    }

    private Known observe(PeerMemory memory, String key, UUID store, long incarnation, String counter, long count) {
        now = now.plusSeconds(1);
        return memory.observe(
                new Known.Key.Name(key),
                "10.0.0.1:8080",
                new Replica.Count(key, counter, count, store, incarnation, false, null, null, null, null),
                now,
                ++order,
                null,
                false);
    }

    @Test
    void createsItsDirectory() {
        folder = folder.resolve("not").resolve("there");
        PeerMemory memory = memory();
        observe(memory, "app-0", UUID.randomUUID(), 1, "visits", 7);
        memory.save(now);
        assertThat(memory.saveFailures()).isZero();
        assertThat(memory().get(new Known.Key.Name("app-0"))).isNotNull();
    }

    @Test
    void remembersEverythingAcrossARestart() {
        PeerMemory memory = memory();
        observe(memory, "app-0", A, 1, "visits", 5);
        observe(memory, "app-0", A, 2, "visits", 4);
        observe(memory, "app-0", A, 2, "größe/1", Long.MAX_VALUE);
        observe(memory, "app-1", A, 1, "visits", 0);
        observe(memory, "app-1", B, 1, "visits", 7);
        memory.save(now);

        assertThat(memory().all()).containsExactlyInAnyOrderElementsOf(memory.all());
        assertThat(memory().all()).hasSize(2);
        assertThat(folder).isDirectoryContaining("glob:**/counters.peers");
        assertThat(folder).isDirectoryNotContaining("glob:**.new");
    }

    @Test
    void aPeerWithAnotherStoreInEveryRoundCostsOneLine() {
        Logger logger = (Logger) LoggerFactory.getLogger(PeerMemory.class);
        ListAppender<ILoggingEvent> lines = new ListAppender<>();
        lines.start();
        Level usual = logger.getLevel();
        logger.setLevel(Level.WARN);
        logger.addAppender(lines);
        try {
            PeerMemory memory = memory();
            for (int i = 0; i < 100; i++) {
                UUID store = UUID.randomUUID();
                observe(memory, "app-0", store, 2, "visits", 100 + i);
                observe(memory, "app-0", store, 1, "visits", i);
            }
            assertThat(lines.list)
                    .as("a store that is rolled back, another one, and no line for what follows")
                    .hasSize(2);
            now = now.plus(Duration.ofHours(1));
            observe(memory, "app-0", UUID.randomUUID(), 1, "visits", 1);
            assertThat(lines.list).hasSize(3);
        } finally {
            logger.detachAppender(lines);
            logger.setLevel(usual);
        }
    }

    @Test
    void aDecreasedCountIsALoss() {
        PeerMemory memory = memory();
        assertThat(observe(memory, "app-0", A, 1, "visits", 100).loss(SHOWN, now))
                .isNull();
        assertThat(observe(memory, "app-0", A, 1, "visits", 100).loss(SHOWN, now))
                .isNull();
        Known back = observe(memory, "app-0", A, 1, "visits", 99);
        Loss loss = new Loss(now, "visits", 99, 100, 1, 1);
        assertThat(back.loss(SHOWN, now)).isEqualTo(loss);

        Known grown = observe(memory, "app-0", A, 2, "visits", 1_000);
        assertThat(grown.loss(SHOWN, now)).as("still lost").isEqualTo(loss);
        assertThat(grown.loss(SHOWN, loss.foundAt().plus(Duration.ofDays(7)))).isNull();
        assertThat(former(grown, now)).isNull();
    }

    @Test
    void aDecreasedIncarnationIsALossEvenIfTheCountGrew() {
        PeerMemory memory = memory();
        observe(memory, "app-0", A, 9, "visits", 100);
        Known back = observe(memory, "app-0", A, 6, "visits", 101);

        assertThat(back.loss(SHOWN, now)).isEqualTo(new Loss(now, "visits", 101, 100, 6, 9));
        assertThat(observe(memory, "app-0", A, 6, "hits", 1).loss(SHOWN, now)).isNotNull();
    }

    @Test
    void aNewStoreIsAReplacementAndTheFormerOneIsKept() {
        PeerMemory memory = memory();
        observe(memory, "app-0", A, 9, "visits", 100);
        Instant seen = now;
        Known replaced = observe(memory, "app-0", B, 1, "visits", 1);

        assertThat(former(replaced, now)).satisfies(former -> {
            assertThat(former.id()).isEqualTo(A);
            assertThat(former.seen("visits")).isEqualTo(new Seen(100, seen));
        });
        assertThat(replaced.loss(SHOWN, now)).isNull();
        Instant found = now;
        Known later = observe(memory, "app-0", B, 2, "visits", 500);
        assertThat(former(later, now)).extracting(Store::id).isEqualTo(A);
        assertThat(former(later, found.plus(Duration.ofDays(7)))).isNull();

        Known again = observe(memory, "app-0", A, 10, "visits", 100);
        assertThat(former(again, now))
                .as("the increments counted meanwhile are lost")
                .extracting(Store::id)
                .isEqualTo(B);
        assertThat(again.loss(SHOWN, now)).isNull();
        observe(memory, "app-0", C, 1, "visits", 0);
        assertThat(observe(memory, "app-0", UUID.randomUUID(), 1, "visits", 0).stores())
                .as("the number of stores is bounded")
                .hasSize(3);
    }

    @Test
    void ignoresAnAnswerThatArrivedEarlier() {
        PeerMemory memory = memory();
        Known newest = observe(memory, "app-0", A, 6, "visits", 100);
        Known late = memory.observe(
                new Known.Key.Name("app-0"),
                "10.0.0.1:8080",
                new Replica.Count("app-0", "visits", 99, A, 5, false, null, null, null, null),
                now,
                order - 1,
                null,
                false);

        assertThat(late).isEqualTo(newest);
        assertThat(late.loss(SHOWN, now)).isNull();
    }

    @Test
    void zeroCountsAreNotRemembered() {
        PeerMemory memory = memory();
        for (int i = 0; i < 1_000; i++) {
            observe(memory, "app-0", A, 1, "anybody may ask for this " + i, 0);
        }
        assertThat(memory.get(new Known.Key.Name("app-0")))
                .extracting(known -> known.store().counts())
                .asInstanceOf(org.assertj.core.api.InstanceOfAssertFactories.MAP)
                .isEmpty();
    }

    @Test
    void peersAndCountsAreBoundedAndTheOldestAreEvicted() {
        PeerMemory memory = memory(10);
        for (int i = 0; i < 25; i++) {
            observe(memory, "app-" + i, A, 1, "visits", 1);
        }
        assertThat(memory.size()).isEqualTo(10);
        assertThat(memory.get(new Known.Key.Name("app-14"))).isNull();
        assertThat(memory.get(new Known.Key.Name("app-15"))).isNotNull();

        for (int i = 0; i < MOST_COUNTS + 50; i++) {
            observe(memory, "app-" + (15 + i % 10), A, 1, "counter-" + i, 1);
        }
        Set<String> kept = new HashSet<>();
        int counts = 0;
        for (Known known : memory.all()) {
            assertThat(known.store().seen("visits"))
                    .as("the main counter is kept")
                    .isNotNull();
            counts += known.store().counts().size();
            kept.addAll(known.store().counts().keySet());
        }
        assertThat(counts).isBetween(MOST_COUNTS / 2, MOST_COUNTS);
        assertThat(kept).contains("counter-" + (MOST_COUNTS + 49)).doesNotContain("counter-0");
    }

    @Test
    void savesOnlyChanges() {
        PeerMemory memory = memory();
        memory.save(now);
        assertThat(memory.saves()).isZero();
        observe(memory, "app-0", A, 1, "visits", 1);
        memory.save(now);
        assertThat(memory.saves()).isEqualTo(1);
        observe(memory, "app-0", A, 1, "visits", 1);
        memory.save(now);
        assertThat(memory.saves())
                .as("a change of times alone is not saved yet")
                .isEqualTo(1);
        memory.save(now.plusSeconds(61));
        assertThat(memory.saves()).isEqualTo(2);
        observe(memory, "app-0", A, 1, "visits", 2);
        memory.save(now.plusSeconds(61));
        assertThat(memory.saves()).isEqualTo(3);
    }

    @Test
    void concurrentSavesDoNotCorruptTheFile() throws Exception {
        PeerMemory memory = memory();
        ExecutorService threads = Executors.newFixedThreadPool(4);
        List<Future<?>> written = new ArrayList<>();
        for (int i = 1; i <= 200; i++) {
            observe(memory, "app-" + i % 10, A, 1, "visits", i);
            written.add(threads.submit(() -> memory.save(Instant.MAX)));
        }
        for (Future<?> one : written) {
            one.get(60, TimeUnit.SECONDS);
        }
        threads.shutdown();
        assertThat(memory.saveFailures()).isZero();
        assertThat(memory().all())
                .as("the file has the last content")
                .containsExactlyInAnyOrderElementsOf(memory.all());
        assertThat(folder).isDirectoryNotContaining("glob:**.damaged");
    }

    @Test
    void readsAFileOfThePreviousVersion() throws IOException {
        String body = "{\"peers\":[{\"key\":\"instance app-1\",\"instance\":\"app-1\",\"address\":\"10.0.0.2:8080\","
                + "\"stores\":[{\"id\":\"" + A + "\",\"incarnation\":4,\"since\":\"2026-11-22T09:00:00Z\","
                + "\"seenAt\":\"2026-11-22T09:00:01Z\",\"counts\":{\"visits\":{\"count\":7,\"at\":\"2026-11-22T09:00:01Z\"}}}]}]}";
        CRC32C checksum = new CRC32C();
        checksum.update(body.getBytes(StandardCharsets.UTF_8));
        Files.writeString(
                folder.resolve("counters.peers"),
                String.format("counterset-peers 1 %08x %d\n%s", checksum.getValue(), body.length(), body));

        Known known = memory().get(new Known.Key.Name("app-1"));
        assertThat(known).isNotNull();
        assertThat(known.store().seen("visits")).isEqualTo(new Seen(7, Instant.parse("2026-11-22T09:00:01Z")));
        assertThat(known.store().isFinal("visits")).isFalse();
        assertThat(known.group()).isNull();
    }

    @Test
    void retriesAFailedSave() throws IOException {
        PeerMemory memory = memory();
        observe(memory, "app-0", A, 1, "visits", 1);
        Path obstacle = folder.resolve("counters.peers.new");
        Files.createDirectory(obstacle);
        memory.save(now);
        assertThat(memory.saves()).isZero();
        assertThat(memory.saveFailures()).isEqualTo(1);
        assertThat(memory.get(new Known.Key.Name("app-0"))).isNotNull();

        Files.delete(obstacle);
        memory.save(now);
        assertThat(memory().get(new Known.Key.Name("app-0"))).isNotNull();
    }

    @Test
    void aCrashWhileWritingLeavesThePreviousFile() throws IOException {
        PeerMemory memory = memory();
        observe(memory, "app-0", A, 1, "visits", 1);
        memory.save(now);
        Files.write(folder.resolve("counters.peers.new"), new byte[] {1, 2, 3});

        assertThat(memory().all()).isEqualTo(memory.all());
        assertThat(folder.resolve("counters.peers.new")).doesNotExist();
    }

    @Test
    void aDamagedFileIsSetAside() throws IOException {
        PeerMemory memory = memory();
        observe(memory, "app-0", A, 1, "visits", 12_345);
        memory.save(now);
        Path file = folder.resolve("counters.peers");
        Path aside = folder.resolve("counters.peers.damaged");
        byte[] good = Files.readAllBytes(file);

        for (int bit = 0; bit < good.length * 8; bit++) {
            byte[] bad = good.clone();
            bad[bit / 8] ^= (byte) (1 << bit % 8);
            Files.write(file, bad);
            assertThat(memory().all()).as("bit %d", bit).isEmpty();
            assertThat(aside).hasBinaryContent(bad);
            assertThat(file).doesNotExist();
        }
        for (int length = 0; length < good.length; length++) {
            byte[] bad = java.util.Arrays.copyOf(good, length);
            Files.write(file, bad);
            assertThat(memory().all()).as("%d bytes", length).isEmpty();
            assertThat(aside).hasBinaryContent(bad);
        }
        Files.write(file, good);
        assertThat(memory().all()).isEqualTo(List.copyOf(memory.all()));
    }
}
