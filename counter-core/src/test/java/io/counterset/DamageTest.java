// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.CounterStoreException.CorruptJournalException;
import io.counterset.CounterStoreException.ForeignFileException;
import io.counterset.CounterStoreException.UnsupportedFormatException;
import io.counterset.SimulatedDisk.Tears;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

/**
 * Damages a small journal systematically. Reading it must return its content or refuse it. Only
 * damage to the last batch may pass for a torn batch; then reading must return the content before
 * that batch.
 */
class DamageTest {

    private static final int BLOCK = SimulatedDisk.BLOCK;
    private static final IdempotencyWindow WINDOW = new IdempotencyWindow(100, Duration.ofDays(1));

    /** The content of a journal: identity, totals, and the remembered keys in order. */
    record Content(StoreIdentity identity, Map<String, Long> totals, List<String> keys) {}

    /** Journals of stores that were opened once. They differ in how they end. */
    @SuppressWarnings("ImmutableEnumChecker") // filled once, on first use
    enum Journals {
        /** Both halves have batches; the last one is an ordinary batch. */
        ENDING_WITH_A_BATCH(3, 7, false),
        /** The last batch is the full one at the head of a half. */
        ENDING_WITH_A_SWITCH(3, 6, false),
        /** Batches of several blocks. */
        OF_LONG_BATCHES(9, 8, true);

        private final int blocks;
        private final int commits;
        private final boolean wide;
        private final List<byte[]> images = new ArrayList<>(); // after each commit
        private final List<Content> contents = new ArrayList<>();

        Journals(int blocks, int commits, boolean wide) {
            this.blocks = blocks;
            this.commits = commits;
            this.wide = wide;
        }

        synchronized void make() {
            if (!images.isEmpty()) {
                return;
            }
            SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
            CounterStore store = CounterStore.builder(Path.of("simulated"))
                    .storage(disk.mount())
                    .clocks(() -> 1000, () -> 0)
                    .minHalf((long) blocks * BLOCK)
                    .idempotencyWindow(WINDOW)
                    .withoutThreads()
                    .open();
            take(disk);
            for (int i = 0; i < commits; i++) {
                int counters = wide ? 60 : 2;
                for (int c = 0; c < counters; c++) {
                    var unused = store.counter("c" + c + (wide ? "-".repeat(100) : ""))
                            .addAsync(i + 1);
                }
                var unused = store.counter("keyed").addOnceAsync(1, "key " + i);
                store.pump();
                take(disk);
            }
        }

        private void take(SimulatedDisk disk) {
            byte[] image = disk.content(Journal.FILE);
            if (image == null) {
                throw new AssertionError();
            }
            images.add(image);
            contents.add(read(image));
        }

        byte[] image() {
            make();
            return images.get(images.size() - 1).clone();
        }

        Content last() {
            return contents.get(contents.size() - 1);
        }

        Content lastButOne() {
            return contents.get(contents.size() - 2);
        }

        /** Whether the last commit wrote this block. */
        boolean isOfLastBatch(int block) {
            byte[] now = images.get(images.size() - 1);
            byte[] before = images.get(images.size() - 2);
            return !Arrays.equals(now, block * BLOCK, (block + 1) * BLOCK, before, block * BLOCK, (block + 1) * BLOCK);
        }
    }

