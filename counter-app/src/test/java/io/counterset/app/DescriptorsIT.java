// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A process without free file descriptors makes room for new connections and does not flood its
 * log.
 */
class DescriptorsIT {

    @TempDir
    private Path folder;

    @Test
    void closesIdleConnectionsWhenDescriptorsRunOut() throws Exception {
        List<Raw> idle = new ArrayList<>();
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
            service.send("POST", "/count");
            assumeTrue(limit(service.process().pid(), open(service) + 20), "prlimit is not installed");
            int before = service.output().split("\n", -1).length;
            for (int i = 0; i < 60; i++) {
                idle.add(new Raw(service.port()));
            }
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .until(() -> service.output().contains("connections cannot be accepted"));
            Awaitility.await().atMost(Duration.ofSeconds(60)).ignoreExceptions().until(() -> {
                try (Raw raw = new Raw(service.port())) {
                    return raw.sendLines("POST /count HTTP/1.1\nHost: h\nConnection: close\n\n")
                            .readToEnd()
                            .startsWith("HTTP/1.1 200 ");
                }
            });
            assertThat(service.output().split("\n", -1).length - before)
                    .as(service.output())
                    .isLessThanOrEqualTo(2);
            assertThat(service.errors()).isEmpty();
        } finally {
            idle.forEach(Raw::close);
        }
    }

    private static int open(ServiceProcess service) throws IOException {
        try (Stream<Path> open = Files.list(Path.of("/proc/" + service.process().pid() + "/fd"))) {
            return (int) open.count();
        }
    }

    private static boolean limit(long process, int descriptors) throws Exception {
        try {
            Process prlimit =
                    new ProcessBuilder("prlimit", "--pid", Long.toString(process), "--nofile=" + descriptors).start();
            return prlimit.waitFor(10, TimeUnit.SECONDS) && prlimit.exitValue() == 0;
        } catch (IOException e) {
            return false;
        }
    }
}
