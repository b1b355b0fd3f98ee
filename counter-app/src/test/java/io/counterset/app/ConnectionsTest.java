// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.micronaut.http.server.HttpServerConfiguration;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;

/** The cost of one connection, and of many, to the server. */
@MicronautTest
class ConnectionsTest extends ServiceTest {

    private long count(String name) {
        return Long.parseLong(service.send("GET", "/count/" + name, "Accept", "text/plain")
                .body()
                .strip());
    }

    @Test
    void stopsServingAClientThatNeverReads() throws Exception {
        int sent = 2_000;
        try (Raw raw = new Raw(service.port(), 4096)) {
            Thread writer = new Thread(() -> {
                try {
                    raw.send(
                            "GET /openapi.yml HTTP/1.1\r\nHost: h\r\n\r\nPOST /count/unread HTTP/1.1\r\nHost: h\r\n\r\n"
                                    .repeat(sent));
                } catch (IOException e) {
                    // the server or the test ended the connection
                }
            });
            writer.start();
            long[] last = {-1, System.nanoTime()};
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .pollInterval(Duration.ofMillis(100))
                    .until(() -> {
                        long now = count("unread");
                        if (now != last[0]) {
                            last[0] = now;
                            last[1] = System.nanoTime();
                        }
                        return now > 0 && System.nanoTime() - last[1] > 1_000_000_000L;
                    });
            assertThat(last[0])
                    .as("requests served to a client that reads nothing")
                    .isLessThan(sent * 3 / 4);
            Connections connections = service.bean(Connections.class);
            int open = connections.open();
            connections.checkTimesIn(Connections.STALL_SECONDS - 2);
            assertThat(connections.open()).isEqualTo(open);
            Awaitility.await().atMost(Duration.ofSeconds(30)).untilAsserted(() -> {
                connections.checkTimesIn(Connections.STALL_SECONDS + 2);
                assertThat(connections.open())
                        .as("unread answers end the connection")
                        .isLessThan(open);
            });
            raw.reset();
            writer.join();
        }
    }

    @Test
    void answersPipelinedRequestsInOrder() throws Exception {
        StringBuilder requests = new StringBuilder();
        for (int i = 0; i < 500; i++) {
            requests.append("POST /count/piped HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\n\r\n");
        }
        requests.append("GET /count/piped HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\nConnection: close\r\n\r\n");
        try (Raw raw = new Raw(service.port())) {
            String answers = raw.send(requests.toString()).readToEnd();
            int at = -1;
            for (int i = 1; i <= 500; i++) {
                at = answers.indexOf("\r\n\r\n" + i + "\n", at + 1);
                assertThat(at).as("answer %d", i).isNotNegative();
            }
            assertThat(answers).endsWith("\r\n\r\n500\n");
        }
    }

    @Test
    void nothingIsCountedAfterTheRequestThatEndsTheConnection() throws Exception {
        String post = "POST /count/after HTTP/1.1\r\nHost: h\r\n";
        for (String end : List.of("Connection: close\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n")) {
            try (Raw raw = new Raw(service.port())) {
                String answers =
                        raw.send(post + end + (post + "\r\n").repeat(50)).readToEnd();
                assertThat(answers.split("HTTP/1.1 ", -1)).as(answers).hasSize(2);
            }
        }
        try (Raw raw = new Raw(service.port())) {
            assertThat(raw.sendLines("POST /count/after HTTP/1.0\n\n"
                                    + "POST /count/after HTTP/1.1\nHost: h\n\n".repeat(50))
                            .readToEnd()
                            .split("HTTP/1.", -1))
                    .hasSize(2);
        }
        assertThat(count("after")).isEqualTo(2);
    }

    @Test
    void aSlowHeadAndAnEndlessBodyEndTheConnection() throws Exception {
        try (Raw slow = new Raw(service.port());
                Raw endless = new Raw(service.port())) {
            slow.send("GET /count HTTP/1.1\r\nHost: h\r\nX-");
            endless.send("POST /count/endless HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
            long swallowed = 0;
            try {
                for (; swallowed < 100_000_000; swallowed += 65_536) {
                    endless.send("10000\r\n" + "x".repeat(65_536) + "\r\n");
                }
            } catch (IOException e) {
                // the server ended the connection, as expected
            }
            assertThat(swallowed).as("bytes read after a refusal").isLessThan(50_000_000);

            Connections connections = service.bean(Connections.class);
            for (int i = 0; i < 5; i++) {
                slow.send("a"); // does not restart the timeout
                connections.checkTimesIn(Connections.HEAD_SECONDS - 2);
            }
            assertThat(slow.isClosedByServer()).isFalse();
            StringBuilder answer = new StringBuilder();
            Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> {
                connections.checkTimesIn(Connections.HEAD_SECONDS + 2);
                return !answer.append(slow.readUntilQuiet(50)).isEmpty();
            });
            assertThat(answer.append(slow.readToEnd()).toString())
                    .startsWith("HTTP/1.1 408 ")
                    .contains("urn:counterset:problem:request-timeout", "\"increment\":\"not-applied\"");
        }
    }

