// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.counterset.CounterStoreException.CorruptJournalException;
import io.counterset.CounterStoreException.ForeignFileException;
import io.counterset.CounterStoreException.UnsupportedFormatException;
import io.counterset.SimulatedDisk.Tears;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.UUID;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;

/**
 * Every sequence of bytes in a journal is either read or refused, and whatever is read can be
 * written and read again. {@code mvn verify} tries the inputs under {@code src/test/resources}. To
 * search for new inputs guided by coverage, four minutes per run, each run continuing from the
 * last:
 *
 * <pre>JAZZER_FUZZ=1 mvn -pl counter-core test -Dtest=DecoderFuzzTest</pre>
 *
 * To try many more inputs without that guidance, the same ones each time:
 *
 * <pre>mvn -pl counter-core test -Dtest=DecoderFuzzTest -Dcounterset.inputs=1000000</pre>
 */
class DecoderFuzzTest {

    private static final int BLOCK = SimulatedDisk.BLOCK;
    private static final IdempotencyWindow WINDOW = new IdempotencyWindow(100, Duration.ofDays(1));
    private static final Set<Map<String, Long>> STATES = new HashSet<>(); // of the store of the real journal
    private static final byte[] REAL = realJournal();

    private static byte[] realJournal() {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        try (CounterStore store = open(disk)) {
            STATES.add(store.snapshot());
            for (int i = 0; i < 3; i++) {
                store.counter("c" + i).addOnce(i + 1, "key" + i);
                STATES.add(store.snapshot());
            }
        }
        return content(disk);
    }

    private static CounterStore open(SimulatedDisk disk) {
        return CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .clocks(() -> Long.MIN_VALUE / 2, () -> 0)
                .minHalf(2 * BLOCK)
                .idempotencyWindow(WINDOW)
                .withoutThreads()
                .open();
    }

    private static byte[] content(SimulatedDisk disk) {
        byte[] content = disk.content(Journal.FILE);
        if (content == null) {
            throw new AssertionError("no journal");
        }
        return content;
    }

    /**
     * The first byte determines what the others are: a file, changes to a real one, or the entries
     * of two batches.
     */
    @FuzzTest(maxDuration = "4m")
    void isReadOrRefused(byte[] input) {
        if (input.length == 0) {
            return;
        }
        byte[] rest = Arrays.copyOfRange(input, 1, input.length);
        byte[] journal = switch (input[0] % 3) {
            case 0 -> rest;
            case 1 -> changed(rest);
            default -> written(rest);
        };
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        disk.put(Journal.FILE, journal);
        isSalvagedOrRefused(disk);
        Decoded first;
        try {
            first = read(disk);
        } catch (CorruptJournalException e) {
            assertThat(e.offset()).isBetween(0L, (long) journal.length);
            return;
        } catch (ForeignFileException | UnsupportedFormatException e) {
            return;
        }
        try (CounterStore store = open(disk)) {
            store.snapshot().values().forEach(total -> assertThat(total).isPositive());
        }
        Decoded again = read(disk);
        assertThat(again.id).isEqualTo(first.id);
        assertThat(again.totals).isEqualTo(first.totals);
        int expired = first.keys.size() - again.keys.size(); // keys may expire, the oldest first
        assertThat(again.keys).isEqualTo(first.keys.subList(expired, first.keys.size()));
    }

    /**
     * Random bytes, real journals with random changes, and random or plausible entries in otherwise
     * valid batches. What is read from a real journal is one of its earlier states.
     */
    @Test
    void randomInputsAreReadOrRefused() {
        long inputs = Long.getLong("counterset.inputs", 5_000);
        long from = Long.getLong("counterset.firstSeed", 0);
        for (long seed = from; seed < from + inputs; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            byte[] input = randomInput(random);
            try {
                isReadOrRefused(input);
                if (input[0] % 3 == 1) {
                    isAStateOfTheRealOne(changed(Arrays.copyOfRange(input, 1, input.length)));
                }
            } catch (Throwable e) {
                throw new AssertionError("input " + seed + ": " + e, e);
            }
        }
    }

