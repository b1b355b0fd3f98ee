// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/**
 * Checks what {@link DirectoryStorage} requests from the system: the flags of its descriptors, and
 * the system calls of this process under {@code strace}. These calls must keep the promises that
 * the simulated disk makes.
 */
class RealStorageTest {

    /**
     * The body of a test with a temporary folder. Not a {@code @TempDir}, because tests of mutants
     * run without JUnit.
     */
    private interface Body {
        void run(Path folder) throws Exception;
    }

    private static void inAFolder(Body body) throws Exception {
        Path folder = Files.createTempDirectory("counterset").toRealPath();
        try {
            body.run(folder);
        } finally {
            try (Stream<Path> all = Files.walk(folder)) {
                for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(path);
                }
            }
        }
    }

    @Test
    void aFailedLookupDoesNotCountAsAbsence() throws Exception {
        inAFolder(folder -> {
            try (Storage storage = DirectoryStorage.open(folder)) {
                assertThat(storage.exists("absent")).isFalse();
                assertThatThrownBy(() -> storage.exists("n".repeat(300))).isInstanceOf(IOException.class);
            }
        });
    }

    // ---- descriptors ----

    /** Returns the flags of all descriptors that this process has open for a file. */
    private static List<Integer> flags(Path file) throws IOException {
        Path descriptors = Path.of("/proc/self/fd");
        Assumptions.assumeTrue(Files.isDirectory(descriptors), "this system has no /proc/self/fd");
        List<Integer> flags = new ArrayList<>();
        try (Stream<Path> all = Files.list(descriptors)) {
            for (Path descriptor : all.toList()) {
                try {
                    if (Files.readSymbolicLink(descriptor).equals(file)) {
                        String info = Files.readString(Path.of(
                                "/proc/self/fdinfo", descriptor.getFileName().toString()));
                        String octal = info.lines()
                                .filter(line -> line.startsWith("flags:"))
                                .findFirst()
                                .orElseThrow();
                        flags.add(Integer.parseInt(octal.substring(6).strip(), 8));
                    }
                } catch (IOException e) {
                    // The descriptor was closed after it was listed.
                }
            }
        }
        return flags;
    }

    @Test
    void commitsUseAWriteThroughDescriptor() throws Exception {
        int dsync = 0x1000; // O_DSYNC of Linux
        inAFolder(folder -> {
            try (CounterStore store = CounterStore.open(folder)) {
                store.counter("c").increment();
                assertThat(flags(folder.resolve(Journal.FILE)))
                        .anySatisfy(flags -> assertThat(flags & dsync).isEqualTo(dsync));
            }
        });
    }

    @Test
    void closingLeavesNoDescriptorOpen() throws Exception {
        inAFolder(folder -> {
            try (CounterStore store =
                    CounterStore.builder(folder).countFile("c").open()) {
                store.counter("c").increment();
            }
            for (Path path : List.of(folder, folder.resolve(Journal.FILE), folder.resolve(DirectoryStorage.LOCK))) {
                assertThat(flags(path)).as(path.toString()).isEmpty();
            }
        });
    }

    // ---- system calls ----

    /**
     * Returns the system calls of this process, in order, that sync, write, rename or create
     * directories while the action runs.
     */
    private static List<String> calls(Path folder, Body action) throws Exception {
        Path output = Files.createTempFile("counterset", ".strace");
        Path messages = Files.createTempFile("counterset", ".messages");
        List<String> command = List.of(
                "strace",
                "-f",
                "-y",
                "-e",
                "trace=fsync,fdatasync,write,pwrite64,rename,renameat,renameat2,mkdir,mkdirat",
                "-e",
                "signal=none",
                "-s",
                "0",
                "-o",
                output.toString(),
                "-p",
                String.valueOf(ProcessHandle.current().pid()));
        try {
            Process strace;
            try {
                strace = new ProcessBuilder(command)
                        .redirectErrorStream(true)
                        .redirectOutput(messages.toFile())
                        .start();
            } catch (IOException e) {
                Assumptions.abort("there is no strace here: " + e.getMessage());
                throw e;
            }
            try {
                await().atMost(Duration.ofSeconds(30))
                        .until(() ->
                                !strace.isAlive() || Files.readString(messages).contains("attached"));
                Assumptions.assumeTrue(strace.isAlive(), () -> "this process may not be traced: " + content(messages));
                Thread traced = new Thread(
                        () -> { // a new thread is followed from its first call on
                            try {
                                Files.write(folder.resolve("begin"), new byte[1]);
                                action.run(folder);
                                Files.write(folder.resolve("end"), new byte[1]);
                            } catch (Exception e) {
                                throw new IllegalStateException(e);
                            }
                        });
                traced.start();
                traced.join(TimeUnit.MINUTES.toMillis(1));
                String end = folder.resolve("end").toString();
                await().atMost(Duration.ofSeconds(30))
                        .until(() -> content(output).contains(end));
            } finally {
                strace.destroy(); // it detaches
                if (!strace.waitFor(30, TimeUnit.SECONDS)) {
                    strace.destroyForcibly();
                }
            }
            String there = Pattern.quote(
                    java.util.Objects.requireNonNull(folder.getParent()).toString());
            return content(output)
                    .lines()
                    .filter(line ->
                            line.contains(folder.toString()) || line.matches(".*sync\\([0-9]+<" + there + ">.*"))
                    .filter(line -> !line.contains("resumed>"))
                    .map(line -> line.replaceFirst("^[0-9]+ +", "").replace(folder.toString(), "DIR"))
                    .toList();
        } finally {
            Files.delete(output);
            Files.delete(messages);
        }
    }

    private static String content(Path file) {
        try {
            return Files.readString(file, StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static int first(List<String> calls, String pattern) {
        for (int i = 0; i < calls.size(); i++) {
            if (calls.get(i).matches(".*" + pattern + ".*")) {
                return i;
            }
        }
        throw new AssertionError("no call like " + pattern + " among\n" + String.join("\n", calls));
    }

    @Test
    void aNewJournalIsSyncedBeforeItIsRenamed() throws Exception {
        inAFolder(folder -> {
            List<String> calls = calls(
                    folder, there -> CounterStore.open(there.resolve("data")).close());
            int renamed = first(calls, "rename.*counters\\.journal\\.new.*counters\\.journal");
            List<Long> written = writtenBetweenSyncs(calls.subList(0, renamed), "DIR/data/counters\\.journal\\.new");
            assertThat(written).hasSizeGreaterThan(1);
            assertThat(written.get(written.size() - 1))
                    .as("only the first batch, which is written through, follows the last sync")
                    .isEqualTo(Batch.BLOCK);
        });
    }

    /** A commit to another file would wait on the device behind everything that is not synced. */
    @Test
    void aLongWriteIsSyncedEveryFewMebibytes() throws Exception {
        inAFolder(folder -> {
            List<String> calls = calls(folder, there -> {
                try (DirectoryStorage storage = DirectoryStorage.open(there.resolve("data"));
                        Storage.Region region = storage.create("large")) {
                    region.write(0, new byte[18 << 20], 0, 18 << 20);
                }
            });
            List<Long> written = writtenBetweenSyncs(calls, "DIR/data/large");
            assertThat(written).hasSize(5).allMatch(bytes -> bytes <= 4 << 20);
            assertThat(written.stream().mapToLong(Long::longValue).sum()).isEqualTo(18 << 20);
        });
    }

    /** Returns the bytes written to a file before, between and after its syncs. */
    private static List<Long> writtenBetweenSyncs(List<String> calls, String file) {
        List<Long> written = new ArrayList<>(List.of(0L));
        for (String call : calls) {
            if (call.matches("p?write(64)?\\([0-9]+<" + file + ">.* = [0-9]+")) {
                written.set(
                        written.size() - 1,
                        written.get(written.size() - 1) + Long.parseLong(call.replaceFirst(".* = ", "")));
            } else if (call.matches("f(data)?sync\\([0-9]+<" + file + ">.*")) {
                written.add(0L);
            }
        }
        return written;
    }

    @Test
    void theRenameIsSyncedBeforeTheStoreOpens() throws Exception {
        inAFolder(folder -> {
            List<String> calls = calls(
                    folder, there -> CounterStore.open(there.resolve("data")).close());
            int renamed = first(calls, "rename.*counters\\.journal\\.new.*counters\\.journal");
            first(calls.subList(renamed, calls.size()), "fsync\\([0-9]+<DIR/data>");
        });
    }

    @Test
    void eachNewDirectoryIsSynced() throws Exception {
        inAFolder(folder -> {
            List<String> calls = calls(
                    folder, there -> CounterStore.open(there.resolve("a/b/c")).close());
            for (String name : List.of("a", "a/b", "a/b/c")) {
                String parent = ("DIR/" + name).replaceFirst("/[^/]*$", "");
                int made = first(calls, "mkdir(at)?\\(.*\"DIR/" + name + "\"");
                first(calls.subList(made, calls.size()), "fsync\\([0-9]+<" + parent + ">");
            }
        });
    }

    @Test
    void aBatchOverAMebibyteIsSyncedBeforeItIsAcknowledged() throws Exception {
        inAFolder(folder -> {
            List<String> calls = calls(folder, there -> {
                try (DirectoryStorage storage = DirectoryStorage.open(there.resolve("data"));
                        Storage.Region region = storage.create("large")) {
                    region.commit(4096, new byte[5 << 19], 0, 5 << 19);
                    Files.write(there.resolve("acknowledged"), new byte[1]);
                }
            });
            int written = 0;
            for (int i = 0; i < calls.size(); i++) {
                written = calls.get(i).matches("p?write.*<DIR/data/large>.*") ? i : written;
            }
            List<String> after = calls.subList(written, calls.size());
            assertThat(first(after, "f(data)?sync\\([0-9]+<DIR/data/large>"))
                    .isLessThan(first(after, "write.*<DIR/acknowledged>"));
        });
    }
}
