// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The histories of all replicas, with peers that answer, that are dead and that give invalid
 * answers.
 */
class HistoriesTest {

    private static final UUID STORE = new UUID(1, 2);

    @TempDir
    private Path folder;

    private final int port = ServiceProcess.freePort();
    private final AtomicInteger asked = new AtomicInteger();
    private HttpServer peer;

    @BeforeEach
    void startPeer() throws IOException {
        peer = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        peer.setExecutor(Executors.newCachedThreadPool());
        peer.createContext(
                "/count",
                exchange -> answer(
                        exchange,
                        "{\"instance\":\"app-1\",\"counter\":\"visits\",\"count\":40,\"store\":\"" + STORE
                                + "\",\"incarnation\":1}"));
        peer.start();
    }

    @AfterEach
    void stopPeer() {
        peer.stop(0);
    }

    private static void answer(HttpExchange exchange, String body) throws IOException {
        try (exchange) {
            byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, bytes.length);
            exchange.getResponseBody().write(bytes);
        }
    }

    private void history(String body) {
        peer.createContext("/history", exchange -> {
            asked.incrementAndGet();
            answer(exchange, body);
        });
    }

    private static String of(String instance, long count) {
        return "{\"instance\":\"" + instance + "\",\"counter\":\"visits\",\"store\":\"" + STORE
                + "\",\"unit\":\"day\",\"lastMinute\":9,\"buckets\":[{\"start\":\"2001-01-01T00:00:00Z\",\"count\":77,"
                + "\"coveredSeconds\":1,\"marks\":[]},{\"start\":\""
                + Instant.now().toString().substring(0, 10)
                + "T00:00:00Z\",\"count\":" + count + ",\"coveredSeconds\":60,\"marks\":[\"break\"]}]}";
    }

    /** Starts a replica with that peer and another one that does not exist. */
    private Service start() {
        return Service.start(
                folder,
                "micronaut.server.port",
                Integer.toString(port),
                "counter.peers.addresses",
                "127.0.0.1:" + port + ",127.0.0.1:" + peer.getAddress().getPort() + ",127.0.0.1:1",
                "counter.peers.timeout",
                "5s",
                "counter.peers.deadline",
                "10s");
    }

    private static JsonNode last(JsonNode array) {
        return array.get(array.size() - 1);
    }

    @Test
    void addsUpTheReplicasThatAnswerAndListsTheOthers() {
        history(of("app-1", 40));
        try (Service service = start()) {
            service.send("POST", "/count?by=2");
            await().ignoreException(IllegalStateException.class) // null instead of a number until the first reading
                    .untilAsserted(() -> assertThat(last(json(service.send("GET", "/history?unit=day"))
                                            .get("buckets"))
                                    .get("count")
                                    .getLongValue())
                            .isEqualTo(2));
            JsonNode all = json(service.send("GET", "/peers/history?unit=day"));
            assertThat(all.get("complete").getBooleanValue()).isFalse();
            assertThat(all.get("expected").getIntValue()).isEqualTo(3);
            assertThat(all.get("answered").getIntValue()).isEqualTo(2);
            assertThat(all.get("lastMinute").getLongValue()).isEqualTo(11);
            assertThat(all.get("buckets").size()).isEqualTo(730);
            JsonNode today = last(all.get("buckets"));
            assertThat(today.get("count").getLongValue()).isEqualTo(42);
            assertThat(today.get("replicas").getIntValue()).isEqualTo(2);
            assertThat(today.get("marks").get(0).getStringValue()).isEqualTo("break");
            assertThat(all.get("buckets").get(0).get("count").isNull()).isTrue();
            JsonNode replicas = all.get("replicas");
            assertThat(replicas.size()).isEqualTo(3);
            int named = 0;
            for (JsonNode replica : replicas.values()) {
                JsonNode instance = replica.get("instance");
                if (instance == null) {
                    assertThat(replica.get("reason").getStringValue()).isEqualTo("connection refused");
                    assertThat(replica.get("state").getStringValue()).isEqualTo("unreachable");
                    assertThat(replica.get("counts")).isNull();
                } else {
                    named++;
                    assertThat(last(replica.get("counts")).getLongValue())
                            .isEqualTo(instance.getStringValue().equals("app-1") ? 40 : 2);
                }
            }
            assertThat(named).isEqualTo(2);

            String text = service.send("GET", "/peers/history?unit=day", "Accept", "text/plain")
                    .body();
            assertThat(text)
                    .startsWith("visits: at least 11 in the last minute, 2 of 3 replicas answered\n")
                    .containsPattern("app-1 +·+█ 9 in the last minute\n")
                    .containsPattern("127.0.0.1:1 +unreachable: connection refused\n");
            HttpResponse<String> section = service.send("GET", "/peers/history", "Accept", "text/html");
            assertThat(section.headers().firstValue("Content-Security-Policy")).contains(Page.FRAGMENT_POLICY);
            assertThat(section.body()).contains("How all replicas counted", "unreachable: connection refused");
            assertThat(service.send("GET", "/", "Accept", "text/html").body()).contains("How all replicas counted");
        }
    }

    @Test
    void concurrentRequestsShareOneRound() {
        history(of("app-1", 40));
        try (Service service = start()) {
            for (int i = 0; i < 50; i++) {
                assertThat(service.send("GET", "/peers/history?unit=day").statusCode())
                        .isEqualTo(200);
            }
            assertThat(asked.get()).isBetween(1, 4); // one in five seconds, on a machine that may be slow
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"stranger", "negative", "text", "null", "unit", "large"})
    void anInvalidAnswerFailsOnlyItsPeer(String kind) {
        history(
                switch (kind) {
                    case "stranger" -> of("app-7", 40);
                    case "negative" -> of("app-1", -1);
                    case "text" -> "visits 40";
                    case "null" -> "{\"instance\":\"app-1\"}";
                    case "unit" -> of("app-1", 40).replace("\"day\"", "\"hour\"");
                    default -> of("app-1", 40) + " ".repeat(100_000);
                });
        try (Service service = start()) {
            service.send("POST", "/count?by=2");
            JsonNode all = json(service.send("GET", "/peers/history?unit=day"));
            assertThat(all.get("answered").getIntValue()).isEqualTo(1);
            assertThat(all.get("replicas").values())
                    .filteredOn(replica -> replica.get("instance") != null
                            && replica.get("instance").getStringValue().equals("app-1"))
                    .singleElement()
                    .satisfies(line -> assertThat(line.get("reason").getStringValue())
                            .isEqualTo(
                                    kind.equals("large")
                                            ? "answered with more than 97536 bytes"
                                            : "answered something other than its history"));
        }
    }

    @Test
    void aCounterOfThatNameIsReportedUnderItsEncodedName() {
        try (Service service = Service.start(folder)) {
            service.send("POST", "/count/history?by=3");
            assertThat(json(service.send("GET", "/peers/%68istory"))
                            .get("total")
                            .getLongValue())
                    .isEqualTo(3);
        }
    }
}
