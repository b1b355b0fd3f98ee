// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** After SIGTERM, accepted requests are finished and nothing is lost. */
class StopIT {

    @TempDir
    private Path folder;

    @Test
    void finishesAcceptedRequestsAndEndsInTime() throws Exception {
        long acknowledged;
        long attempted;
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of());
                Load load = Load.begin(service.port(), "/count", 8, null)) {
            Awaitility.await().atMost(Duration.ofSeconds(60)).until(() -> load.acknowledged() > 500);
            assertThat(service.terminate()).isLessThan(Duration.ofSeconds(5));
            load.join();
            acknowledged = load.acknowledged();
            attempted = load.attempted();
            assertThat(load.refusals()).isEmpty();
            assertThat(attempted)
                    .as("no request on a reused connection is left without an answer")
                    .isEqualTo(acknowledged);
            assertThat(service.output()).endsWith("stopped\n");
            assertThat(service.errors()).isEmpty();
        }
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
            assertThat(service.count()).isEqualTo(acknowledged);
        }
    }

    /** Without a bound for the farewell, the process would end itself before it is finished. */
    @Test
    void peersThatNeverAnswerDoNotHoldUpTheStop() throws Exception {
        try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
                ServiceProcess service = ServiceProcess.start(
                        folder,
                        Map.of(
                                "COUNTER_PEERS_SOURCE",
                                "static",
                                "COUNTER_PEERS_ADDRESSES",
                                "127.0.0.1:" + silent.getLocalPort(),
                                "COUNTER_PEERS_TIMEOUT",
                                "30s",
                                "COUNTER_PEERS_DEADLINE",
                                "30s"))) {
            assertThat(service.send("POST", "/count", "Accept", "text/plain").body())
                    .isEqualTo("1\n");
            service.terminate();
            assertThat(service.output()).endsWith("stopped\n");
            assertThat(service.errors()).isEmpty();
        }
    }

    /** Increments acknowledged before they were durable are durable once the process has ended. */
    @Test
    void commitsPendingIncrementsOfPeriodicDurability() {
        Map<String, String> hourly = Map.of("COUNTER_DURABILITY", "1h");
        try (ServiceProcess service = ServiceProcess.start(folder, hourly)) {
            assertThat(service.send("POST", "/count?by=7", "Accept", "text/plain")
                            .body())
                    .isEqualTo("7\n");
            service.terminate();
        }
        try (ServiceProcess service = ServiceProcess.start(folder, hourly)) {
            assertThat(service.count()).isEqualTo(7);
        }
    }
}
