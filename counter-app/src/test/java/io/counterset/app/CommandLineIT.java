// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The jar's commands other than serving. */
class CommandLineIT {

    private record Result(int status, String output, String errors) {}

    @TempDir
    private Path folder;

    private Result run(String... arguments) {
        try (ServiceProcess process = ServiceProcess.launch(folder, Map.of(), arguments)) {
            int status = process.awaitExit(Duration.ofSeconds(90));
            return new Result(status, process.output(), process.errors());
        }
    }

    @Test
    void printsVersionAndSettings() {
        assertThat(run("--version")).isEqualTo(new Result(0, "counterset 0.1.0\n", ""));
        assertThat(run("--help").output()).contains("COUNTER_DURABILITY").contains("--version");
        assertThat(run("--nonsense"))
                .isEqualTo(new Result(2, "", "counterset: unknown argument '--nonsense'; --help lists the commands\n"));
    }

    @Test
    void checksAServiceFromOutside() {
        try (ServiceProcess service =
                ServiceProcess.start(folder, Map.of("COUNTER_INSTANCE", "app-0", "COUNTER_LOG_FORMAT", "json"))) {
            assertThat(service.output()).startsWith("{\"timestamp\":").contains("\"level\":\"INFO\"");
            String url = "http://127.0.0.1:" + service.port();

            Result good = run("check", url, "--counter", "helm-test", "--expected", "1");
            assertThat(good.status()).as(good.errors()).isZero();
            assertThat(good.output().lines())
                    .containsExactly(
                            "ok: app-0 counted helm-test to 1",
                            "ok: a retry with the same key is recognised: still 1",
                            "ok: read back 1",
                            "ok: 1 of 1 replicas answered, total 0");
            assertThat(service.json("/count/helm-test").get("count").getLongValue())
                    .isEqualTo(1);

            long began = System.nanoTime();
            Result refused = run("check", url, "--counter", "a\tb", "--timeout", "120");
            assertThat(refused.status()).isEqualTo(1);
            assertThat(refused.errors()).startsWith("failed: POST " + url + "/count/a%09b: status 400, ");
            assertThat(Duration.ofNanos(System.nanoTime() - began))
                    .as("a permanent refusal is not retried")
                    .isLessThan(Duration.ofSeconds(100));

            Result bad = run("check", url, "--expected", "2", "--timeout", "1");
            assertThat(bad.status()).isEqualTo(1);
            assertThat(bad.errors()).startsWith("failed: 1 of 2 replicas answered, total 0: app-0 live");
        }
        assertThat(run("check", "ftp://nowhere").status()).isEqualTo(2);
        Result help = run("check", "--help");
        assertThat(help.status()).isZero();
        assertThat(help.output()).startsWith("usage: check URL ").hasLineCount(1);
        assertThat(run("check", "http://127.0.0.1:1", "--timeout", "1").status())
                .isEqualTo(1);
    }
}
