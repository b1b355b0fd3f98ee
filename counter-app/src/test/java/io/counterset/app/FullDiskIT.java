// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/**
 * On a full disk, requests that need space are refused cleanly even under load, and accepted again
 * once there is space.
 */
class FullDiskIT {

    @TempDir(cleanup = CleanupMode.ON_SUCCESS)
    private Path folder;

    private interface OnDisk {
        void run(Path disk) throws Exception;
    }

    @Test
    void refusesOnAFullDiskAndResumesOnceThereIsSpace() throws Exception {
        onSmallDisk(this::fillAndFree);
    }

    @Test
    void startsOnAFullDiskForReadingAndAcceptsIncrementsOnceThereIsSpace() throws Exception {
        onSmallDisk(this::startOnFull);
    }

    private void onSmallDisk(OnDisk test) throws Exception {
        Path disk = Files.createDirectory(folder.resolve("disk"));
        assumeTrue(SmallDisk.mount(disk), "this user may not mount a file system: the full disk is not tested");
        try {
            test.run(disk);
        } finally {
            SmallDisk.unmount(disk);
        }
    }

    private void startOnFull(Path disk) throws Exception {
        Map<String, String> environment = Map.of("COUNTER_DIRECTORY", "disk/data");
        try (ServiceProcess service = ServiceProcess.start(folder, environment)) {
            service.send("POST", "/count?by=7");
            service.kill();
        }
        Path filler = disk.resolve("filler");
        SmallDisk.fill(filler);
        try (ServiceProcess service = ServiceProcess.start(folder, environment)) {
            assertThat(service.count()).isEqualTo(7);
            HttpResponse<String> refused = service.send("POST", "/count");
            Service.assertProblem(refused, 507, "store-full", "not-applied");
            assertThat(refused.headers().firstValue("Retry-After")).contains("10");
            HttpResponse<String> ready = service.send("GET", "/health/readiness");
            assertThat(ready.statusCode()).isEqualTo(503);
            assertThat(ready.body()).contains("\"reason\":\"no space left for the journal;");
            assertThat(service.send("GET", "/health/liveness").statusCode()).isEqualTo(200);

            Files.delete(filler);
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .until(() -> service.send("GET", "/health/readiness").statusCode() == 200);
            assertThat(service.send("POST", "/count", "Accept", "text/plain").body())
                    .isEqualTo("8\n");
        }
    }

    private void fillAndFree(Path disk) throws Exception {
        Map<String, String> environment =
                Map.of("COUNTER_DIRECTORY", "disk/data", "COUNTER_IDEMPOTENCY_MAX_KEYS", "1000000");
        long keyed;
        try (ServiceProcess service = ServiceProcess.start(folder, environment)) {
            service.send("POST", "/count");
            Path filler = disk.resolve("filler");
            SmallDisk.fill(filler);

            // Keys need space in the journal, which cannot grow any more.
            AtomicLong key = new AtomicLong();
            try (Load load =
                    Load.begin(service.port(), "/count/keyed", 32, () -> "k".repeat(230) + key.incrementAndGet())) {
                Awaitility.await()
                        .atMost(Duration.ofMinutes(2))
                        .until(() -> load.refusals().getOrDefault(507, 0L) > 100);
                load.stop();
                // 503 while the journal tries to grow, once a second.
                assertThat(load.refusals().keySet()).isSubsetOf(503, 507);
                keyed = load.acknowledged();
            }
            assertThat(service.json("/count/keyed").get("count").getLongValue())
                    .as("acknowledged increments are counted, refused ones are not")
                    .isEqualTo(keyed);
            HttpResponse<String> refused = Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .until(
                            () -> service.send("POST", "/count/keyed", "Idempotency-Key", "one-more".repeat(20)),
                            response -> response.statusCode() != 503);
            Service.assertProblem(refused, 507, "store-full", "not-applied");
            assertThat(refused.headers().firstValue("Retry-After")).isPresent();
            assertThat(service.send("POST", "/count", "Accept", "text/plain").body())
                    .as("existing counters still count")
                    .isEqualTo("2\n");
            assertThat(service.send("GET", "/health/readiness").statusCode()).isEqualTo(200);

            Files.delete(filler);
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .until(() -> service.send("POST", "/count/keyed", "Idempotency-Key", "after".repeat(40))
                                    .statusCode()
                            == 200);
            service.kill();
        }
        try (ServiceProcess service = ServiceProcess.start(folder, environment)) {
            assertThat(service.json("/count/keyed").get("count").getLongValue()).isEqualTo(keyed + 1);
            assertThat(service.count()).isEqualTo(2);
        }
    }
}