    private static Content read(byte[] image) {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        disk.put(Journal.FILE, image);
        try {
            return content(disk);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static Content content(SimulatedDisk disk) throws IOException {
        Journal.Contents contents = Journal.read(disk.mount(), WINDOW);
        Map<String, Long> totals = new TreeMap<>();
        contents.cells().values().forEach(cell -> totals.put(cell.name, cell.durable()));
        List<String> keys = contents.keys().list().stream()
                .map(e -> e.key() + " " + e.cell().name + " " + e.amount() + " " + e.total() + " " + e.appliedAt())
                .toList();
        return new Content(contents.identity(), totals, keys);
    }

    private int right;
    private int refused;
    private int takenForTorn;

    private void damage(Journals journal, byte[] damaged, boolean lastBatchTouched, String how) {
        Content content;
        try {
            content = read(damaged);
        } catch (CorruptJournalException | ForeignFileException | UnsupportedFormatException e) {
            refused++;
            return;
        }
        if (content.equals(journal.last())) {
            right++;
        } else if (lastBatchTouched && content.equals(journal.lastButOne())) {
            takenForTorn++;
        } else {
            throw new AssertionError(how + " reads as " + content + "\ninstead of " + journal.last());
        }
    }

    private void report(String what, Journals journal) {
        System.out.printf(
                "  %s %s: %,d right, %,d refused, %,d taken for torn%n", journal, what, right, refused, takenForTorn);
    }

    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "ENDING_WITH_A_BATCH")
    void everySingleBitFlipped(Journals journal) {
        byte[] image = journal.image();
        for (int at = 0; at < image.length; at++) {
            boolean last = journal.isOfLastBatch(at / BLOCK);
            // Flips every bit of one journal. In the others, every bit where batches begin, and
            // elsewhere at most one bit per byte.
            boolean every = journal == Journals.ENDING_WITH_A_BATCH || at % BLOCK < (journal.wide ? 60 : 300);
            if (!every && journal.wide && at % 5 != 0) {
                continue;
            }
            for (int bit = every ? 0 : at % 8; bit < 8; bit += every ? 1 : 8) {
                image[at] ^= (byte) (1 << bit);
                damage(journal, image, last, "bit " + bit + " of byte " + at);
                image[at] ^= (byte) (1 << bit);
            }
        }
        report("bits", journal);
        assertThat(refused).isGreaterThan(1000);
        assertThat(right).isGreaterThan(1000);
        assertThat(takenForTorn).isPositive();
    }

    @ParameterizedTest
    @EnumSource
    void truncatedAtEveryLength(Journals journal) {
        byte[] image = journal.image();
        int lengths = 0;
        for (int length = 0; length < image.length; length += journal.wide ? 11 : 1) {
            damage(journal, Arrays.copyOf(image, length), false, "the first " + length + " bytes");
            lengths++;
        }
        damage(journal, Arrays.copyOf(image, image.length + 1), false, "one byte more");
        damage(journal, Arrays.copyOf(image, image.length + BLOCK), false, "one block more");
        report("lengths", journal);
        assertThat(refused).as("a file of another length is never right").isEqualTo(lengths + 2);
    }

    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "OF_LONG_BATCHES")
    void blocksSwappedAndDuplicated(Journals journal) {
        byte[] image = journal.image();
        int blocks = image.length / BLOCK;
        for (int a = 0; a < blocks; a++) {
            for (int b = 0; b < blocks; b++) {
                if (a == b) {
                    continue;
                }
                boolean last = journal.isOfLastBatch(a) || journal.isOfLastBatch(b);
                byte[] swapped = image.clone();
                System.arraycopy(image, a * BLOCK, swapped, b * BLOCK, BLOCK);
                damage(journal, swapped.clone(), journal.isOfLastBatch(b), "block " + a + " also at " + b);
                System.arraycopy(image, b * BLOCK, swapped, a * BLOCK, BLOCK);
                damage(journal, swapped, last, "blocks " + a + " and " + b + " swapped");
            }
        }
        report("blocks", journal);
        assertThat(refused).isPositive();
    }

    @ParameterizedTest
    @EnumSource
    void oldCopiesOfBlocksReplayed(Journals journal) {
        byte[] image = journal.image();
        int blocks = image.length / BLOCK;
        for (byte[] old : journal.images) {
            for (int from = 0; from < blocks; from++) {
                for (int to = 0; to < blocks; to++) {
                    byte[] replayed = image.clone();
                    System.arraycopy(old, from * BLOCK, replayed, to * BLOCK, BLOCK);
                    damage(journal, replayed, journal.isOfLastBatch(to), "old block " + from + " at " + to);
                }
            }
        }
        report("old blocks", journal);
        assertThat(refused).isPositive();
    }

    @ParameterizedTest
    @EnumSource
    void blocksOfGarbageOrOfZeros(Journals journal) {
        byte[] image = journal.image();
        SplittableRandom random = new SplittableRandom(1);
        byte[] garbage = new byte[BLOCK];
        for (int block = 0; block < image.length / BLOCK; block++) {
            for (int round = 0; round < 20; round++) {
                byte[] damaged = image.clone();
                random.nextBytes(garbage);
                if (round == 0) {
                    Arrays.fill(garbage, (byte) 0);
                }
                int from = round < 2 ? 0 : random.nextInt(BLOCK);
                int to = round < 2 ? BLOCK : from + random.nextInt(BLOCK - from);
                System.arraycopy(garbage, from, damaged, block * BLOCK + from, to - from);
                damage(journal, damaged, journal.isOfLastBatch(block), "garbage in block " + block);
            }
        }
        report("garbage", journal);
        assertThat(refused).isPositive();
    }

    @Test
    void damageInTheMiddleIsFound() {
        everySingleBitFlipped(Journals.ENDING_WITH_A_BATCH);
    }

