// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.counterset.CounterStoreException.StoreFullException;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A small, real file system that fills up. Skipped unless this process may mount one, as root can.
 */
class FullDiskTest {

    @TempDir
    Path disk = Path.of("");

    @TempDir
    Path elsewhere = Path.of("");

    @Test
    void aFullDiskRefusesNewCountersAndKeysUntilThereIsRoom() throws IOException {
        Assumptions.assumeTrue(Mounts.whileSmall(disk, 1024, this::fillAndFree), "this process may not mount");
    }

    @Test
    void aNewStoreOnAFullDiskIsRefusedAndLeavesNoFileOpen() throws IOException {
        Assumptions.assumeTrue(Mounts.whileSmall(disk, 64, this::openOnAFullDisk), "this process may not mount");
    }

    private void openOnAFullDisk() {
        CounterStore.Builder builder =
                CounterStore.builder(disk.resolve("data")).minHalf(4096);
        fill();
        for (int i = 0; i < 3; i++) { // the result is the same each time: no lock was left behind
            assertThatThrownBy(builder::open)
                    .isInstanceOf(StoreFullException.class)
                    .hasMessageContaining("no room");
        }
        free();
        try (CounterStore store = builder.open()) {
            assertThat(store.counter("c").increment()).isEqualTo(1);
        }
    }

    @Test
    void aBackupOntoAFullDiskLeavesNothingBehind() throws IOException {
        Assumptions.assumeTrue(Mounts.whileSmall(disk, 1024, this::backUpOntoAFullDisk), "this process may not mount");
    }

    private void backUpOntoAFullDisk() {
        Path copy = disk.resolve("copy");
        try (CounterStore store = CounterStore.open(elsewhere)) {
            store.counter("c").add(5);
            assertThatThrownBy(() -> store.backup(copy)).isInstanceOf(StoreFullException.class);
            assertThat(copy.resolve(Journal.NEW_FILE)).doesNotExist();
            assertThat(copy.resolve(Journal.FILE)).doesNotExist();
            assertThat(store.counter("c").increment()).isEqualTo(6);
        }
    }

    @Test
    void anImportOrSalvageOntoAFullDiskIsReportedAndLeavesNothingBehind() throws IOException {
        Assumptions.assumeTrue(
                Mounts.whileSmall(disk, 1024, this::importAndSalvageOntoAFullDisk), "this process may not mount");
    }

    private void importAndSalvageOntoAFullDisk() {
        try (CounterStore store = CounterStore.open(elsewhere)) {
            store.counter("c").add(5);
        }
        ByteArrayOutputStream exported = new ByteArrayOutputStream();
        assertThat(run(InputStream.nullInputStream(), exported, "export", elsewhere.toString()))
                .isEmpty();
        for (String command : List.of("import", "salvage")) {
            Path target = disk.resolve(command);
            String[] arguments = command.equals("import")
                    ? new String[] {command, target.toString()}
                    : new String[] {command, elsewhere.toString(), target.toString()};
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            String error = run(new ByteArrayInputStream(exported.toByteArray()), out, arguments);
            assertThat(error).as(command).startsWith("4: ").contains(target.toString(), "No space left on device");
            assertThat(out.size()).as("nothing is reported as written").isZero();
            assertThat(target.resolve(Journal.NEW_FILE)).doesNotExist();
            assertThat(target.resolve(Journal.FILE)).doesNotExist();
        }
    }

    @Test
    void anExportToAFullDiskFailsAndLeavesTheStoreAsItIs() throws IOException {
        Path full = Path.of("/dev/full");
        Assumptions.assumeTrue(Files.exists(full), "there is no /dev/full");
        try (CounterStore store = CounterStore.open(elsewhere)) {
            store.counter("c").add(5);
        }
        try (OutputStream out = Files.newOutputStream(full)) {
            assertThat(run(InputStream.nullInputStream(), out, "export", elsewhere.toString()))
                    .startsWith("4: the output could not be written");
        }
        try (CounterStore store = CounterStore.open(elsewhere)) {
            assertThat(store.counter("c").value()).isEqualTo(5);
        }
    }

