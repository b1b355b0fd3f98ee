// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Health and metrics on a separate port. */
class ManagementPortTest {

    @TempDir
    private static Path folder;

    private static int management;
    private static Service service;

    @BeforeAll
    static void start() throws IOException {
        management = ServiceProcess.freePort();
        String tokens = Files.writeString(folder.resolve("tokens"), "a-token-0123456789")
                .toString();
        service = Service.start(
                folder.resolve("data"),
                "counter.management-port",
                Integer.toString(management),
                "counter.tokens.write",
                tokens,
                "counter.tokens.read",
                tokens,
                "counter.tokens.peers",
                tokens);
    }

    @AfterAll
    static void stop() {
        service.close();
    }

    private static String onManagementPort(String path) throws IOException {
        try (Raw raw = new Raw(management)) {
            return raw.sendLines("GET " + path + " HTTP/1.1\nHost: a\nConnection: close\n\n")
                    .readToEnd();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"/health", "/health/liveness", "/health/readiness", "/prometheus"})
    void servesHealthAndMetricsWithoutAToken(String path) throws IOException {
        assertThat(onManagementPort(path)).startsWith("HTTP/1.1 200 ");
        assertProblem(
                service.send("GET", path, "Authorization", "Bearer a-token-0123456789"),
                404,
                "not-found",
                "not-applied");
    }

    @ParameterizedTest
    @ValueSource(strings = {"/", "/count", "/counts", "/peers", "/history", "/openapi.yml"})
    void servesNothingElse(String path) throws IOException {
        assertThat(onManagementPort(path)).startsWith("HTTP/1.1 404 ");
        assertThat(service.send("GET", path, "Authorization", "Bearer a-token-0123456789")
                        .statusCode())
                .isEqualTo(200);
    }

    @Test
    void refusesTheMainPort(@TempDir Path fresh) {
        assertThatThrownBy(() -> Service.start(
                                fresh.resolve("data"),
                                "micronaut.server.port",
                                "18080",
                                "counter.management-port",
                                "18080")
                        .close())
                .rootCause()
                .hasMessage(
                        "counter.management-port: '18080' is invalid; expected another port than micronaut.server.port");
        assertThat(fresh.resolve("data")).doesNotExist();
    }
}
