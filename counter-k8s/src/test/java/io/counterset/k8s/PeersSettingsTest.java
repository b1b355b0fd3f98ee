// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.micronaut.context.ApplicationContext;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PeersSettingsTest {

    private static PeersSettings settings(Map<String, Object> properties) {
        try (ApplicationContext context = ApplicationContext.run(properties)) {
            return PeersSettings.from(new Settings(context.getEnvironment()));
        }
    }

    @Test
    void defaults() {
        assertThat(settings(Map.of()))
                .isEqualTo(new PeersSettings(
                        PeersSettings.Choice.AUTO,
                        List.of(),
                        null,
                        null,
                        null,
                        Duration.ofSeconds(1),
                        Duration.ofSeconds(2),
                        256,
                        Duration.ofSeconds(60),
                        Duration.ofDays(7),
                        Path.of("data")));
    }

    @Test
    void readsEverySetting() {
        assertThat(settings(Map.ofEntries(
                        Map.entry("counter.peers.source", "DNS"),
                        Map.entry("counter.peers.addresses", " localhost:8081, [::1]:8082 ,127.0.0.1 "),
                        Map.entry("counter.peers.service", "app-python-headless"),
                        Map.entry("counter.peers.stateful-set", "app-python"),
                        Map.entry("counter.peers.expected", "3"),
                        Map.entry("counter.peers.timeout", "250ms"),
                        Map.entry("counter.peers.deadline", "PT3S"),
                        Map.entry("counter.peers.concurrency", "10"),
                        Map.entry("counter.peers.refresh", "0s"),
                        Map.entry("counter.peers.loss-shown", "1d"),
                        Map.entry("counter.peers.directory", "/data"))))
                .isEqualTo(new PeersSettings(
                        PeersSettings.Choice.DNS,
                        List.of("localhost:8081", "[::1]:8082", "127.0.0.1"),
                        "app-python-headless",
                        "app-python",
                        3,
                        Duration.ofMillis(250),
                        Duration.ofSeconds(3),
                        10,
                        Duration.ZERO,
                        Duration.ofDays(1),
                        Path.of("/data")));
    }

    @Test
    void emptySettingsGetTheirDefaults() {
        assertThat(settings(Map.of(
                        "counter.peers.source", "",
                        "counter.peers.addresses", "",
                        "counter.peers.service", " ",
                        "counter.peers.expected", "",
                        "counter.peers.timeout", "")))
                .isEqualTo(settings(Map.of()));
        assertThat(settings(Map.of("counter.directory", "/var/lib/counters")).directory())
                .isEqualTo(Path.of("/var/lib/counters"));
    }

    @Test
    void acceptsHostNamesWithUnderscores() {
        assertThat(settings(Map.of("counter.peers.addresses", "app_web_1:8080,10.0.0.1,db.example.,a-b.c"))
                        .addresses())
                .containsExactly("app_web_1:8080", "10.0.0.1", "db.example.", "a-b.c");
    }

    @Test
    void acceptsAListForAddresses() {
        assertThat(settings(Map.of("counter.peers.addresses", List.of("a:1", "b:2")))
                        .addresses())
                .containsExactly("a:1", "b:2");
    }

    @Test
    void theDefaultDeadlineIsAtLeastTheTimeout() {
        assertThat(settings(Map.of("counter.peers.timeout", "5s")).deadline()).isEqualTo(Duration.ofSeconds(5));
        assertThat(settings(Map.of("counter.peers.timeout", "500ms")).deadline())
                .isEqualTo(Duration.ofSeconds(2));
    }

    @Test
    void rejectsAFileAsDirectory(@TempDir Path folder) throws Exception {
        Path file = Files.createFile(folder.resolve("file"));
        assertThatThrownBy(() -> settings(Map.of("counter.peers.directory", file.toString())))
                .hasMessage("counter.peers.directory: '" + file
                        + "' is invalid; expected the path of a directory; this is a file");
    }

    @Test
    void namesTheSettingThatTheValueCameFrom(@TempDir Path folder) throws Exception {
        Path file = Files.createFile(folder.resolve("file"));
        assertThatThrownBy(() -> settings(Map.of("counter.directory", file.toString())))
                .hasMessage("counter.directory: '" + file
                        + "' is invalid; expected the path of a directory; this is a file");
    }

    @Test
    void rejectsPlaceholdersAndUndecodableText() {
        assertThatThrownBy(() -> settings(Map.of("counter.peers.service", "${HOME}")))
                .hasMessage(
                        "counter.peers.service: '${HOME}' is invalid; expected a value without ${...}: placeholders are"
                                + " not replaced");
        assertThatThrownBy(() -> settings(Map.of("counter.peers.timeout", "${nothing:2s}")))
                .hasMessageStartingWith("counter.peers.timeout: '${nothing:2s}' is invalid");
        assertThatThrownBy(() -> settings(Map.of("counter.peers.service", "Z\uFFFD\uFFFDrich")))
                .hasMessageStartingWith("counter.peers.service: 'Z")
                .hasMessageEndingWith("for other characters set LANG=C.UTF-8");
    }

    @Test
    void namesUnknownVariablesWithTheNearestSetting() {
        try (ApplicationContext context = ApplicationContext.run()) {
            Settings settings = new Settings(context.getEnvironment());
            assertThat(PeersSettings.from(settings)).isNotNull();
            assertThat(settings.unknown(
                            List.of(
                                    "COUNTER_PEERS_TIMEOUT",
                                    "COUNTER_PEER_TIMEOUT",
                                    "COUNTER_LOG_LEVEL",
                                    "COUNTER_SERVICE_HOST",
                                    "COUNTER_PORT",
                                    "COUNTER_HEADLESS_SERVICE_PORT_HTTP",
                                    "COUNTER_PORT_5000_TCP_ADDR",
                                    "PATH"),
                            "COUNTER_LOG_LEVEL"))
                    .containsExactly("COUNTER_PEER_TIMEOUT is not a setting and is ignored; the nearest setting is"
                            + " COUNTER_PEERS_TIMEOUT");
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "source      | zookeeper         | auto, kubernetes, dns or static",
                "source      | dns               | the name of a headless service when counter.peers.source is dns",
                "addresses   | a:1,,b:2          | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | a:0               | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | a..b              | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | 999.999.999.999   | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | 1.2.3             | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | -x                | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | x-                | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | .                 | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | a:65536           | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | http://a:80       | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | a:1/x             | host, host:port or [ipv6]:port, separated by commas",
                "addresses   | user@a:1          | host, host:port or [ipv6]:port, separated by commas",
                "service     | a b               | the name of a headless service",
                "stateful-set| -a                | the name of a StatefulSet",
                "expected    | 0                 | a whole number from 1 to 5000",
                "expected    | three             | a whole number from 1 to 5000",
                "timeout     | 5ms               | 10ms to 30s",
                "timeout     | -1s               | 10ms to 30s",
                "timeout     | soon              | a duration such as 250ms, 2s or 1m",
                "deadline    | 500ms             | from counter.peers.timeout (1s) to 60s",
                "deadline    | 61s               | from counter.peers.timeout (1s) to 60s",
                "concurrency | 0                 | a whole number from 1 to 5000",
                "refresh     | 100ms             | 1s to 1d, or 0s for never",
                "refresh     | 0                 | 1s to 1d, or 0s for never",
                "loss-shown  | -1s               | 0s to 365d",
            })
    void rejectsInvalidValuesByName(String name, String value, String allowed) {
        assertThatThrownBy(() -> settings(Map.of("counter.peers." + name, value)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("counter.peers." + (value.equals("dns") ? "service" : name) + ": '")
                .hasMessageEndingWith("' is invalid; expected " + allowed);
    }
}
