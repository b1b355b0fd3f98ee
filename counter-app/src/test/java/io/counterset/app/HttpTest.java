// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.net.InetAddress;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Pattern;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The HTTP API, in the order of docs/http.md. */
@MicronautTest
class HttpTest extends ServiceTest {

    private static final String BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

    private long count(String path) {
        HttpResponse<String> response = service.send("GET", path, "Accept", "text/plain");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Long.parseLong(response.body().strip());
    }

    // ---- GET / ----

    @Test
    void countsAndShowsAVisit() {
        long before = count("/count");

        HttpResponse<String> text = service.send("GET", "/", "Accept", "*/*");
        assertThat(text.body()).isEqualTo("visits " + (before + 1) + " on app-0\n");
        assertThat(text.headers().firstValue("Content-Type")).contains("text/plain; charset=utf-8");
        assertThat(text.headers().firstValue("Cache-Control")).contains("no-store");
        assertThat(text.headers().firstValue("Vary")).contains("Accept");

        HttpResponse<String> page = service.send("GET", "/", "Accept", BROWSER);
        assertThat(page.headers().firstValue("Content-Type")).contains("text/html; charset=utf-8");
        assertThat(page.body()).contains(Long.toString(before + 2));

        JsonNode answer = json(service.send("GET", "/", "Accept", "application/json"));
        assertThat(answer.get("count").getLongValue()).isEqualTo(before + 3);
        assertThat(count("/count")).isEqualTo(before + 3);
    }

    @ParameterizedTest
    @CsvSource({
        "HEAD, X-Nothing, nothing",
        "GET, Sec-Purpose, prefetch",
        "GET, Sec-Purpose, prefetch;prerender",
        "GET, Purpose, prefetch",
        "GET, X-Purpose, preview",
        "GET, X-Moz, prefetch",
        "GET, Sec-Fetch-Site, cross-site",
        "GET, User-Agent, ELB-HealthChecker/2.0",
        "GET, User-Agent, GoogleHC/1.0",
        "GET, User-Agent, kube-probe/1.36",
        "GET, User-Agent, Load Balancer Agent",
        "GET, User-Agent, 'Amazon-Route53-Health-Check-Service (ref 1)'",
        "GET, User-Agent, 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'"
    })
    void doesNotCountHeadPrefetchesCrossSiteRequestsChecksAndBots(String method, String header, String value) {
        long before = count("/count");
        assertThat(service.send(method, "/", header, value).statusCode()).isEqualTo(200);
        assertThat(count("/count")).isEqualTo(before);
    }

    // ---- GET /count ----

    @Test
    void aCountNamesItsReplicaAndStore() {
        service.send("POST", "/count/of-whom?by=41");
        JsonNode answer = json(service.send("GET", "/count/of-whom"));
        CounterStore store = service.bean(CounterStore.class);
        assertThat(answer.get("instance").getStringValue()).isEqualTo("app-0");
        assertThat(answer.get("counter").getStringValue()).isEqualTo("of-whom");
        assertThat(answer.get("count").getLongValue()).isEqualTo(41);
        assertThat(answer.get("store").getStringValue())
                .isEqualTo(store.identity().id().toString());
        assertThat(answer.get("incarnation").getLongValue())
                .isEqualTo(store.identity().incarnation());
        assertThat(json(service.send("GET", "/count")).get("counter").getStringValue())
                .isEqualTo("visits");
    }

    @Test
    void getCountDoesNotIncrementAndIsNotCacheable() {
        long before = count("/count");
        HttpResponse<String> response = service.send("GET", "/count");
        assertThat(response.headers().firstValue("Cache-Control")).contains("no-store");
        assertThat(count("/count")).isEqualTo(before);
    }

    @Test
    void aCounterNeverAddedToIsZeroAndNotListed() {
        assertThat(count("/count/never")).isZero();
        assertThat(service.send("GET", "/counts?limit=1000").body()).doesNotContain("\"never\"");
    }

