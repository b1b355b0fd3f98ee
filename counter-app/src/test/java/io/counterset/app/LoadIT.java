// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Ends the process under the load of 256 connections, half of them with idempotency keys. With
 * keys, every increment is counted exactly once after a retry. Without keys, the count is at least
 * what was acknowledged and at most what was attempted.
 */
class LoadIT {

    private static final Duration BEFORE_THE_END = Duration.ofSeconds(Integer.getInteger("counterset.load.seconds", 1));

    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"TERM", "KILL"})
    void countsMatchTheAnswers(String signal) throws Exception {
        AtomicLong key = new AtomicLong();
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of());
                Load plain = Load.begin(service.port(), "/count", 128, null);
                Load keyed = Load.begin(service.port(), "/count/keyed", 128, () -> "key-" + key.incrementAndGet())) {
            long began = System.nanoTime();
            Awaitility.await()
                    .atMost(BEFORE_THE_END.plusSeconds(120))
                    .until(() -> plain.acknowledged() > 256
                            && keyed.acknowledged() > 256
                            && System.nanoTime() - began > BEFORE_THE_END.toNanos());
            if (signal.equals("TERM")) {
                assertThat(service.terminate()).isLessThan(Duration.ofSeconds(5));
                assertThat(service.awaitExit(Duration.ZERO)).isEqualTo(143);
            } else {
                service.kill();
            }
            plain.join();
            keyed.join();
            assertThat(plain.refusals()).isEmpty();
            assertThat(keyed.refusals()).isEmpty();

            try (ServiceProcess again = ServiceProcess.start(folder, Map.of())) {
                assertThat(again.count()).isBetween(plain.acknowledged(), plain.attempted());
                for (String unanswered : keyed.unanswered()) {
                    HttpResponse<String> retry = again.send("POST", "/count/keyed", "Idempotency-Key", unanswered);
                    assertThat(retry.statusCode()).as(retry.body()).isEqualTo(200);
                }
                assertThat(again.json("/count/keyed").get("count").getLongValue())
                        .isEqualTo(keyed.acknowledged() + keyed.unanswered().size());
            }
            System.out.printf("SIG%s: without keys %s; with keys %s%n", signal, plain, keyed);
        }
    }
}
