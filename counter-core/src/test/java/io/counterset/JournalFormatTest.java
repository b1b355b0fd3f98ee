// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.UnsupportedFormatException;
import io.counterset.SimulatedDisk.Tears;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Format version 1 is a contract: checks a stored file of version 1 and the bytes of new ones. */
class JournalFormatTest {

    private static final String GOLDEN = "counters-v1.journal";
    private static final long WRITTEN_AT = 1_800_000_000_000L;
    private static final String SNOWMAN = "Schneemänner ☃ \uD83D\uDC26";

    /**
     * Writes the golden file to the path in the argument. Run it again only for a new version of
     * the format, and give that file a new name.
     */
    public static void main(String[] file) throws IOException {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        for (int life = 0; life < 3; life++) {
            try (CounterStore store = CounterStore.builder(Path.of("golden"))
                    .storage(disk.mount())
                    .clocks(() -> WRITTEN_AT, () -> 0)
                    .minHalf(2 * SimulatedDisk.BLOCK)
                    .withoutThreads()
                    .open()) {
                for (int i = 0; i < 3; i++) {
                    store.counter("visits").increment();
                }
                store.counter(SNOWMAN).addOnce(1L << 60, "key " + life);
                store.counter("visits").addOnce(5, "visits of life " + life);
            }
        }
        Files.write(Path.of(file[0]), content(disk));
    }

    private static byte[] content(SimulatedDisk disk) {
        byte[] content = disk.content(Journal.FILE);
        if (content == null) {
            throw new AssertionError("no journal");
        }
        return content;
    }

    private static byte[] golden() throws IOException {
        try (InputStream in = JournalFormatTest.class.getResourceAsStream(GOLDEN)) {
            if (in == null) {
                throw new AssertionError(GOLDEN + " is missing");
            }
            return in.readAllBytes();
        }
    }

    @Test
    void opensAFileOfVersionOne(@TempDir Path directory) throws IOException {
        Files.write(directory.resolve(Journal.FILE), golden());
        for (long incarnation = 4; incarnation < 6; incarnation++) {
            try (CounterStore store = CounterStore.builder(directory)
                    .clocks(() -> WRITTEN_AT + 1000, System::nanoTime)
                    .open()) {
                assertThat(store.identity())
                        .isEqualTo(new StoreIdentity(
                                UUID.fromString("b51fc866-43f7-4722-964f-e76e8d8f6087"), incarnation));
                assertThat(store.snapshot()).isEqualTo(Map.of("visits", 24L, SNOWMAN, 3L << 60));
                for (int life = 0; life < 3; life++) {
                    assertThat(store.counter(SNOWMAN).addOnce(1L << 60, "key " + life))
                            .isEqualTo(new AddResult((life + 1L) << 60, true));
                    assertThat(store.counter("visits").addOnce(5, "visits of life " + life))
                            .isEqualTo(new AddResult(8L * (life + 1), true));
                }
            }
        }
    }

    @Test
    void refusesAFileOfANewerVersion(@TempDir Path directory) throws IOException {
        byte[] newer = golden();
        ByteBuffer header = ByteBuffer.wrap(newer).order(ByteOrder.LITTLE_ENDIAN);
        header.putInt(8, 2).putInt(12, headerChecksum(newer));
        Path file = directory.resolve(Journal.FILE);
        Files.write(file, newer);
        assertThatThrownBy(() -> CounterStore.open(directory))
                .isInstanceOf(UnsupportedFormatException.class)
                .hasMessageContainingAll(file.toString(), "format version 2", "reads up to 1", "nothing was changed");
        assertThat(Files.readAllBytes(file)).isEqualTo(newer);
    }

    private static int headerChecksum(byte[] file) {
        CRC32C crc = new CRC32C();
        crc.update(file, 0, 12);
        crc.update(file, 16, SimulatedDisk.BLOCK - 16);
        return (int) crc.getValue();
    }

    @Test
    void theHeaderIsAsDocumented() {
        SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
        StoreIdentity identity;
        try (CounterStore store = CounterStore.builder(Path.of("x"))
                .storage(disk.mount())
                .minHalf(3 * SimulatedDisk.BLOCK)
                .open()) {
            identity = store.identity();
        }
        byte[] file = content(disk);
        assertThat(file).hasSize(7 * 4096);
        ByteBuffer header = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        assertThat(Arrays.copyOf(file, 8)).isEqualTo(new byte[] {(byte) 0x89, 'C', 'S', 'E', 'T', '\r', 0x1a, '\n'});
        assertThat(header.getInt(8)).as("version").isEqualTo(1);
        assertThat(header.getInt(12)).as("checksum").isEqualTo(headerChecksum(file));
        assertThat(new UUID(header.getLong(24), header.getLong(32))).isEqualTo(identity.id());
        assertThat(header.getLong(40)).as("incarnation").isEqualTo(1);
        assertThat(header.getLong(48)).as("half").isEqualTo(3 * 4096);
        assertThat(header.getInt(56)).as("block").isEqualTo(4096);
        assertThat(Arrays.copyOfRange(file, 60, 4096)).containsOnly(0);
    }

