// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.app.History.Bucket;
import io.counterset.app.History.Mark;
import io.counterset.app.History.Unit;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The history with clocks that the test controls; no test waits. */
class HistoryTest {

    private static final long START = Instant.parse("2026-11-25T10:00:00Z").toEpochMilli();

    @TempDir
    Path directory;

    private UUID store = new UUID(1, 2);
    private long total;
    private long wall = START;
    private long nanos = 42;
    private boolean accepting = true;

    private History open() {
        return new History(directory, store, () -> accepting, () -> total, () -> wall, () -> nanos);
    }

    /** Runs the replica with a reading each second, and adds {@code perSecond} each second. */
    private void run(History history, Duration time, long perSecond) {
        for (long i = 0; i < time.toSeconds(); i++) {
            total += perSecond;
            pass(Duration.ofSeconds(1));
            history.read();
        }
    }

    private void pass(Duration time) {
        wall += time.toMillis();
        nanos += time.toNanos();
    }

    private static Bucket at(History history, Unit unit, int before) {
        List<Bucket> buckets = history.buckets(unit);
        return buckets.get(buckets.size() - 1 - before);
    }

    private static long sum(History history, Unit unit) {
        return history.buckets(unit).stream()
                .mapToLong(bucket -> bucket.count() == null ? 0 : bucket.count())
                .sum();
    }

    @Test
    void incrementsAreInTheBucketsOfTheirTime() {
        History history = open();
        run(history, Duration.ofSeconds(60), 1);
        run(history, Duration.ofSeconds(60), 2);
        run(history, Duration.ofSeconds(30), 3);

        assertThat(at(history, Unit.MINUTE, 2)).isEqualTo(new Bucket(Instant.ofEpochMilli(START), 60L, 60, List.of()));
        assertThat(at(history, Unit.MINUTE, 1).count()).isEqualTo(120);
        assertThat(at(history, Unit.MINUTE, 0).count()).isEqualTo(90);
        assertThat(at(history, Unit.MINUTE, 0).coveredSeconds()).isEqualTo(30);
        assertThat(at(history, Unit.MINUTE, 3).count()).isNull();
        assertThat(at(history, Unit.HOUR, 0).count()).isEqualTo(270);
        assertThat(at(history, Unit.DAY, 0).count()).isEqualTo(270);
        assertThat(history.lastMinute()).isEqualTo(30 * 2 + 30 * 3);
        assertThat(history.buckets(Unit.MINUTE)).hasSize(180);
        assertThat(history.buckets(Unit.HOUR)).hasSize(168);
        assertThat(history.buckets(Unit.DAY)).hasSize(730);
    }

    @Test
    void oldBucketsExpire() {
        History history = open();
        run(history, Duration.ofMinutes(1), 1);
        run(history, Duration.ofMinutes(179), 0);
        assertThat(sum(history, Unit.MINUTE)).isZero();
        assertThat(sum(history, Unit.HOUR)).isEqualTo(60);
    }

    @Test
    void afterAKillNoGrowthIsLostAndTheDowntimeIsAGap() {
        History killed = open();
        run(killed, Duration.ofSeconds(90), 1); // saved at 60 s; only the store has the 30 after it
        total += 7; // acknowledged, never read
        pass(Duration.ofMinutes(10));

        History history = open();
        assertThat(at(history, Unit.MINUTE, 10).count()).isEqualTo(37);
        assertThat(at(history, Unit.MINUTE, 11).count()).isEqualTo(60);
        assertThat(at(history, Unit.MINUTE, 5).count()).isNull();
        run(history, Duration.ofSeconds(5), 1);
        assertThat(sum(history, Unit.MINUTE)).isEqualTo(total);
        assertThat(at(history, Unit.MINUTE, 0).marks()).isEmpty();
    }

