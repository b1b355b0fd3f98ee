// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.counterset.CounterStore;
import io.counterset.k8s.Peers;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;

/** What unknown clients, other sites, load balancers and proxies may do. */
@MicronautTest
class ExposedTest extends ServiceTest {

    private long count(Service service, String path) {
        return Long.parseLong(
                service.send("GET", path, "Accept", "text/plain").body().strip());
    }

    // ---- resources that a client can use up ----

    @Test
    void clientsCannotCreateMoreCountersThanTheSettingAllows(@TempDir Path fresh) {
        try (Service small = Service.start(fresh, "counter.create", "3", "counter.metrics.counters", "listed")) {
            for (String name : List.of("a", "b", "c")) {
                assertThat(small.send("POST", "/count/" + name).statusCode()).isEqualTo(200);
            }
            assertProblem(small.send("POST", "/count/d"), 507, "too-many-counters", "not-applied");
            assertProblem(
                    small.send("POST", "/count/d", "Idempotency-Key", "k"), 507, "too-many-counters", "not-applied");
            assertThat(small.send("POST", "/count/a").statusCode()).isEqualTo(200);
            assertThat(small.send("POST", "/count").statusCode())
                    .as("the main counter")
                    .isEqualTo(200);
            assertThat(small.send("POST", "/count/listed").statusCode())
                    .as("configured")
                    .isEqualTo(200);
            assertThat(small.bean(CounterStore.class).snapshot()).containsOnlyKeys("a", "b", "c", "visits", "listed");
        }
        try (Service again = Service.start(fresh, "counter.create", "3")) {
            assertProblem(again.send("POST", "/count/d"), 507, "too-many-counters", "not-applied");
            assertThat(again.send("POST", "/count/c").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void clientsCanCreateOnlyListedCountersIfThereIsAList(@TempDir Path fresh) {
        try (Service listed = Service.start(fresh, "counter.create", "orders, returns")) {
            assertThat(listed.send("POST", "/count/orders").statusCode()).isEqualTo(200);
            assertThat(listed.send("POST", "/count").statusCode()).isEqualTo(200);
            assertProblem(listed.send("POST", "/count/other"), 403, "counter-not-listed", "not-applied");
        }
    }

    @Test
    void refusesTheThousandAndFirstCounterByDefault(@TempDir Path fresh) {
        try (Service full = Service.start(fresh)) {
            CounterStore store = full.bean(CounterStore.class);
            List<CompletableFuture<Long>> adds = java.util.stream.IntStream.range(0, 1_000)
                    .mapToObj(i -> store.counter("c" + i).addAsync(1))
                    .toList();
            adds.forEach(CompletableFuture::join);
            assertProblem(full.send("POST", "/count/more"), 507, "too-many-counters", "not-applied");
        }
    }

    private static String keyed(String key) {
        return "POST /count HTTP/1.1\nHost: h\nAccept: text/plain\nIdempotency-Key: " + key + "\n";
    }

    /** Returns of how many addresses a key that came from each is still known. */
    private static long recognised(Service service, List<String> addresses) throws IOException {
        long recognised = 0;
        for (String address : addresses) {
            try (Raw raw = new Raw(service.port(), address)) {
                String answer = raw.sendLines(keyed("of-" + address) + "Connection: close\n\n")
                        .readToEnd();
                assertThat(answer).startsWith("HTTP/1.1 200 ");
                recognised += answer.contains("dempotency-") ? 1 : 0;
            }
        }
        return recognised;
    }

    @Test
    void aClientWithManyKeysEvictsItsOwn(@TempDir Path fresh) throws Exception {
        List<String> addresses = List.of("127.0.0.1", "127.0.0.2", "127.0.0.3");
        try (Service service = Service.start(fresh, "counter.idempotency.max-keys", "50")) {
            assertThat(recognised(service, addresses)).isZero();
            try (Raw stranger = new Raw(service.port(), "127.0.0.4")) {
                StringBuilder requests = new StringBuilder();
                for (int i = 0; i < 500; i++) {
                    requests.append(keyed("strange-" + i)).append('\n');
                }
                requests.append(keyed("strange-500")).append("Connection: close\n\n");
                assertThat(stranger.sendLines(requests.toString()).readToEnd()).endsWith("\n504\n");
            }
            assertThat(service.bean(CounterStore.class).statistics().rememberedKeys())
                    .isEqualTo(50);
            assertThat(recognised(service, addresses))
                    .as("one address in 4,096 has the stranger's share, and hardly ever two")
                    .isGreaterThanOrEqualTo(2);
        }
        try (Service again = Service.start(fresh, "counter.idempotency.max-keys", "50")) {
            assertThat(recognised(again, addresses)).as("after a restart").isGreaterThanOrEqualTo(2);
        }
    }

    @Test
    void doesNotAskPeersAboutUnknownCounters() {
        long asked = service.bean(Peers.class).statistics().rounds();
        for (int i = 0; i < 40; i++) {
            assertProblem(service.send("GET", "/peers/unknown-" + i), 404, "unknown-counter", "not-applied");
        }
        assertThat(service.bean(Peers.class).statistics().rounds() - asked).isLessThan(10);
        service.send("POST", "/count/known");
        assertThat(json(service.send("GET", "/peers/known")).get("total").getLongValue())
                .isEqualTo(1);
    }

    @Test
    void reportsOfOtherCountersDoNotDelayTheMainOne() throws Exception {
        CounterStore store = service.bean(CounterStore.class);
        for (int i = 0; i < 20; i++) {
            store.counter("crowd-" + i).add(1);
        }
        Peers peers = service.bean(Peers.class);
        List<CompletableFuture<?>> crowd = new java.util.ArrayList<>();
        for (int i = 0; i < 16; i++) {
            crowd.add(peers.report("crowd-" + i).toCompletableFuture());
        }
        assertThat(peers.report()
                        .toCompletableFuture()
                        .get(20, TimeUnit.SECONDS)
                        .counter())
                .isEqualTo("visits");
        assertThat(crowd).as("sixteen others, 250 ms apart").anyMatch(other -> !other.isDone());
    }

    @Test
    void aPageOfCountersTakesNoSnapshot(@TempDir Path fresh) {
        try (Service many = Service.start(fresh)) {
            CounterStore store = many.bean(CounterStore.class);
            for (int part = 0; part < 50_000; part += 1_000) {
                List<CompletableFuture<Long>> adds = java.util.stream.IntStream.range(part, part + 1_000)
                        .mapToObj(i -> store.counter("c" + i).addAsync(1))
                        .toList();
                adds.forEach(CompletableFuture::join);
            }
            Listing listing = many.bean(Listing.class);
            List<String> first = listing.names().toCompletableFuture().join();
            assertThat(first).hasSize(50_000).isSorted();
            assertThat(listing.names().toCompletableFuture().join()).isSameAs(first);
            many.send("POST", "/count/c7");
            assertThat(listing.names().toCompletableFuture().join()).isSameAs(first);
            store.counter("one more").add(1);
            assertThat(listing.names().toCompletableFuture().join()).hasSize(50_001);
        }
    }

    // ---- answers ----

    @ParameterizedTest
    @ValueSource(strings = {"for=;;=", "host=\"", "proto=http;host=:::;", "=", "by=\u00e9"})
    void aMalformedForwardedHeaderIsHarmless(String forwarded) throws Exception {
        try (Raw raw = new Raw(service.port())) {
            assertThat(raw.sendLines(
                                    "POST /count/forwarded HTTP/1.1\nHost: localhost\nOrigin: http://localhost\nForwarded: "
                                            + forwarded + "\nConnection: close\n\n")
                            .readToEnd())
                    .startsWith("HTTP/1.1 200 ");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "http://evil.example, '', localhost",
        "null, '', localhost",
        "http://localhost:1, '', localhost",
        "'', cross-site, counter.example",
        "http://other.example, same-site, counter.example",
        "http://evil.example, '', counter.example"
    })
    void aPageOfAnotherOriginCannotCount(String origin, String site, String host) throws Exception {
        long before = count(service, "/count");
        String headers = (origin.isEmpty() ? "" : "Origin: " + origin + "\n")
                + (site.isEmpty() ? "" : "Sec-Fetch-Site: " + site + "\n");
        try (Raw raw = new Raw(service.port())) {
            String answer = raw.sendLines(
                            "POST /count HTTP/1.1\nHost: " + host + "\n" + headers + "Connection: close\n\n")
                    .readToEnd();
            assertThat(answer)
                    .startsWith("HTTP/1.1 403 ")
                    .contains("urn:counterset:problem:cross-origin", "micronaut.server.cors.configurations");
        }
        assertThat(count(service, "/count")).isEqualTo(before);
    }

    @ParameterizedTest
    @CsvSource({
        "http://counter.example, '', counter.example",
        "https://counter.example, '', counter.example",
        "http://COUNTER.example:80, '', counter.example",
        "http://counter.example:8080, '', counter.example:8080",
        "http://proxy.example, same-origin, counter.example",
        "'', none, counter.example"
    })
    void aPageOfTheSameOriginCounts(String origin, String site, String host) throws Exception {
        String headers = (origin.isEmpty() ? "" : "Origin: " + origin + "\n")
                + (site.isEmpty() ? "" : "Sec-Fetch-Site: " + site + "\n");
        try (Raw raw = new Raw(service.port())) {
            assertThat(raw.sendLines("POST /count HTTP/1.1\nHost: " + host + "\n" + headers + "Connection: close\n\n")
                            .readToEnd())
                    .startsWith("HTTP/1.1 200 ");
        }
    }

    @Test
    void anAllowedOriginCounts(@TempDir Path fresh) throws Exception {
        try (Service open = Service.start(
                fresh,
                "micronaut.server.cors.enabled",
                "true",
                "micronaut.server.cors.configurations.web.allowed-origins[0]",
                "http://friend.example")) {
            for (String origin : List.of("http://friend.example", "http://evil.example")) {
                try (Raw raw = new Raw(open.port())) {
                    String answer = raw.sendLines("POST /count HTTP/1.1\nHost: localhost\nOrigin: " + origin
                                    + "\nSec-Fetch-Site: cross-site\nConnection: close\n\n")
                            .readToEnd();
                    if (origin.contains("friend")) {
                        assertThat(answer)
                                .startsWith("HTTP/1.1 200 ")
                                .containsIgnoringCase("access-control-allow-origin: http://friend.example");
                    } else {
                        assertThat(answer)
                                .startsWith("HTTP/1.1 403 ")
                                .contains("cross-origin")
                                .doesNotContainIgnoringCase("access-control-allow-origin");
                    }
                }
            }
        }
    }

    @Test
    void robotsTxtExcludesAllCrawlers() {
        assertThat(service.send("GET", "/robots.txt").body()).isEqualTo("User-agent: *\nDisallow: /\n");
    }

    @Test
    void aRequestForAnotherReplicaIsMisdirectedAndNotCounted() {
        HttpResponse<String> first = service.send("POST", "/count/retried", "Idempotency-Key", "r");
        String instance = first.headers().firstValue("Counterset-Instance").orElseThrow();
        assertThat(instance).isEqualTo("app-0");
        HttpResponse<String> retry =
                service.send("POST", "/count/retried", "Idempotency-Key", "r", "Counterset-Instance", instance);
        assertThat(json(retry).get("replayed").getBooleanValue()).isTrue();

        for (String method : List.of("POST", "GET")) {
            HttpResponse<String> elsewhere = service.send(method, "/count/retried", "Counterset-Instance", "app-1");
            assertProblem(elsewhere, 421, "misdirected", "not-applied");
            assertThat(elsewhere.headers().firstValue("Connection")).contains("close");
        }
        assertThat(count(service, "/count/retried")).isEqualTo(1);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "/count?x=1",
                "/count/a?by=2",
                "/counts?after=a&after=b",
                "/counts?limit=1&limit=2",
                "/counts?page=2",
                "/peers?x=1",
                "/history?unit=day&unit=hour",
                "/history?units=day"
            })
    void refusesUnknownAndRepeatedParameters(String path) {
        assertProblem(service.send("GET", path), 400, "bad-request", "not-applied");
    }

    @Test
    void aProblemRevealsOnlyWhatTheClientSent() {
        service.send("POST", "/count/secret-name?by=4711", "Idempotency-Key", "guessed");
        HttpResponse<String> refused = service.send("POST", "/count/mine", "Idempotency-Key", "guessed");
        assertProblem(refused, 422, "idempotency-key-reused", "not-applied");
        assertThat(refused.body()).doesNotContain("secret-name", "4711");

        service.bean(CounterStore.class).counter("huge").add(io.counterset.Counter.MAX_TOTAL);
        assertThat(service.send("POST", "/count/huge").body()).doesNotContain(folder.toString());
    }

    @ParameterizedTest
    @CsvSource({
        "a%E2%80%AEb, a\\u202Eb",
        "a%E2%80%8Bb, a\\u200Bb",
        "a%E2%80%A8b, a\\u2028b",
        "a%5Cb, a\\\\b",
        "%F3%A0%80%81, \\U000E0001",
        "%C3%A9, é"
    })
    void tablesShowInvisibleCharactersAsEscapes(String encoded, String shown) {
        service.send("POST", "/count/" + encoded);
        assertThat(service.send("GET", "/counts?limit=1000", "Accept", "text/plain")
                        .body()
                        .lines())
                .contains("1\t" + shown);
        assertThat(service.send("GET", "/peers/" + encoded, "Accept", "text/plain")
                        .body())
                .startsWith(shown + ": total 1");
    }

    @Test
    void pathsWorkUnderAPrefix(@TempDir Path fresh) {
        try (Service prefixed = Service.start(fresh, "micronaut.server.context-path", "/a/prefix")) {
            for (String name : List.of("a", "b")) {
                assertThat(prefixed.send("POST", "/a/prefix/count/" + name).statusCode())
                        .isEqualTo(200);
            }
            HttpResponse<String> page = prefixed.send("GET", "/a/prefix/counts?limit=1");
            String next = json(page).get("next").getStringValue();
            HttpResponse<String> second =
                    prefixed.send("GET", page.uri().resolve(next).toString().replaceFirst("http://[^/]+", ""));
            JsonNode counters = json(second).get("counters");
            assertThat(counters.get(0).get("counter").getStringValue()).isEqualTo("b");
            assertThat(prefixed.send("GET", "/a/prefix/openapi.yml").body()).containsPattern("url: [\"']?\\.");
        }
    }

    /** Without the slash, the page's relative links would leave the prefix. */
    @Test
    void thePageUnderAPrefixIsAtAPathWithASlash(@TempDir Path fresh) {
        try (Service prefixed = Service.start(fresh, "micronaut.server.context-path", "/a/pre:fix")) {
            HttpResponse<String> redirected = prefixed.send("GET", "/a/pre:fix?from=b", "Accept", "text/html");
            assertThat(redirected.statusCode()).isEqualTo(307);
            String location = redirected.headers().firstValue("Location").orElseThrow();
            assertThat(redirected.uri().resolve(location).getRawPath()).isEqualTo("/a/pre:fix/");
            assertThat(location).endsWith("/?from=b");
            assertThat(prefixed.bean(CounterStore.class).snapshot())
                    .as("a redirected visit is not counted yet")
                    .doesNotContainValue(1L);
            HttpResponse<String> page = prefixed.send("GET", "/a/pre:fix/", "Accept", "text/html");
            assertThat(page.statusCode()).isEqualTo(200);
            assertThat(page.body()).contains("<a href=\"counts\">").doesNotContainPattern("(href|src)=\"/");
            assertThat(prefixed.send("GET", "/a/pre:fix", "Accept", "text/plain")
                            .body())
                    .isEqualTo("visits 2 on app-0\n");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"/a/prefix", "prefix/"})
    void peersUseTheContextPath(String contextPath, @TempDir Path fresh) {
        try (Service peer = Service.start(
                fresh.resolve("peer"), "micronaut.server.context-path", contextPath, "counter.instance", "app-1")) {
            try (Service asking = Service.start(
                    fresh.resolve("asking"),
                    "micronaut.server.context-path",
                    contextPath,
                    "counter.peers.source",
                    "static",
                    "counter.peers.addresses",
                    "127.0.0.1:" + peer.port())) {
                String prefix = contextPath.startsWith("/") ? contextPath : "/prefix";
                peer.send("POST", prefix + "/count?by=3");
                Awaitility.await()
                        .atMost(Duration.ofSeconds(30))
                        .untilAsserted(() -> assertThat(asking.send("GET", prefix + "/peers", "Accept", "text/plain")
                                        .body())
                                .startsWith("visits: total 3,")
                                .containsPattern("app-1 +live"));
            }
        }
    }

    // ---- for the operator ----

    @Test
    void refusalsAreCountedByKindAndLoggedWhenTheyBegin(@TempDir Path fresh) {
        ListAppender<ILoggingEvent> log = new ListAppender<>();
        Logger logger = (Logger) LoggerFactory.getLogger(Refusals.class);
        log.start();
        logger.addAppender(log);
        try (Service small = Service.start(fresh, "counter.create", "0")) {
            small.bean(io.micrometer.core.instrument.MeterRegistry.class);
            for (int i = 0; i < 100; i++) {
                small.send("POST", "/count/none-" + i);
            }
            small.send("GET", "/nothing");
            assertThat(small.send("GET", "/prometheus").body())
                    .contains("counterset_refusals_total{type=\"too-many-counters\"} 100.0")
                    .contains("counterset_refusals_total{type=\"not-found\"} 1.0")
                    .contains("counterset_refusals_total{type=\"busy\"} 0.0");
            Awaitility.await()
                    .atMost(Duration.ofSeconds(20))
                    .untilAsserted(() -> assertThat(List.copyOf(log.list))
                            .extracting(ILoggingEvent::getFormattedMessage)
                            .containsExactly("requests are refused: Too many counters on this replica"
                                    + " (urn:counterset:problem:too-many-counters)"));
            Refusals refusals = small.bean(Refusals.class);
            for (int second = 0; second < 62; second++) {
                refusals.tick();
            }
            assertThat(log.list).hasSize(2);
            assertThat(log.list.get(1).getFormattedMessage())
                    .contains("no longer refused")
                    .contains("it happened 100 times");
        } finally {
            logger.detachAppender(log);
        }
    }

    @Test
    void aFailedStoreIsNotReadyAndDoesNotRevealItsPath() {
        HttpResponse<String> ready = service.send("GET", "/health/readiness");
        assertThat(json(ready).get("details").get("store")).isNotNull();
        assertThat(json(ready).get("details").get("peers"))
                .as("documented as informational")
                .isNotNull();
        assertThat(ready.body()).doesNotContain(folder.toString());
    }
}
