// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.StoreLockedException;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Each command on a store in use, a copy, a torn store, a damaged store and an empty directory; and
 * {@link CounterStore#backup}.
 */
class CommandLineTest {

    private static final int BLOCK = 4096;

    @TempDir
    Path temporary = Path.of("");

    private record Run(int status, String out, String err) {}

    private static Run run(String input, Object... arguments) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        int status = new CommandLine(
                        new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)),
                        new PrintStream(out, true, StandardCharsets.UTF_8),
                        new PrintStream(err, true, StandardCharsets.UTF_8))
                .run(Stream.of(arguments).map(Object::toString).toArray(String[]::new));
        return new Run(status, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
    }

    private Path store() {
        return temporary.resolve("data");
    }

    private Path fresh(String name) {
        return temporary.resolve(name);
    }

    /** A store with three commits after the first batch, in blocks 2, 3 and 4 of the file. */
    private CounterStore filled() {
        CounterStore store = CounterStore.open(store());
        store.counter("visits").add(40);
        store.counter("a \"b\" \\ ü\u200b").add(7);
        store.counter("visits").addOnce(2, "order-7");
        return store;
    }

    private static final Map<String, Long> FILLED = new TreeMap<>(Map.of("visits", 42L, "a \"b\" \\ ü\u200b", 7L));

    private void damage(int block, int offset) throws IOException {
        Path file = store().resolve(Journal.FILE);
        byte[] content = Files.readAllBytes(file);
        content[block * BLOCK + offset]++;
        Files.write(file, content);
    }

    /** Returns every file of the directory with the checksum of its content. */
    private static Map<String, Integer> content(Path directory) throws IOException {
        Map<String, Integer> content = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                content.put(file.getFileName().toString(), Arrays.hashCode(Files.readAllBytes(file)));
            }
        }
        return content;
    }

    private void isImported(Path directory) {
        try (CounterStore imported = CounterStore.open(directory)) {
            assertThat(imported.snapshot()).isEqualTo(FILLED);
            AddResult again = imported.counter("visits").addOnce(2, "order-7");
            assertThat(again.replayed()).isTrue();
            assertThat(again.total()).isEqualTo(42);
        }
    }

    @Test
    void aStoreInUseIsReadWithoutDisturbance() {
        try (CounterStore store = filled()) {
            Run inspected = run("", "inspect", store());
            assertThat(inspected.status()).isZero();
            assertThat(inspected.out())
                    .contains(
                            "is intact",
                            store.identity().id().toString(),
                            "42  visits",
                            "7  \"a \\\"b\\\" \\\\ ü\\u200b\"",
                            "keys         1");
            assertThat(run("", "verify", store()).status()).isZero();
            Run exported = run("", "export", store());
            assertThat(exported.status()).isZero();
            assertThat(run(exported.out(), "import", fresh("imported")).status())
                    .isZero();
            isImported(fresh("imported"));
            assertThat(run("", "salvage", store(), fresh("saved")).status()).isZero();
            isImported(fresh("saved"));
            Run refused = run(exported.out(), "import", store());
            assertThat(refused.status()).isEqualTo(CommandLine.FAILED);
            assertThat(refused.err()).contains("already open in this JVM");
            assertThatThrownBy(() -> CounterStore.open(store())).isInstanceOf(StoreLockedException.class);
            assertThat(store.counter("visits").increment()).isEqualTo(43);
        }
    }

    @Test
    void aStoreUnderLoadIsNeverReportedAsDamaged() throws Exception {
        try (CounterStore store = filled()) {
            Counter visits = store.counter("visits");
            AtomicBoolean done = new AtomicBoolean();
            Thread load = new Thread(() -> {
                while (!done.get()) {
                    visits.increment();
                }
            });
            load.start();
            try {
                for (int i = 0; i < 50; i++) {
                    long before = visits.value();
                    StoreInspection inspection = CounterStore.inspect(store());
                    long after = visits.value() + 1; // an add may be on the device but not yet published
                    assertThat(inspection.damage()).isEmpty();
                    assertThat(inspection.counters().get("visits")).isBetween(before, after);
                }
            } finally {
                done.set(true);
                load.join();
            }
        }
    }

    @Test
    void aCopyIsReadAndNotChanged() throws IOException {
        filled().close();
        Map<String, Integer> before = content(store());
        assertThat(run("", "inspect", store(), "--json").out())
                .contains("\"state\":\"intact\"", "{\"counter\":\"visits\",\"total\":42}");
        assertThat(run("", "verify", store(), "--json").out()).doesNotContain("visits\",");
        Run exported = run("", "export", store());
        assertThat(run(exported.out(), "import", fresh("imported")).status()).isZero();
        assertThat(run("", "export", fresh("imported")).out())
                .as("nothing is lost")
                .isEqualTo(exported.out().replaceFirst("\"sequence\":\\d+", "\"sequence\":5"));
        isImported(fresh("imported"));
        assertThat(content(store())).isEqualTo(before);
        Run refused = run(exported.out(), "import", store());
        assertThat(refused.status()).isEqualTo(CommandLine.FAILED);
        assertThat(refused.err()).contains("already has a store");
        assertThat(content(store()).get(Journal.FILE)).isEqualTo(before.get(Journal.FILE));
    }

    @Test
    void aTornStoreIsReadUpToTheTear() throws IOException {
        filled().close();
        damage(4, 44); // in the last batch, which then looks torn by a crash
        Run inspected = run("", "inspect", store());
        assertThat(inspected.status()).isZero();
        assertThat(inspected.out()).contains("is torn", "no acknowledged add is missing", "40  visits");
        assertThat(run("", "verify", store(), "--json").out()).contains("\"state\":\"torn\"");
        Run exported = run("", "export", store());
        assertThat(exported.status()).isZero();
        assertThat(exported.out()).contains("{\"counter\":\"visits\",\"total\":40}", "{\"counters\":2,\"keys\":0}");
        assertThat(run("", "salvage", store(), fresh("saved")).status()).isZero();
        try (CounterStore store = CounterStore.open(fresh("saved"))) {
            assertThat(store.counter("visits").value()).isEqualTo(40);
        }
    }

    @Test
    void aDamagedStoreIsReportedAndSalvaged() throws IOException {
        filled().close();
        damage(3, 44); // in the batch of the other counter; the last one is intact
        Map<String, Integer> before = content(store());
        for (String command : new String[] {"inspect", "verify"}) {
            Run run = run("", command, store());
            assertThat(run.status()).as(command).isEqualTo(CommandLine.DAMAGED);
            assertThat(run.out()).contains("is damaged", "at byte 12,288: expected batch 3");
        }
        assertThat(run("", "inspect", store()).out()).contains("42  visits", "counters     1");
        assertThat(run("", "verify", store(), "--json").out()).contains("\"state\":\"damaged\"", "\"damagedAt\":12288");
        Run exported = run("", "export", store());
        assertThat(exported.status()).isEqualTo(CommandLine.DAMAGED);
        assertThat(exported.out()).isEmpty();
        assertThat(exported.err()).contains("nothing was exported; salvage the store first");
        Run saved = run("", "salvage", store(), fresh("saved"));
        assertThat(saved.status()).isEqualTo(CommandLine.DAMAGED);
        assertThat(saved.out())
                .contains(
                        "damaged at byte 12,288",
                        "batch 3 at byte 12,288 is not intact",
                        "saved 1 counters and 1 keys");
        try (CounterStore store = CounterStore.open(fresh("saved"))) {
            assertThat(store.snapshot()).isEqualTo(Map.of("visits", 42L));
            assertThat(store.counter("visits").addOnce(2, "order-7").replayed()).isTrue();
        }
        assertThat(content(store())).isEqualTo(before);
    }

    @Test
    void aStoreWithADamagedHeaderIsSalvagedUnderANewIdentity() throws IOException {
        StoreIdentity identity;
        try (CounterStore store = filled()) {
            identity = store.identity();
        }
        damage(0, 100);
        Run inspected = run("", "inspect", store());
        assertThat(inspected.status()).isEqualTo(CommandLine.DAMAGED);
        assertThat(inspected.out()).contains("unknown; the header is damaged", "42  visits");
        Run saved = run("", "salvage", store(), fresh("saved"));
        assertThat(saved.out()).contains("the new store has a new identity");
        try (CounterStore store = CounterStore.open(fresh("saved"))) {
            assertThat(store.snapshot()).isEqualTo(FILLED);
            assertThat(store.identity().id()).isNotEqualTo(identity.id());
        }
    }

    @Test
    void anEmptyOrMissingDirectoryHasNoStoreAndStaysEmpty() throws IOException {
        Files.createDirectories(store());
        for (String command : new String[] {"inspect", "verify", "export"}) {
            for (Path directory : new Path[] {store(), fresh("missing")}) {
                Run run = run("", command, directory);
                assertThat(run.status()).as(command).isEqualTo(CommandLine.NO_STORE);
                assertThat(run.out()).isEmpty();
                assertThat(run.err()).contains(directory.toString());
            }
        }
        assertThat(run("", "salvage", store(), fresh("saved")).status()).isEqualTo(CommandLine.NO_STORE);
        assertThat(fresh("saved")).doesNotExist();
        assertThat(content(store())).isEmpty();
        assertThat(fresh("missing")).doesNotExist();
        assertThatThrownBy(() -> CounterStore.inspect(store())).isInstanceOf(DirectoryUnusableException.class);
        try (CounterStore store = CounterStore.open(fresh("data2"))) {
            store.counter("c").increment();
        }
        String exported = run("", "export", fresh("data2")).out();
        assertThat(run(exported, "import", store()).status()).isZero();
    }

    @Test
    void refusesAForeignFileAndWrongUsage() throws IOException {
        Files.createDirectories(store());
        Files.writeString(store().resolve(Journal.FILE), "hello, this is another program's");
        Run run = run("", "inspect", store());
        assertThat(run.status()).isEqualTo(CommandLine.FAILED);
        assertThat(run.err()).contains("is not a Counterset journal");
        for (String[] wrong : new String[][] {
            {}, {"inspect"}, {"look", "x"}, {"salvage", "x"}, {"import", "x", "--json"}, {"verify", "x", "y"}
        }) {
            Run refused = run("", (Object[]) wrong);
            assertThat(refused.status()).isEqualTo(CommandLine.WRONG_USAGE);
            assertThat(refused.err()).contains("Exit status: 0 done");
        }
        assertThat(run("", "--help").status()).isZero();
    }

    @Test
    void refusesATruncatedOrInvalidExport() {
        filled().close();
        String exported = run("", "export", store()).out();
        String[] lines = exported.split("(?<=\n)", -1);
        for (String cut : new String[] {
            "",
            lines[0],
            lines[0] + lines[1] + lines[2] + lines[3],
            lines[0] + lines[1] + lines[4],
            exported + lines[4],
            exported.replace("\"total\":42}", "\"total\":-1}"),
            exported.replace("\"counterset\":1", "\"counterset\":2"),
            exported.replace("\"counter\":\"visits\",\"amount\"", "\"counter\":\"others\",\"amount\""),
            "not json\n"
        }) {
            Run run = run(cut, "import", fresh("imported"));
            assertThat(run.status()).as(cut).isEqualTo(CommandLine.FAILED);
            assertThat(run.err()).startsWith("line ");
        }
        assertThat(fresh("imported")).doesNotExist();
    }

    @Test
    void readsTheFirstVersionOfAnExport() throws IOException {
        String golden;
        try (InputStream in = CommandLineTest.class.getResourceAsStream("export-v1.jsonl")) {
            golden = new String(requireNonNull(in).readAllBytes(), StandardCharsets.UTF_8);
        }
        assertThat(run(golden, "import", fresh("imported")).status()).isZero();
        assertThat(run("", "export", fresh("imported")).out())
                .isEqualTo(golden.replace("\"sequence\":1234", "\"sequence\":1235")); // importing writes one batch
        try (CounterStore imported = CounterStore.open(fresh("imported"))) {
            assertThat(imported.counter("visits").addOnce(2, "order-7").replayed())
                    .isTrue();
        }
    }

    @Test
    void refusesALaterVersionOfAnExport() {
        Run refused = run("{\"counterset\":2,\"anything\":\"else\"}\n", "import", fresh("imported"));
        assertThat(refused.status()).isEqualTo(4);
        assertThat(refused.err())
                .contains("line 1", "this export has version 2", "reads versions up to 1", "nothing was written");
        assertThat(fresh("imported")).doesNotExist();
    }

    @Test
    void reportsProgressOnTheErrorStreamOnlyWhenAsked() {
        filled().close();
        Run silent = run("", "export", store());
        Run reporting = run("", "export", store(), "--progress");
        assertThat(silent.err()).isEmpty();
        assertThat(reporting.out()).isEqualTo(silent.out());
        assertThat(reporting.err()).contains("reading " + store(), "read 2 counters and 1 keys");
        assertThat(run(silent.out(), "import", fresh("imported"), "--progress").err())
                .contains("writing 2 counters to " + fresh("imported"));
    }

    @Test
    void theExitStatusIsThatOfTheCommand() throws Exception {
        filled().close();
        try (ChildJvm child = ChildJvm.start(CommandLine.class, "verify", store().toString())) {
            assertThat(child.line()).endsWith("is intact");
            assertThat(child.exitValue(30)).isZero();
        }
        damage(3, 44);
        try (ChildJvm child = ChildJvm.start(CommandLine.class, "verify", store().toString())) {
            assertThat(child.line()).endsWith("is damaged");
            assertThat(child.exitValue(30)).isEqualTo(CommandLine.DAMAGED);
        }
    }

    @Test
    void aBackupIsAConsistentCutWithItsKeys() throws Exception {
        try (CounterStore store = filled()) {
            AtomicBoolean done = new AtomicBoolean();
            Thread load = new Thread(() -> {
                for (int i = 0; !done.get(); i++) {
                    store.counter("first").increment();
                    store.counter("second").increment();
                    store.counter("keyed").addOnce(1, "k" + i);
                }
            });
            load.start();
            try {
                for (int i = 0; i < 5; i++) {
                    Path copy = fresh("backup" + i);
                    long before = store.counter("keyed").value();
                    store.backup(copy);
                    StoreInspection inspection = CounterStore.inspect(copy);
                    assertThat(inspection.identity()).contains(store.identity());
                    long first = inspection.counters().getOrDefault("first", 0L);
                    long second = inspection.counters().getOrDefault("second", 0L);
                    long keyed = inspection.counters().getOrDefault("keyed", 0L);
                    assertThat(first).isBetween(second, second + 1);
                    assertThat(keyed).isGreaterThanOrEqualTo(before).isBetween(second - 1, second);
                    assertThat(inspection.keys()).isEqualTo((int) keyed + 1);
                }
            } finally {
                done.set(true);
                load.join();
            }
            assertThatThrownBy(() -> store.backup(fresh("backup0")))
                    .isInstanceOf(DirectoryUnusableException.class)
                    .hasMessageContaining("already has a store");
            assertThatThrownBy(() -> store.backup(store())).isInstanceOf(StoreLockedException.class);
            store.counter("visits").increment();
        }
    }
}