    @Test
    void closeRecordsTheLastSecond() {
        History stopped = open();
        run(stopped, Duration.ofSeconds(5), 1);
        total += 3;
        stopped.close();
        History history = open();
        assertThat(at(history, Unit.MINUTE, 0).count()).isEqualTo(8);
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void aReplacedOrRolledBackStoreIsMarkedAndItsCountIsNotGrowth(boolean replaced) {
        History before = open();
        run(before, Duration.ofSeconds(60), 5);
        before.close();
        if (replaced) {
            store = new UUID(3, 4);
            total = 1_000_000;
        } else {
            total = 100;
        }
        pass(Duration.ofMinutes(1));

        History history = open();
        assertThat(at(history, Unit.MINUTE, 0).marks()).containsExactly(Mark.BREAK);
        assertThat(sum(history, Unit.MINUTE)).isEqualTo(300);
        run(history, Duration.ofSeconds(2), 1);
        assertThat(sum(history, Unit.MINUTE)).isEqualTo(302);
    }

    @Test
    void aClockSetForwardLeavesAGapAndAMark() {
        History history = open();
        run(history, Duration.ofSeconds(60), 1);
        wall += Duration.ofMinutes(30).toMillis();
        run(history, Duration.ofSeconds(10), 1);
        assertThat(at(history, Unit.MINUTE, 0).marks()).containsExactly(Mark.CLOCK);
        assertThat(at(history, Unit.MINUTE, 15).count()).isNull();
        assertThat(sum(history, Unit.MINUTE)).isEqualTo(total);
    }

    @Test
    void aClockSetBackMergesTheFutureIntoTheCurrentBucket() {
        History history = open();
        run(history, Duration.ofMinutes(10), 1);
        wall -= Duration.ofMinutes(5).toMillis();
        run(history, Duration.ofSeconds(10), 1);
        assertThat(at(history, Unit.MINUTE, 0).marks()).containsExactly(Mark.CLOCK);
        assertThat(at(history, Unit.MINUTE, 0).start())
                .isEqualTo(Instant.ofEpochMilli(START).plusSeconds(300));
        assertThat(sum(history, Unit.MINUTE)).isEqualTo(total);
    }

    @Test
    void aClockSetBackWhileTheReplicaWasDownIsMarked() {
        History before = open();
        run(before, Duration.ofMinutes(10), 1);
        before.close();
        wall -= Duration.ofHours(1).toMillis();
        History history = open();
        assertThat(at(history, Unit.MINUTE, 0).marks()).containsExactly(Mark.CLOCK);
        assertThat(sum(history, Unit.MINUTE)).isEqualTo(total);
    }

    @Test
    void aDamagedFileLosesOnlyTheHistory() throws IOException {
        History before = open();
        run(before, Duration.ofMinutes(2), 1);
        before.close();
        Path file = directory.resolve(History.FILE);
        byte[] saved = Files.readAllBytes(file);
        Random random = new Random(1);
        for (int i = 0; i < 40; i++) {
            byte[] damaged = saved.clone();
            damaged[random.nextInt(damaged.length)] ^= (byte) (1 << random.nextInt(8));
            Files.write(file, damaged);
            assertThat(sum(open(), Unit.MINUTE)).isZero();
        }
        for (int length : new int[] {0, 1, 8, 55, 56, saved.length - 1}) {
            Files.write(file, Arrays.copyOf(saved, length));
            assertThat(sum(open(), Unit.MINUTE)).isZero();
        }
        Files.delete(file);
        Files.createDirectory(file);
        History unreadable = open();
        run(unreadable, Duration.ofMinutes(2), 1);
        unreadable.close();
        assertThat(sum(unreadable, Unit.MINUTE)).isEqualTo(120);
    }

    @Test
    void aStoreThatLostItsDirectoryDoesNotWriteThere() {
        accepting = false;
        History history = open();
        run(history, Duration.ofMinutes(2), 1);
        history.close();
        assertThat(directory).isEmptyDirectory();
    }

    @Test
    void theBucketsAlwaysAddUpToTheObservedGrowth() throws IOException {
        for (int seed = 0; seed < 30; seed++) {
            Random random = new Random(seed);
            Files.deleteIfExists(directory.resolve(History.FILE));
            total = 0;
            wall = START;
            History history = open();
            for (int step = 0; step < 20; step++) {
                switch (random.nextInt(6)) {
                    case 0 -> {
                        history.close();
                        pass(Duration.ofSeconds(random.nextInt(4_000)));
                        history = open();
                    }
                    case 1 -> {
                        total += random.nextInt(5); // killed before it was read
                        pass(Duration.ofSeconds(random.nextInt(600)));
                        history = open();
                    }
                    case 2 -> wall += TimeUnit.SECONDS.toMillis(random.nextInt(20_000) - 10_000);
                    default -> run(history, Duration.ofSeconds(random.nextInt(100)), random.nextInt(3));
                }
                assertThat(sum(history, Unit.DAY))
                        .as("seed %d, step %d", seed, step)
                        .isLessThanOrEqualTo(total);
            }
            history.read();
            assertThat(sum(history, Unit.DAY)).as("seed %d", seed).isEqualTo(total);
        }
    }
}