    @ParameterizedTest
    @CsvSource({
        "application/json, application/json",
        "text/plain, text/plain; charset=utf-8",
        "'text/plain;q=0.5, application/json;q=0.4', text/plain; charset=utf-8",
        "'text/*', text/plain; charset=utf-8",
        "'*/*', application/json",
        "'', application/json",
        "'text/plain;q=0, */*', application/json",
        "'application/json;q=0, */*;q=0.1', text/plain; charset=utf-8"
    })
    void servesThePreferredMediaType(String accept, String type) {
        HttpResponse<String> response = service.send("GET", "/count", "Accept", accept);
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.headers().firstValue("Content-Type")).contains(type);
    }

    @ParameterizedTest
    @ValueSource(strings = {"/", "/count", "/count/a", "/counts", "/peers", "/peers/a"})
    void refusesMediaTypesThatAreNotOffered(String path) {
        assertProblem(service.send("GET", path, "Accept", "image/png"), 406, "not-acceptable", "not-applied");
    }

    // ---- POST /count ----

    @Test
    void anIncrementReturnsTheNewCount() {
        JsonNode answer = json(service.send("POST", "/count/mine"));
        assertThat(answer.get("count").getLongValue()).isEqualTo(1);
        assertThat(answer.get("replayed").getBooleanValue()).isFalse();
        assertThat(service.send("POST", "/count/mine?by=9", "Accept", "text/plain")
                        .body())
                .isEqualTo("10\n");
        assertThat(count("/count/mine")).isEqualTo(10);
        long before = count("/count");
        assertThat(json(service.send("POST", "/count?by=3")).get("count").getLongValue())
                .isEqualTo(before + 3);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"1&by=2", "0", "-1", "abc", "", "1.5", "+1", "9223372036854775808", "1e3", "%D9%A3", "05%20"})
    void rejectsInvalidAmounts(String by) {
        long before = count("/count");
        assertProblem(service.send("POST", "/count?by=" + by.replace("+", "%2B")), 400, "bad-amount", "not-applied");
        assertThat(count("/count")).isEqualTo(before);
    }

    @Test
    void refusesAnOverflow() {
        service.bean(CounterStore.class).counter("largest").add(Counter.MAX_TOTAL - 1);
        assertProblem(service.send("POST", "/count/largest?by=2"), 409, "overflow", "not-applied");
        assertThat(count("/count/largest")).isEqualTo(Counter.MAX_TOTAL - 1);
    }

    @Test
    void refusesMoreThanTheMaximumAmount() {
        assertThat(service.send("POST", "/count/large?by=1000000").statusCode()).isEqualTo(200);
        assertProblem(service.send("POST", "/count/large?by=1000001"), 400, "bad-amount", "not-applied");
        assertProblem(service.send("POST", "/count/large?by=9223372036854775800"), 400, "bad-amount", "not-applied");
        assertThat(count("/count/large")).isEqualTo(1_000_000);
    }

    @ParameterizedTest
    @CsvSource({"a+b, a+b", "a%20b, 'a b'", "a%2Fb, a/b", "%C3%A9, é", "a;b&c, a;b&c", "%E2%82%AC, €"})
    void acceptsAnyTextAsAName(String encoded, String name) {
        assertThat(json(service.send("POST", "/count/" + encoded))
                        .get("counter")
                        .getStringValue())
                .isEqualTo(name);
        assertThat(count("/count/" + encoded)).isEqualTo(1);
        assertThat(service.bean(CounterStore.class).counter(name).value()).isEqualTo(1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"%00", "a%0Ab", "%FF", "%C3%28"})
    void rejectsInvalidNames(String encoded) {
        assertProblem(service.send("POST", "/count/" + encoded), 400, "bad-counter-name", "not-applied");
        assertProblem(service.send("GET", "/count/" + encoded), 400, "bad-counter-name", "not-applied");
        assertProblem(service.send("GET", "/peers/" + encoded), 400, "bad-counter-name", "not-applied");
    }

    @Test
    void rejectsNamesThatAreNotPercentEncoded() throws Exception {
        for (Charset charset : List.of(StandardCharsets.UTF_8, StandardCharsets.ISO_8859_1)) {
            try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), service.port())) {
                socket.setSoTimeout(10_000);
                String request = "POST /count/caf\u00e9 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                socket.getOutputStream().write(request.getBytes(charset));
                assertThat(new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                        .startsWith("HTTP/1.1 400")
                        .contains("percent-encode other characters");
            }
        }
        assertThat(service.send("GET", "/counts?limit=1000").body()).doesNotContain("\"caf");
    }

    @Test
    void anEmptyNameIsNotTheMainCounter() {
        assertProblem(service.send("POST", "/count/"), 400, "bad-counter-name", "not-applied");
        assertProblem(service.send("GET", "/count/"), 400, "bad-counter-name", "not-applied");
        assertProblem(service.send("GET", "/peers/"), 400, "bad-counter-name", "not-applied");
    }

    @Test
    void refusesUnknownParameters() {
        assertProblem(service.send("POST", "/count?amount=7"), 400, "bad-request", "not-applied");
        assertProblem(service.send("POST", "/count/other?by=1&n=7"), 400, "bad-request", "not-applied");
    }

    @Test
    void aNameHasAtMost128Bytes() {
        assertThat(service.send("POST", "/count/" + "n".repeat(128)).statusCode())
                .isEqualTo(200);
        assertProblem(service.send("POST", "/count/" + "n".repeat(129)), 400, "bad-counter-name", "not-applied");
        assertProblem(service.send("POST", "/count/" + "%C3%A9".repeat(65)), 400, "bad-counter-name", "not-applied");
    }

    @Test
    void refusesABody() {
        long before = count("/count");
        assertProblem(
                service.send("POST", "/count", BodyPublishers.ofString("by=5")), 415, "body-not-taken", "not-applied");
        assertProblem(
                service.send(
                        "POST", "/count", BodyPublishers.ofString("{\"by\":5}"), "Content-Type", "application/json"),
                415,
                "body-not-taken",
                "not-applied");
        assertProblem(
                service.send("POST", "/count", BodyPublishers.ofString("x".repeat(20_000))),
                413,
                "too-large",
                "not-applied");
        assertThat(service.send("POST", "/count", BodyPublishers.ofString(""), "Content-Type", "text/plain")
                        .statusCode())
                .isEqualTo(200);
        assertThat(count("/count")).isEqualTo(before + 1);
    }

    // ---- Idempotency-Key ----

    @Test
    void aRetryGetsTheFirstAnswerMarkedAsReplayed() {
        HttpResponse<String> first = service.send("POST", "/count/keyed?by=5", "Idempotency-Key", "\"order-1\"");
        service.send("POST", "/count/keyed");
        HttpResponse<String> retry = service.send("POST", "/count/keyed?by=5", "Idempotency-Key", "order-1");
        assertThat(json(first).get("count").getLongValue()).isEqualTo(5);
        assertThat(first.headers().firstValue("Idempotency-Replayed")).isEmpty();
        assertThat(json(retry).get("count").getLongValue()).isEqualTo(5);
        assertThat(json(retry).get("replayed").getBooleanValue()).isTrue();
        assertThat(retry.headers().firstValue("Idempotency-Replayed")).contains("true");
        assertThat(count("/count/keyed")).isEqualTo(6);
    }

    @Test
    void aKeyCannotBeReusedForAnotherIncrement() {
        service.send("POST", "/count/once", "Idempotency-Key", "k-once");
        assertProblem(
                service.send("POST", "/count/once?by=2", "Idempotency-Key", "k-once"),
                422,
                "idempotency-key-reused",
                "not-applied");
        assertProblem(
                service.send("POST", "/count/other", "Idempotency-Key", "k-once"),
                422,
                "idempotency-key-reused",
                "not-applied");
        assertThat(count("/count/once")).isEqualTo(1);
        assertThat(count("/count/other")).isZero();
    }

    @ParameterizedTest
    @ValueSource(strings = {"\"\"", "\"open", "\"a\\b\"", "\"a\" b", "two words", "a,b", "a\"b"})
    void rejectsMalformedKeys(String key) {
        assertProblem(
                service.send("POST", "/count/malformed", "Idempotency-Key", key),
                400,
                "bad-idempotency-key",
                "not-applied");
        assertThat(count("/count/malformed")).isZero();
    }

    @Test
    void acceptsOneKeyOfAtMost255Characters() {
        assertThat(service.send("POST", "/count/long", "Idempotency-Key", "k".repeat(255))
                        .statusCode())
                .isEqualTo(200);
        assertProblem(
                service.send("POST", "/count/long", "Idempotency-Key", "k".repeat(256)),
                400,
                "bad-idempotency-key",
                "not-applied");
        assertProblem(
                service.send("POST", "/count/long", "Idempotency-Key", "a", "Idempotency-Key", "b"),
                400,
                "bad-idempotency-key",
                "not-applied");
    }

    @Test
    void aQuotedKeyMayContainQuotesAndParametersAreIgnored() {
        service.send("POST", "/count/quoted", "Idempotency-Key", "\"a \\\"b\\\\\"");
        assertThat(json(service.send("POST", "/count/quoted", "Idempotency-Key", "\"a \\\"b\\\\\";v=1"))
                        .get("replayed")
                        .getBooleanValue())
                .isTrue();
    }

    // ---- GET /counts ----

    @Test
    void listsCountersInPagesOrderedByName(@TempDir Path fresh) {
        try (Service listed = Service.start(fresh)) {
            assertThat(json(listed.send("GET", "/counts")).get("counters").size())
                    .isZero();
            for (String name : List.of("d", "b%2Fb", "a", "c", "e")) {
                listed.send("POST", "/count/" + name + "?by=2");
            }
            List<String> names = new ArrayList<>();
            int pages = 0;
            for (String path = "/counts?limit=2"; path != null; pages++) {
                HttpResponse<String> response = listed.send("GET", path);
                JsonNode page = json(response);
                for (JsonNode entry : page.get("counters").values()) {
                    names.add(entry.get("counter").getStringValue());
                    assertThat(entry.get("count").getLongValue()).isEqualTo(2);
                }
                String next = page.get("next") == null ? null : page.get("next").getStringValue();
                assertThat(response.headers().firstValue("Link"))
                        .isEqualTo(java.util.Optional.ofNullable(next).map(link -> "<" + link + ">; rel=\"next\""));
                path = next == null
                        ? null
                        : java.net
                                .URI
                                .create("http://host/counts")
                                .resolve(next)
                                .toString()
                                .substring("http://host".length());
            }
            assertThat(names).containsExactly("a", "b/b", "c", "d", "e");
            assertThat(pages).isEqualTo(3);
            assertThat(listed.send("GET", "/counts", "Accept", "text/plain").body())
                    .isEqualTo("2\ta\n2\tb/b\n2\tc\n2\td\n2\te\n");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-1", "1001", "x", ""})
    void aPageHasFrom1To1000Counters(String limit) {
        assertProblem(service.send("GET", "/counts?limit=" + limit), 400, "bad-page", "not-applied");
    }

    // ---- GET /peers ----

    @Test
    void servesThePeersReportAsJsonAndAsATable() {
        service.send("POST", "/count/asked?by=4");
        HttpResponse<String> response = service.send("GET", "/peers/asked");
        assertThat(response.headers().firstValue("Cache-Control")).contains("no-store");
        JsonNode report = json(response);
        assertThat(report.get("counter").getStringValue()).isEqualTo("asked");
        assertThat(report.get("total").getLongValue()).isEqualTo(4);
        assertThat(report.get("complete").getBooleanValue()).isTrue();
        assertThat(json(service.send("GET", "/peers")).get("counter").getStringValue())
                .isEqualTo("visits");
        assertThat(service.send("GET", "/peers/asked", "Accept", "text/plain").body())
                .startsWith("asked: total 4, 1 of 1 replica answered\n")
                .contains("\nINSTANCE ");
    }

    // ---- other paths ----

    @Test
    void readinessFollowsTheStore(@TempDir Path fresh) {
        try (Service failing = Service.start(fresh)) {
            failing.send("POST", "/count?by=3");
            assertThat(failing.send("GET", "/health/liveness").statusCode()).isEqualTo(200);
            HttpResponse<String> ready = failing.send("GET", "/health/readiness");
            assertThat(ready.statusCode()).isEqualTo(200);
            assertThat(json(ready).get("status").getStringValue()).isEqualTo("UP");

            failing.bean(CounterStore.class).close();

            HttpResponse<String> unready = failing.send("GET", "/health/readiness");
            assertThat(unready.statusCode()).isEqualTo(503);
            assertThat(json(unready).get("status").getStringValue()).isEqualTo("DOWN");
            assertThat(failing.send("GET", "/health/liveness").statusCode()).isEqualTo(200);
            assertThat(failing.send("GET", "/count", "Accept", "text/plain").body())
                    .isEqualTo("3\n");
            HttpResponse<String> refused = failing.send("POST", "/count");
            assertProblem(refused, 503, "stopping", "not-applied");
            assertThat(refused.headers().firstValue("Retry-After")).contains("1");
        }
    }

    @Test
    void refusesIncrementsBeyondTheMaximumPending(@TempDir Path fresh) throws Exception {
        try (Service busy = Service.start(fresh, "counter.max-pending", "1")) {
            var others = busy.bean(CounterStore.class).counter("others");
            AtomicBoolean enough = new AtomicBoolean();
            Thread crowd = new Thread(() -> {
                while (!enough.get()) {
                    var unused = others.addAsync(1); // fills the store's queue without waiting
                }
            });
            crowd.start();
            try {
                AtomicReference<HttpResponse<String>> refused = new AtomicReference<>();
                Awaitility.await()
                        .atMost(Duration.ofSeconds(60))
                        .pollDelay(Duration.ZERO)
                        .pollInterval(Duration.ofMillis(1))
                        .until(() -> {
                            HttpResponse<String> answer = busy.send("POST", "/count/crowded");
                            refused.set(answer);
                            return answer.statusCode() != 200;
                        });
                HttpResponse<String> answer = requireNonNull(refused.get());
                assertProblem(answer, 503, "busy", "not-applied");
                assertThat(answer.headers().firstValue("Retry-After")).contains("1");
            } finally {
                enough.set(true);
                crowd.join();
            }
            // The last of these increments may still be waiting for the disk.
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .until(() -> busy.send("POST", "/count/crowded").statusCode() == 200);
        }
    }

    @Test
    void metricsFollowTheCounts() {
        service.bean(io.micrometer.core.instrument.MeterRegistry.class);
        service.send("POST", "/count?by=2");
        service.send("POST", "/count", "Idempotency-Key", "metered");
        service.send("POST", "/count", "Idempotency-Key", "metered");
        service.send("GET", "/peers");
        System.gc(); // a gauge becomes NaN once its object is collected
        String metrics = service.send("GET", "/prometheus").body();
        long count = count("/count");
        assertThat(metrics)
                .contains("\ncounterset_counter_total{counter=\"visits\"} " + (double) count + "\n")
                .contains("\ncounterset_store_accepting 1.0\n")
                .contains("\ncounterset_commit_failures_total 0.0\n")
                .contains("\ncounterset_peers_expected 1.0\n")
                .contains("\ncounterset_peers_answering 1.0\n")
                .contains("\ncounterset_peers_state{state=\"live\"} 1.0\n")
                .containsPattern("\ncounterset_commit_seconds_bucket\\{le=\"\\+Inf\"} [1-9]")
                .containsPattern("\ncounterset_commits_total [1-9]")
                .containsPattern("\ncounterset_commit_callers_total [1-9]")
                .containsPattern("\ncounterset_idempotency_replays_total [1-9]")
                .containsPattern("\ncounterset_recovery_seconds 0\\.")
                .containsPattern("\ncounterset_journal_bytes [1-9]")
                .containsPattern("\ncounterset_build_info\\{java=\"[^\"]+\",version=\"[^\"]+\"} 1");
        assertThat(metrics).doesNotContain("counter=\"mine\"");
    }

    @Test
    void documentedAndExportedMetricsAreTheSame() throws Exception {
        service.bean(io.micrometer.core.instrument.MeterRegistry.class);
        List<String> documented = Pattern.compile("(?m)^\\| (`counterset_[^|]*)\\| (counter|gauge|histogram) \\|")
                .matcher(Files.readString(Path.of("../docs/operations.md")))
                .results()
                .flatMap(row -> Pattern.compile("counterset_\\w+")
                        .matcher(row.group(1))
                        .results()
                        .map(name -> name.group() + " " + row.group(2)))
                .toList();
        assertThat(service.send("GET", "/prometheus")
                        .body()
                        .lines()
                        .filter(line -> line.startsWith("# TYPE counterset_"))
                        .map(line -> line.substring("# TYPE ".length())))
                .containsExactlyInAnyOrderElementsOf(documented);
    }

    @Test
    void everyDetailOfHealthIsDocumented() throws Exception {
        service.send("GET", "/peers");
        String documented = Files.readString(Path.of("../docs/operations.md"));
        for (String path : List.of("/health", "/health/liveness", "/health/readiness")) {
            json(service.send("GET", path)).get("details").entries().forEach(indicator -> {
                assertThat(documented).contains("| `" + indicator.getKey() + "` |");
                JsonNode details = indicator.getValue().get("details");
                if (details != null && details.isObject()) {
                    details.entries()
                            .forEach(detail -> assertThat(documented)
                                    .as("%s of %s in %s", detail.getKey(), indicator.getKey(), path)
                                    .containsPattern(
                                            "(?m)^\\| `" + indicator.getKey() + "` .*`" + detail.getKey() + "`"));
                }
            });
        }
    }

    @Test
    void onlyListedCountersAreMetrics(@TempDir Path fresh) {
        try (Service listed = Service.start(fresh, "counter.metrics.counters", "a, b")) {
            listed.bean(io.micrometer.core.instrument.MeterRegistry.class);
            listed.send("POST", "/count/a?by=2");
            listed.send("POST", "/count/c");
            assertThat(listed.send("GET", "/prometheus").body())
                    .contains("counterset_counter_total{counter=\"a\"} 2.0")
                    .contains("counterset_counter_total{counter=\"b\"} 0.0")
                    .doesNotContain("counter=\"c\"")
                    .doesNotContain("counter=\"visits\"");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "GET, /nothing",
        "POST, /nothing",
        "POST, /count/a/b",
        "GET, /beans",
        "GET, /env",
        "POST, /stop",
        "GET, /health/nothing"
    })
    void unknownPathsAreNotFound(String method, String path) {
        assertProblem(service.send(method, path), 404, "not-found", "not-applied");
    }

    @ParameterizedTest
    @CsvSource({
        "DELETE, /count, 'GET, HEAD, POST, OPTIONS'",
        "PUT, /count/a, 'GET, HEAD, POST, OPTIONS'",
        "POST, /peers, 'GET, HEAD, OPTIONS'"
    })
    void otherMethodsAreNotAllowed(String method, String path, String allowed) {
        HttpResponse<String> response = service.send(method, path);
        assertProblem(response, 405, "method-not-allowed", "not-applied");
        assertThat(methods(response)).containsExactlyInAnyOrder(allowed.split(", ", -1));
    }

    @Test
    void optionsListsTheMethods() {
        HttpResponse<String> response = service.send("OPTIONS", "/count");
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.body()).isEmpty();
        assertThat(methods(response)).containsExactlyInAnyOrder("GET", "HEAD", "POST", "OPTIONS");
    }

    private static List<String> methods(HttpResponse<String> response) {
        return response.headers().allValues("Allow").stream()
                .flatMap(value -> java.util.Arrays.stream(value.split(",", -1)))
                .map(String::strip)
                .toList();
    }

    @Test
    void refusesRequestsThatAreTooLarge() {
        for (int length : new int[] {5_000, 60_000}) {
            assertProblem(service.send("GET", "/count/" + "n".repeat(length)), 414, "uri-too-long", "not-applied");
        }
        for (int length : new int[] {9_000, 60_000}) {
            assertProblem(
                    service.send("GET", "/count", "X-Large", "x".repeat(length)),
                    431,
                    "headers-too-large",
                    "not-applied");
        }
    }
}
