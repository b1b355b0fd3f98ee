// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.RandomAccessFile;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/** A disk that does not answer: a file system that is frozen, so that every write to it waits. */
class StuckDiskIT {

    @TempDir(cleanup = CleanupMode.ON_SUCCESS)
    private Path folder;

    @Test
    void metricsAndHealthShowADiskThatDoesNotAnswer() throws Exception {
        Path image = folder.resolve("image");
        Path disk = Files.createDirectory(folder.resolve("disk"));
        try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
            file.setLength(64 << 20);
        }
        assumeTrue(
                SmallDisk.run("mkfs.ext4", "-q", image.toString())
                        && SmallDisk.run("mount", "-o", "loop", image.toString(), disk.toString()),
                "this user may not mount a file system: the stuck disk is not tested");
        try (ServiceProcess service = ServiceProcess.start(folder, Map.of("COUNTER_DIRECTORY", "disk/data"))) {
            service.send("POST", "/count");
            assertThat(service.send("GET", "/prometheus").body())
                    .contains("\ncounterset_commit_under_way_seconds 0.0\n");
            assertThat(SmallDisk.run("fsfreeze", "--freeze", disk.toString())).isTrue();
            CompletableFuture<HttpResponse<String>> waiting;
            try {
                waiting = CompletableFuture.supplyAsync(() -> service.send("POST", "/count"));
                Awaitility.await()
                        .atMost(Duration.ofSeconds(30))
                        .until(() ->
                                service.send("GET", "/health/readiness").body().contains("\"commitUnderWay\":"));
                assertThat(service.send("GET", "/prometheus").body())
                        .containsPattern("\ncounterset_commit_under_way_seconds [1-9]");
                assertThat(service.count()).as("what is durable can be read").isEqualTo(1);
                assertThat(waiting).isNotDone();
            } finally {
                assertThat(SmallDisk.run("fsfreeze", "--unfreeze", disk.toString()))
                        .isTrue();
            }
            assertThat(waiting.get(30, TimeUnit.SECONDS).statusCode()).isEqualTo(200);
            assertThat(service.count()).isEqualTo(2);
            assertThat(service.send("GET", "/health/readiness").body()).doesNotContain("commitUnderWay");
        } finally {
            SmallDisk.unmount(disk);
        }
    }
}
