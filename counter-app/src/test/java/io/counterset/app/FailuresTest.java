// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.FailingDisk;
import io.micrometer.core.instrument.MeterRegistry;
import io.micronaut.context.annotation.Bean;
import io.micronaut.context.annotation.Context;
import io.micronaut.context.annotation.Factory;
import io.micronaut.context.annotation.Replaces;
import io.micronaut.context.annotation.Requires;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.swagger.v3.oas.annotations.Hidden;
import jakarta.inject.Singleton;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What clients and operators see when the disk fails, the code throws or the process is asked to
 * stop.
 */
class FailuresTest {

    private static final String ON_REQUEST = "counterset.test.failures";

    @TempDir
    private Path folder;

    @Factory
    @Requires(property = ON_REQUEST)
    static class Disk {

        @Singleton
        FailingDisk disk() {
            return new FailingDisk();
        }

        @Context
        @Bean(preDestroy = "close")
        @Replaces(bean = CounterStore.class, factory = CounterBeans.class)
        CounterStore store(FailingDisk disk, CounterSettings settings) {
            return disk.open(settings.store(), settings.directory());
        }
    }

    @Hidden
    @Controller
    @Requires(property = ON_REQUEST)
    static class Broken {

        @Get("/broken")
        String answer() {
            throw new IllegalStateException("a secret");
        }
    }

    @Test
    void aDiskFailureLeavesOneOutcomeUnknownAndRefusesTheRest() {
        try (Service service = Service.start(folder, ON_REQUEST, "true")) {
            service.bean(MeterRegistry.class);
            assertThat(service.send("POST", "/count?by=3").statusCode()).isEqualTo(200);
            service.bean(FailingDisk.class).fail();

            assertProblem(service.send("POST", "/count", "Idempotency-Key", "k"), 500, "outcome-unknown", "unknown");
            assertProblem(service.send("POST", "/count"), 503, "store-failed", "not-applied");
            assertProblem(service.send("POST", "/count/other"), 503, "store-failed", "not-applied");
            assertProblem(service.send("GET", "/"), 503, "store-failed", "not-applied");
            assertThat(service.send("GET", "/count", "Accept", "text/plain").body())
                    .as("reads still work")
                    .isEqualTo("3\n");

            HttpResponse<String> page = service.send("GET", "/", "Accept", "text/html");
            assertThat(page.statusCode()).isEqualTo(503);
            assertThat(page.headers().firstValue("Content-Type")).contains("text/html; charset=utf-8");
            assertThat(service.send("GET", "/prometheus").body())
                    .as("three refusals as JSON and one on the page")
                    .contains("counterset_refusals_total{type=\"store-failed\"} 4.0")
                    .contains("counterset_refusals_total{type=\"outcome-unknown\"} 1.0")
                    .contains("counterset_store_accepting 0.0");

            HttpResponse<String> ready = service.send("GET", "/health/readiness");
            assertThat(ready.statusCode()).isEqualTo(503);
            assertThat(ready.body()).contains("\"reason\":\"the disk failed; ").doesNotContain(folder.toString());
            assertThat(service.send("GET", "/health/liveness").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void aBugIsAnInternalErrorWithoutDetails() {
        try (Service service = Service.start(folder, ON_REQUEST, "true")) {
            HttpResponse<String> answer = service.send("GET", "/broken");
            assertProblem(answer, 500, "internal-error", "not-applied");
            assertThat(answer.body()).doesNotContain("secret", "IllegalState");
        }
    }

    /** The state from the moment of SIGTERM on. */
    @Test
    void aStoppingReplicaIsNotReadyAndClosesEachConnectionAfterItsAnswer() throws Exception {
        try (Service service = Service.start(folder)) {
            assertThat(service.send("GET", "/count").headers().firstValue("Connection"))
                    .isEmpty();
            service.bean(Connections.class).drain(Duration.ZERO);
            HttpResponse<String> ready = service.send("GET", "/health/readiness");
            assertThat(ready.statusCode()).isEqualTo(503);
            assertThat(json(ready)
                            .get("details")
                            .get("store")
                            .get("details")
                            .get("reason")
                            .getStringValue())
                    .isEqualTo("the replica is stopping");
            HttpResponse<String> counted = service.send("POST", "/count");
            assertThat(counted.statusCode()).isEqualTo(200);
            assertThat(counted.headers().firstValue("Connection")).contains("close");
        }
    }
}
