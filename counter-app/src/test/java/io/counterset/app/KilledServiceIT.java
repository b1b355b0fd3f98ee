// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Random;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * After {@code kill -9} no acknowledged increment is lost, and none is counted that was not
 * attempted.
 */
class KilledServiceIT {

    private static final int ROUNDS = Integer.getInteger("counterset.kill.rounds", 3);
    private static final long SEED = Long.getLong("counterset.kill.seed", System.nanoTime());

    @Test
    void keepsAcknowledgedIncrements(@TempDir Path folder) throws Exception {
        Random random = new Random(SEED);
        String again = "-Dcounterset.kill.seed=" + SEED;
        long least = 0; // acknowledged
        long most = 0; // attempted
        long incarnation = 0;
        for (int round = 1; round <= ROUNDS; round++) {
            try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
                String at = "round " + round + ", repeat with " + again;
                long count = service.count();
                assertThat(count).as(at).isBetween(least, most);
                assertThat(service.send("GET", "/count").body()).contains("\"incarnation\":" + ++incarnation + ",");
                assertThat(Long.parseLong(Files.readString(folder.resolve("data/count.txt"))
                                .strip()))
                        .as(at)
                        .isEqualTo(count);
                try (Load load = Load.begin(service.port(), "/count", 32, null)) {
                    long goal = random.nextInt(1, 3_000);
                    Awaitility.await()
                            .atMost(Duration.ofSeconds(60))
                            .pollDelay(Duration.ZERO)
                            .pollInterval(Duration.ofMillis(1))
                            .until(() -> load.acknowledged() >= goal);
                    service.kill();
                    load.join();
                    least = count + load.acknowledged();
                    most = count + load.attempted();
                }
            }
        }
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
            assertThat(service.count()).as(again).isBetween(least, most);
            assertThat(service.send("POST", "/count", "Accept", "text/plain").body())
                    .isEqualTo(service.count() + "\n");
        }
        System.out.printf("killed %d times, seed %d: between %d and %d%n", ROUNDS, SEED, least, most);
    }
}