    @Test
    void aNewConnectionReplacesTheLongestIdleOne(@TempDir Path fresh) throws Exception {
        List<Raw> idle = new ArrayList<>();
        try (Service small = Service.start(fresh, "counter.max-connections", "16")) {
            for (int i = 0; i < 60; i++) {
                idle.add(new Raw(small.port()));
            }
            Awaitility.await()
                    .atMost(Duration.ofSeconds(30))
                    .until(() -> small.bean(Refusals.class).closedConnections() >= 44);
            try (Raw raw = new Raw(small.port())) {
                assertThat(raw.sendLines("POST /count HTTP/1.1\nHost: h\nConnection: close\n\n")
                                .readToEnd())
                        .startsWith("HTTP/1.1 200 ");
            }
            Awaitility.await()
                    .atMost(Duration.ofSeconds(30))
                    .untilAsserted(() ->
                            assertThat(small.bean(Connections.class).open()).isLessThanOrEqualTo(16));
            assertThat(small.bean(Refusals.class).closedConnections()).isGreaterThanOrEqualTo(44);
        } finally {
            idle.forEach(Raw::close);
        }
    }

    @Test
    void anIdleConnectionIsClosedAfterItsTimeout(@TempDir Path fresh) throws Exception {
        assertThat(service.bean(HttpServerConfiguration.class).getIdleTimeout())
                .as("longer than load balancers keep idle connections")
                .isEqualTo(Duration.ofSeconds(620));
        try (Service hasty = Service.start(fresh, "micronaut.server.idle-timeout", "1s");
                Raw raw = new Raw(hasty.port())) {
            assertThat(raw.sendLines("GET /count HTTP/1.1\nHost: h\n\n").readToEnd())
                    .as("the connection ends after the one answer")
                    .startsWith("HTTP/1.1 200 ");
        }
    }

    @Test
    void healthChecksUseNoThreads() throws Exception {
        List<Raw> clients = new ArrayList<>();
        try {
            assertThat(service.send("GET", "/health/liveness").statusCode()).isEqualTo(200);
            int before = ManagementFactory.getThreadMXBean().getThreadCount();
            for (int i = 0; i < 300; i++) {
                clients.add(new Raw(service.port()));
            }
            int most = before;
            for (Raw client : clients) {
                client.sendLines("GET /health/liveness HTTP/1.1\nHost: h\n\nGET /health HTTP/1.1\nHost: h\n\n");
                most = Math.max(most, ManagementFactory.getThreadMXBean().getThreadCount());
            }
            for (Raw client : clients) {
                assertThat(client.sendLines("GET /health/readiness HTTP/1.1\nHost: h\nConnection: close\n\n")
                                .readToEnd()
                                .split("HTTP/1.1 200", -1))
                        .hasSize(4);
                most = Math.max(most, ManagementFactory.getThreadMXBean().getThreadCount());
            }
            assertThat(most - before).isLessThan(20);
        } finally {
            clients.forEach(Raw::close);
        }
    }

    @Test
    void resetConnectionsAreNotLogged() throws Exception {
        ListAppender<ILoggingEvent> log = new ListAppender<>();
        Logger root = (Logger) LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME);
        log.start();
        root.addAppender(log);
        try {
            for (int i = 0; i < 50; i++) {
                Raw raw = new Raw(service.port());
                raw.send(i % 2 == 0 ? "GET /count HTTP/1.1\r\nHo" : "POST /count/reset HTTP/1.1\r\nHost: h\r\n\r\n");
                raw.reset();
            }
            Awaitility.await()
                    .atMost(Duration.ofSeconds(30))
                    .until(() -> service.bean(Connections.class).open() <= 4);
            assertThat(List.copyOf(log.list)).isEmpty();
        } finally {
            root.detachAppender(log);
        }
    }
}
