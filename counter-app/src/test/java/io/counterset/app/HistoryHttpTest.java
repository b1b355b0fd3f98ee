// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.micronaut.context.annotation.Property;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.io.ByteArrayInputStream;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;

/** The history and the badge over HTTP. */
@MicronautTest
@Property(name = "counter.name", value = "visits <&> \"ü\"")
class HistoryHttpTest extends ServiceTest {

    @BeforeAll
    void prepare() {
        service.send("POST", "/count?by=1234");
    }

    @Test
    void anIncrementIsInTheHistoryWithinASecond() {
        await().untilAsserted(() -> {
            JsonNode day = json(service.send("GET", "/history?unit=day"));
            JsonNode buckets = requireNonNull(day.get("buckets"));
            assertThat(buckets.size()).isEqualTo(730);
            // The count may have fallen just before midnight.
            assertThat(count(buckets.get(729)) + count(buckets.get(728))).isEqualTo(1234);
        });
        JsonNode minute = json(service.send("GET", "/history"));
        assertThat(minute.get("unit").getStringValue()).isEqualTo("minute");
        assertThat(minute.get("buckets").get(0).get("count").isNull()).isTrue();
        assertThat(minute.get("instance").getStringValue()).isEqualTo("app-0");
        assertThat(minute.get("lastMinute").getLongValue()).isGreaterThanOrEqualTo(0);
    }

    private static long count(JsonNode bucket) {
        JsonNode count = requireNonNull(bucket.get("count"));
        return count.isNull() ? 0 : count.getLongValue();
    }

    @Test
    void servesHistoryAsCsvAndSparkline() {
        HttpResponse<String> csv = service.send("GET", "/history?unit=hour", "Accept", "text/csv");
        assertThat(csv.headers().firstValue("Content-Type").orElseThrow()).startsWith("text/csv");
        assertThat(csv.body().split("\r\n")).hasSize(169).startsWith("start,count,covered_seconds,marks");
        HttpResponse<String> text = service.send("GET", "/history?unit=hour", "Accept", "text/plain");
        assertThat(text.body().split("\n")).hasSize(168 / 24 + 1);
        assertThat(text.body()).contains("·").contains("one mark for each hour, at most ");
    }

    @Test
    void countsDespiteADamagedHistoryFile(@TempDir Path other) throws Exception {
        Files.createDirectories(other.resolve("data"));
        Files.writeString(other.resolve("data").resolve(History.FILE), "no history");
        Files.createDirectory(
                other.resolve("data").resolve("history.new")); // so that no new file can be written either
        try (Service damaged = Service.start(other.resolve("data"))) {
            assertThat(damaged.send("POST", "/count?by=5", "Accept", "text/plain")
                            .body())
                    .isEqualTo("5\n");
            assertThat(damaged.send("GET", "/health/readiness").statusCode()).isEqualTo(200);
            assertThat(damaged.send("GET", "/history").statusCode()).isEqualTo(200);
        }
        try (Service again = Service.start(other.resolve("data"))) {
            assertThat(again.send("GET", "/count", "Accept", "text/plain").body())
                    .isEqualTo("5\n");
        }
    }

    @Test
    void refusesAnUnknownUnit() {
        assertProblem(service.send("GET", "/history?unit=week"), 400, "bad-request", "not-applied");
        assertProblem(service.send("GET", "/peers/history?unit=week"), 400, "bad-request", "not-applied");
        assertProblem(service.send("GET", "/peers/history?units=day"), 400, "bad-request", "not-applied");
    }

    @Test
    void theBadgeIsWellFormedAndDoesNotCount() throws Exception {
        HttpResponse<String> badge = service.send("GET", "/badge.svg");
        assertThat(badge.headers().firstValue("Content-Type").orElseThrow()).startsWith("image/svg+xml");
        assertThat(badge.headers().firstValue("Cache-Control")).contains("no-store");
        Document svg = DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse(new ByteArrayInputStream(badge.body().getBytes(StandardCharsets.UTF_8)));
        assertThat(svg.getElementsByTagName("title").item(0).getTextContent()).isEqualTo("visits <&> \"ü\": 1,234");
        assertThat(service.send("GET", "/count", "Accept", "text/plain").body()).isEqualTo("1234\n");
    }
}