    @Test
    void damageToTheLastTwoBatchesIsFound() {
        blocksSwappedAndDuplicated(Journals.OF_LONG_BATCHES);
    }

    @Test
    void damageIsFoundHoweverFarAwayItsProofIs() {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        CounterStore store = CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .minHalf(2 << 20)
                .withoutThreads()
                .open();
        int commits = 300; // one block each, so more than 1 MiB
        for (int i = 0; i < commits; i++) {
            store.counter("c").increment();
        }
        byte[] image = disk.content(Journal.FILE);
        assertThat(image).isNotNull();
        if (image != null) {
            Arrays.fill(image, 3 * BLOCK, (1 + commits) * BLOCK, (byte) 0);
            assertThatThrownBy(() -> read(image))
                    .isInstanceOf(CorruptJournalException.class)
                    .hasMessageContaining("though batch");
        }
    }

    @Test
    void aTornBatchIsReported() throws IOException {
        byte[] image = Journals.ENDING_WITH_A_BATCH.image();
        assertThat(discarded(image)).isZero();
        for (int block = 0; block < image.length / BLOCK; block++) {
            if (Journals.ENDING_WITH_A_BATCH.isOfLastBatch(block)) {
                image[block * BLOCK + Batch.HEADER + 5] ^= 1;
                assertThat(discarded(image)).isEqualTo(1);
            }
        }
    }

    private static int discarded(byte[] image) throws IOException {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        disk.put(Journal.FILE, image);
        return Journal.read(disk.mount(), WINDOW).discardedBatches();
    }

    @Test
    void aDecreasingTotalIsDamage() throws IOException {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        Storage storage = disk.mount();
        try (Journal journal =
                Journal.prepare(storage, new StoreIdentity(java.util.UUID.randomUUID(), 1), 4 * BLOCK, 0)) {
            Counter counter = new Counter("c", 1, 0);
            for (long total : new long[] {5, 3}) {
                Batch batch = new Batch();
                batch.clear(total == 5);
                batch.add(counter, total);
                journal.append(batch);
            }
            journal.activate();
        }
        assertThatThrownBy(() -> Journal.read(storage, WINDOW))
                .isInstanceOf(CorruptJournalException.class)
                .hasMessageContaining("a count of 5 or more for c");
    }

    // ---- unreadable blocks and blocks of other files ----

    /** Reads a journal with one unreadable block. */
    private static Content readWithout(byte[] image, int block) throws IOException {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        disk.put(Journal.FILE, image);
        disk.unreadable(block);
        return content(disk);
    }

    @ParameterizedTest
    @EnumSource
    void anUnreadableBlockIsReportedIfABatchNeedsItAndSkippedOtherwise(Journals journal) {
        byte[] image = journal.image();
        int skipped = 0;
        int reported = 0;
        for (int block = 0; block < image.length / BLOCK; block++) {
            try {
                Content content = readWithout(image, block);
                assertThat(content).as("without block %d", block).isEqualTo(journal.last());
                skipped++;
            } catch (IOException e) {
                assertThat(e).hasMessageContaining("cannot be read at byte");
                reported++;
            }
        }
        System.out.printf("  %s: without a block, %d right, %d refused%n", journal, skipped, reported);
        assertThat(reported).as("header and batches").isPositive();
        assertThat(skipped).as("blocks that no batch needs").isPositive();
    }

    @Test
    void blocksOfAnotherJournalAreNeverAccepted() {
        byte[] one = Journals.ENDING_WITH_A_BATCH.image();
        byte[] other = Journals.ENDING_WITH_A_SWITCH.image();
        // Blocks of another file are never accepted, even if halves and sequence numbers match.
        for (int block = 1; block < one.length / BLOCK; block++) {
            byte[] mixed = one.clone();
            System.arraycopy(other, block * BLOCK, mixed, block * BLOCK, BLOCK);
            damage(
                    Journals.ENDING_WITH_A_BATCH,
                    mixed,
                    Journals.ENDING_WITH_A_BATCH.isOfLastBatch(block),
                    "block " + block + " of another journal");
        }
        assertThat(refused).isPositive();
        byte[] header = one.clone();
        System.arraycopy(other, 0, header, 0, BLOCK);
        assertThat(Journals.ENDING_WITH_A_BATCH.last().identity())
                .isNotEqualTo(Journals.ENDING_WITH_A_SWITCH.last().identity());
        damage(Journals.ENDING_WITH_A_BATCH, header, false, "the header of another journal");
    }
}