    @Test
    void aBatchIsEncodedAsDocumentedByteForByte() {
        Counter visits = new Counter("visits", 6, 0);
        Counter umlaut = new Counter("ä", 2, 0);
        Batch batch = new Batch();
        batch.clear(true);
        batch.add(visits, 7);
        batch.add(umlaut, Long.MAX_VALUE);
        batch.keys(List.of(
                new RememberedKeys.Entry("k", 1, umlaut, 3, 1L << 40, WRITTEN_AT),
                new RememberedKeys.Entry("☃", 3, visits, 7, 7, -1)));
        byte[] encoded = batch.encode(new byte[0], 0x1122334455667788L, 42);

        ByteBuffer expected = ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);
        expected.put("CSB1".getBytes(StandardCharsets.US_ASCII));
        expected.putInt(0); // the checksum, set below
        expected.putLong(0x1122334455667788L).putLong(42);
        int length = 40 + (1 + 6 + 8) + (1 + 2 + 8) + (1 + 1 + 28) + (1 + 3 + 28);
        expected.putInt(length).putInt(1).putInt(2).putInt(2);
        expected.put((byte) 6).put("visits".getBytes(StandardCharsets.UTF_8)).putLong(7);
        expected.put((byte) 2).put("ä".getBytes(StandardCharsets.UTF_8)).putLong(Long.MAX_VALUE);
        expected.put((byte) 1)
                .put((byte) 'k')
                .putInt(1)
                .putLong(3)
                .putLong(1L << 40)
                .putLong(WRITTEN_AT);
        expected.put((byte) 3)
                .put("☃".getBytes(StandardCharsets.UTF_8))
                .putInt(0)
                .putLong(7)
                .putLong(7)
                .putLong(-1);
        assertThat(expected.position()).isEqualTo(length);
        CRC32C crc = new CRC32C();
        crc.update(expected.array(), 8, length - 8);
        expected.putInt(4, (int) crc.getValue());
        assertThat(encoded).isEqualTo(expected.array());
    }

    @Test
    void aKeyThatWasEvictedOutOfTurnIsListedOnceMoreBeforeItsSuccessor() {
        Counter visits = new Counter("visits", 6, 0);
        RememberedKeys.Entry evicted = new RememberedKeys.Entry("old", 3, visits, 1, 1, WRITTEN_AT, 5);
        RememberedKeys.Entry newest = new RememberedKeys.Entry("new", 3, visits, 2, 7, WRITTEN_AT + 1, 6);
        Batch batch = new Batch();
        batch.clear(false);
        batch.add(visits, 7);
        batch.keys(List.of(evicted.evictedFor(newest), newest));
        ByteBuffer encoded = ByteBuffer.wrap(batch.encode(new byte[0], 1, 42)).order(ByteOrder.LITTLE_ENDIAN);

        ByteBuffer expected = ByteBuffer.allocate(2 * (1 + 3 + 28)).order(ByteOrder.LITTLE_ENDIAN);
        expected.put((byte) 3).put("old".getBytes(StandardCharsets.US_ASCII));
        expected.putInt(0).putLong(2).putLong(7).putLong(Long.MIN_VALUE);
        expected.put((byte) 3).put("new".getBytes(StandardCharsets.US_ASCII));
        expected.putInt(0).putLong(2).putLong(7).putLong(WRITTEN_AT + 1);
        assertThat(encoded.slice(40 + 1 + 6 + 8, expected.capacity())).isEqualTo(expected.flip());
    }

    @Test
    void aDecreasedTotalIsNeverWritten(@TempDir Path directory) {
        try (CounterStore store = CounterStore.open(directory)) {
            Counter counter = store.counter("visits");
            counter.add(5);
            counter.publish(9);
            counter.increment();
            assertThatThrownBy(store::flush)
                    .isInstanceOf(OutcomeUnknownException.class)
                    .hasMessageContaining("counter visits went from 9 back to 6");
        }
    }

    /** A journal is filled while commits publish larger totals. */
    @Test
    void aTotalThatHasGrownSinceItWasReadCanBeListed() {
        Counter counter = new Counter("visits", 6, 5);
        long read = counter.durable();
        counter.publish(6);
        Batch batch = new Batch();
        batch.add(counter, read);
        assertThat(batch.isEmpty()).isFalse();
    }

    @Test
    void batchesOfOneHalfFollowEachOther() throws IOException {
        byte[] file = golden();
        ByteBuffer journal = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        long id = journal.getLong(16);
        ByteArrayOutputStream sequences = new ByteArrayOutputStream();
        for (int at = 4096; at < file.length; at += 4096) {
            assertThat(new String(file, at, 4, StandardCharsets.US_ASCII)).isEqualTo("CSB1");
            assertThat(journal.getLong(at + 8)).isEqualTo(id);
            sequences.write((int) journal.getLong(at + 16));
            assertThat(journal.getInt(at + 28)).as("full").isEqualTo(at == 4096 || at == 4096 * 3 ? 1 : 0);
        }
        assertThat(sequences.toByteArray()).isEqualTo(new byte[] {17, 18, 15, 16});
    }
}