    /** Runs a command. Returns its exit status and standard error, or nothing if it succeeded. */
    private static String run(InputStream in, OutputStream out, String... arguments) {
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        int status = new CommandLine(
                        in,
                        new PrintStream(out, false, StandardCharsets.UTF_8),
                        new PrintStream(err, true, StandardCharsets.UTF_8))
                .run(arguments);
        return status == 0 ? "" : status + ": " + err.toString(StandardCharsets.UTF_8);
    }

    @Test
    void countFileFollowsTheCountOnAFullDiskAndIsExactAfterClosing() throws IOException {
        Assumptions.assumeTrue(Mounts.whileSmall(disk, 1024, this::countOnAFullDisk), "this process may not mount");
    }

    private void countOnAFullDisk() {
        Path text = disk.resolve("data/count.txt");
        List<String> warnings = new CopyOnWriteArrayList<>();
        try (CounterStore store = CounterStore.builder(disk.resolve("data"))
                .minHalf(64 << 10)
                .countFile("c")
                .onWarning(warnings::add)
                .open()) {
            fill();
            store.counter("c").add(4);
            await().atMost(Duration.ofSeconds(10))
                    .untilAsserted(() -> assertThat(text).hasContent("4\n"));
            assertThat(disk.resolve("data/count.txt.new")).doesNotExist();
            store.counter("c").add(100);
            assertThat(store.statistics().countFileFailures()).isZero();
        }
        assertThat(text).hasContent("104\n");
        assertThat(warnings).isEmpty();
    }

    private void fillAndFree() {
        AtomicLong nanos = new AtomicLong();
        CounterStore.Builder builder = CounterStore.builder(disk.resolve("data"))
                .minHalf(64 << 10)
                .countFile("c")
                .clocks(System::currentTimeMillis, nanos::get);
        Map<String, Long> expected = new TreeMap<>();
        try (CounterStore store = builder.open()) {
            Counter counter = store.counter("c");
            expected.put("c", counter.increment());
            fill();
            // Adding to existing counters needs no room.
            for (int i = 0; i < 1000; i++) {
                expected.put("c", counter.increment());
            }
            String refused = addNewCountersUntilRefused(store, expected);
            assertThat(store.isAccepting()).isTrue();
            expected.put("c", counter.increment());
            assertThat(store.snapshot()).isEqualTo(expected);
            assertThatThrownBy(() -> counter.addOnce(1, "k".repeat(255)))
                    .isInstanceOf(StoreFullException.class)
                    .hasMessageContainingAll("no room", "nothing was added");

            free();
            nanos.addAndGet(1_000_000_000); // growth is retried after a second
            expected.put(refused, store.counter(refused).increment());
            assertThat(store.statistics().growths()).isPositive();
            assertThat(store.snapshot()).isEqualTo(expected);
            fill();
        }
        try (CounterStore store = builder.open()) {
            assertThat(store.snapshot()).as("opened for reading").isEqualTo(expected);
            assertThat(store.isAccepting()).isFalse();
            assertThatThrownBy(() -> store.counter("c").increment())
                    .isInstanceOf(StoreFullException.class)
                    .hasMessageContainingAll("no room for a new journal", "nothing was added");
            free();
            nanos.addAndGet(1_000_000_000);
            await().until(store::isAccepting);
            expected.put("c", store.counter("c").increment());
        }
        try (CounterStore store = builder.open()) {
            assertThat(store.snapshot()).isEqualTo(expected);
        }
    }

    private static String addNewCountersUntilRefused(CounterStore store, Map<String, Long> expected) {
        for (int i = 0; i < 10_000; i++) {
            String name = i + "-".repeat(100);
            try {
                expected.put(name, store.counter(name).increment());
            } catch (StoreFullException e) {
                assertThat(e).hasMessageContainingAll("no room for a larger journal", "nothing was added");
                assertThat(e.outcome()).isEqualTo(CounterStoreException.Outcome.NOT_APPLIED);
                return name;
            }
        }
        throw new AssertionError("the disk did not fill up");
    }

    private void fill() {
        try (RandomAccessFile filler =
                new RandomAccessFile(disk.resolve("filler").toFile(), "rw")) {
            filler.seek(filler.length());
            byte[] block = new byte[4096];
            for (int i = 0; i < 1000; i++) {
                filler.write(block);
            }
            throw new AssertionError("the disk did not fill up");
        } catch (IOException e) {
            assertThat(e).hasMessageContaining("No space left");
        }
    }

    private void free() {
        try {
            Files.delete(disk.resolve("filler"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