    private static byte[] randomInput(SplittableRandom random) {
        byte[] input = new byte[1 + random.nextInt(random.nextInt(4) == 0 ? 6 * BLOCK : 200)];
        random.nextBytes(input);
        input[0] = (byte) random.nextInt(3);
        if (input[0] == 2 && input.length > 40) { // entries: small numbers of them, then strings with their lengths
            input[2] = (byte) random.nextInt(4);
            input[3] = (byte) random.nextInt(4);
            for (int i = 4; i + 12 < input.length; ) {
                int length = 1 + random.nextInt(3);
                input[i++] = (byte) length;
                for (int c = 0; c < length; c++) {
                    input[i++] = (byte) ('a' + random.nextInt(4));
                }
                for (int b = 0; b < 8; b++) {
                    input[i++] = (byte) (b == 0 ? 1 + random.nextInt(9) : 0);
                }
            }
        }
        return input;
    }

    private static void isAStateOfTheRealOne(byte[] journal) {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        disk.put(Journal.FILE, journal);
        try {
            assertThat(STATES).contains(read(disk).totals);
        } catch (CorruptJournalException | ForeignFileException | UnsupportedFormatException e) {
            // Refused.
        }
    }

    /** Salvages every intact part of a file. A file without one is refused. */
    private static void isSalvagedOrRefused(SimulatedDisk disk) {
        try {
            Journal.salvage(disk.mount())
                    .contents()
                    .cells()
                    .values()
                    .forEach(cell -> assertThat(cell.durable()).isPositive());
        } catch (ForeignFileException | UnsupportedFormatException e) {
            // Refused.
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private record Decoded(UUID id, Map<String, Long> totals, List<List<Object>> keys) {}

    private static Decoded read(SimulatedDisk disk) {
        try {
            Journal.Contents contents = Journal.read(disk.mount(), WINDOW);
            Map<String, Long> totals = new TreeMap<>();
            contents.cells().values().forEach(cell -> totals.put(cell.name, cell.durable()));
            return new Decoded(
                    contents.identity().id(),
                    totals,
                    contents.keys().list().stream()
                            .map(e -> List.<Object>of(e.key(), e.cell().name, e.amount(), e.total(), e.appliedAt()))
                            .toList());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Changes bytes, each given by its position and an increment. Does not correct any checksum.
     */
    private static byte[] changed(byte[] changes) {
        byte[] journal = REAL.clone();
        for (int i = 0; i + 2 < changes.length; i += 3) {
            int at = ((changes[i] & 0xff) << 8 | (changes[i + 1] & 0xff)) % journal.length;
            journal[at] += changes[i + 2];
        }
        return journal;
    }

    /** Writes batches with correct headers and checksums around entries that may be anything. */
    private static byte[] written(byte[] entries) {
        byte[] journal = REAL.clone();
        Arrays.fill(journal, BLOCK, journal.length, (byte) 0);
        ByteBuffer file = ByteBuffer.wrap(journal).order(ByteOrder.LITTLE_ENDIAN);
        long id = file.getLong(16);
        int split = entries.length == 0 ? 0 : 1 + (entries[0] & 0xff) * (entries.length - 1) / 255;
        int at = BLOCK;
        for (byte[] part : List.of(
                Arrays.copyOfRange(entries, Math.min(1, entries.length), split),
                Arrays.copyOfRange(entries, split, entries.length))) {
            if (part.length < 2 || at + 40 + part.length > journal.length - 2 * BLOCK) {
                break;
            }
            file.position(at);
            file.put("CSB1".getBytes(StandardCharsets.US_ASCII)).putInt(0).putLong(id);
            file.putLong(at == BLOCK ? 7 : 8).putInt(40 + part.length - 2).putInt(at == BLOCK ? 1 : 0);
            file.putInt(part[0]).putInt(part[1]).put(part, 2, part.length - 2);
            CRC32C crc = new CRC32C();
            crc.update(journal, at + 8, 40 + part.length - 2 - 8);
            file.putInt(at + 4, (int) crc.getValue());
            at += (40 + part.length - 2 + BLOCK - 1) / BLOCK * BLOCK;
        }
        return journal;
    }
}
