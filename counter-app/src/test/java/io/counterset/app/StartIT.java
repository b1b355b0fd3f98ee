// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A failed start prints one line with the reason, ends with its own exit status and changes
 * nothing.
 */
class StartIT {

    @TempDir
    private Path folder;

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            COUNTER_DURABILITY           | sometimes | counter.durability: 'sometimes' is invalid; expected sync, or a duration from 1ms to 1h such as 100ms
            COUNTER_IDEMPOTENCY_MAX_KEYS | 0         | counter.idempotency.max-keys: '0' is invalid; expected a whole number from 1 to 1000000
            COUNTER_PEERS_SOURCE         | gossip    | counter.peers.source: 'gossip' is invalid; expected auto, kubernetes, dns or static
            COUNTER_LOG_FORMAT           | xml       | counter.log.format: 'xml' is invalid; expected text, json
            COUNTER_LOG_LEVEL            | loud      | counter.log.level: 'loud' is invalid; expected error, warn, info, debug, trace
            COUNTER_INSTANCE             | a​b  | counter.instance: 'a�b' is invalid; expected 1 to 253 printable characters
            COUNTER_MAX_PENDING          | many      | counter.max-pending: 'many' is invalid; expected a whole number from 1 to 100000
            COUNTER_NAME                 | ${HOME}   | counter.name: '${HOME}' is invalid; expected a value without ${...}: placeholders are not replaced
            COUNTER_PEERS_TIMEOUT        | ${X:1s}   | counter.peers.timeout: '${X:1s}' is invalid; expected a value without ${...}: placeholders are not replaced
            MICRONAUT_SERVER_HOST        | ${HOME}   | MICRONAUT_SERVER_HOST: '${HOME}' is invalid; expected a value without ${...}: placeholders are not replaced
            MICRONAUT_SERVER_IDLE_TIMEOUT | soon     | micronaut.server.idle-timeout: 'soon' is invalid; expected a value of type Duration
            MICRONAUT_SERVER_PORT        | http      | micronaut.server.port: 'http' is invalid; expected a whole number from 0 to 65535
            """)
    void namesAnInvalidSettingItsValueAndWhatIsExpected(String variable, String value, String message) {
        assertRefused(Map.of(variable, value), message);
        assertThat(folder.resolve("data")).doesNotExist();
    }

    @Test
    void refusesTextThatTheLocaleCannotDecode() {
        assertRefused(
                Map.of("LC_ALL", "C", "COUNTER_NAME", "Zürich"),
                "counter.name: 'Z??rich' is invalid; expected text in the encoding of the locale");
        assertThat(folder.resolve("data")).doesNotExist();
    }

    @Test
    void treatsBlankVariablesAsAbsentAndWarnsOfUnknownOnes() {
        try (ServiceProcess service = ServiceProcess.start(
                folder,
                Map.of(
                        "COUNTER_MANAGEMENT_PORT", " ",
                        "MICRONAUT_SERVER_IDLE_TIMEOUT", "",
                        "MICRONAUT_SERVER_MAX_REQUEST_SIZE", " ",
                        "COUNTER_MAX_PENDING", " ",
                        "COUNTER_LOG_LEVEL", "",
                        "COUNTER_DURABILTY", "100ms",
                        "COUNTER_SERVICE_HOST", "10.0.0.1"))) {
            assertThat(service.output())
                    .contains("COUNTER_DURABILTY is not a setting and is ignored; the nearest setting is"
                            + " COUNTER_DURABILITY")
                    .doesNotContain("COUNTER_SERVICE_HOST");
        }
    }

    /** The test takes the default port itself, unless another program has it. */
    @ParameterizedTest
    @ValueSource(strings = {"", " "})
    void aBlankPortIsTheDefault(String blank) throws Exception {
        try (ServerSocket taken = new ServerSocket()) {
            try {
                taken.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 8_080));
            } catch (BindException e) {
                // It is taken.
            }
            assertRefused(
                    Map.of("MICRONAUT_SERVER_PORT", blank),
                    "micronaut.server.port: 8080 cannot be used: Address already in use");
        }
    }

    @Test
    void namesTheSettingOfADirectoryThatIsAFile() throws Exception {
        Files.writeString(folder.resolve("file"), "not a folder");
        assertRefused(
                Map.of("COUNTER_DIRECTORY", "file"),
                "counter.directory: 'file' is invalid; expected the path of a directory; this is a file");
    }

    @Test
    void refusesADirectoryInUse() {
        try (ServiceProcess first = ServiceProcess.start(folder, Map.of())) {
            first.send("POST", "/count");
            assertRefused(
                    Map.of(),
                    "data is in use by another process (process id "
                            + first.process().pid()
                            + " on its host or in its container); one directory serves one process at a time");
            assertThat(first.send("POST", "/count", "Accept", "text/plain").body())
                    .isEqualTo("2\n");
        }
    }

    @Test
    void refusesAPortInUse() throws Exception {
        try (ServerSocket taken = new ServerSocket(0)) {
            String port = Integer.toString(taken.getLocalPort());
            assertRefused(
                    Map.of("MICRONAUT_SERVER_PORT", port, "MICRONAUT_SERVER_HOST", "0.0.0.0"),
                    "micronaut.server.port: " + port + " cannot be used: Address already in use");
        }
    }

    @Test
    void refusesAnAddressOfAnotherMachine() {
        assertRefused(
                Map.of("MICRONAUT_SERVER_HOST", "192.0.2.1"),
                "micronaut.server.host: '192.0.2.1' cannot be used: java.net.BindException: Cannot assign requested address; "
                        + "expected an address of this machine");
    }

    @Test
    void refusesADirectoryThatCannotBeWritten() throws Exception {
        Files.writeString(folder.resolve("file"), "not a folder");
        assertRefused(
                Map.of("COUNTER_DIRECTORY", "file/data"), "file/data cannot be used as the directory of a store: ");
    }

    @Test
    void refusesADamagedJournalAndDoesNotChangeIt() throws Exception {
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
            for (int i = 0; i < 3; i++) {
                service.send("POST", "/count");
            }
            service.kill();
        }
        Path journal = folder.resolve("data/counters.journal");
        byte[] bytes = Files.readAllBytes(journal);
        byte[] name = "visits".getBytes(StandardCharsets.UTF_8);
        int first = indexOf(bytes, name, 0);
        assertThat(indexOf(bytes, name, first + 1))
                .as("a batch after the damaged one")
                .isPositive();
        bytes[first] ^= 1;
        Files.write(journal, bytes);

        assertRefused(Map.of(), "data/counters.journal: damaged at byte ");
        assertThat(journal).hasBinaryContent(bytes);
    }

    /**
     * The most counters and keys that clients can create by default fit the chart's default heap at
     * the next start.
     */
    @Test
    void startsInTheChartsHeapWithTheMaximumTheDefaultsAllow() {
        try (CounterStore store = CounterStore.open(folder.resolve("data"))) {
            fill(store, 1_000, 100_000);
        }
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
            assertThat(service.count()).isEqualTo(100_000);
            assertThat(service.send("POST", "/count/one-more").statusCode()).isEqualTo(507);
        }
    }

    @Test
    void refusesAStoreThatDoesNotFitTheHeapAndDoesNotChangeIt() throws Exception {
        try (CounterStore store = CounterStore.open(folder.resolve("data"))) {
            fill(store, 300_000, 0);
        }
        byte[] before = Files.readAllBytes(folder.resolve("data/counters.journal"));
        assertRefused(Map.of(), "data/counters.journal holds about ");
        assertThat(folder.resolve("data/counters.journal")).hasBinaryContent(before);
    }

    /** Fills the store with counters and keys whose names have the maximum length. */
    private static void fill(CounterStore store, int counters, int keys) {
        List<CompletableFuture<?>> adds = new ArrayList<>();
        for (int i = 0; i < counters + keys; i++) {
            CompletableFuture<?> add;
            do { // may be refused while the journal grows
                add = i < counters
                        ? store.counter("n".repeat(120) + (10_000_000 + i)).addAsync(1)
                        : store.counter("visits").addOnceAsync(1, "k".repeat(247) + (10_000_000 + i));
            } while (add.isCompletedExceptionally());
            adds.add(add);
            if (adds.size() == 10_000 || i == counters + keys - 1) {
                adds.forEach(CompletableFuture::join);
                adds.clear();
            }
        }
    }

    private static int indexOf(byte[] bytes, byte[] wanted, int from) {
        for (int i = from; i + wanted.length <= bytes.length; i++) {
            if (Arrays.equals(bytes, i, i + wanted.length, wanted, 0, wanted.length)) {
                return i;
            }
        }
        return -1;
    }

    private void assertRefused(Map<String, String> environment, String message) {
        try (ServiceProcess service = ServiceProcess.launch(folder, environment)) {
            assertThat(service.awaitExit(Duration.ofSeconds(90))).isEqualTo(1);
            assertThat(service.errors()).startsWith("counterset: " + message).hasLineCount(1);
            assertThat(service.output()).as("only that one line is printed").isEmpty();
        }
    }
}
